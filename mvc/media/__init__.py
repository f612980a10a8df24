"""What is outside: picture files in and out; clips are in `mvc.media.clips`."""

from mvc.media.kinds import READABLE
from mvc.media.pictures import (
    WRITABLE,
    LossWarning,
    Source,
    as_source,
    check_extension,
    fitted,
    keeping,
    read_picture,
    to_bytes,
    write_picture,
)

__all__ = [
    "READABLE",
    "WRITABLE",
    "LossWarning",
    "Source",
    "as_source",
    "check_extension",
    "fitted",
    "keeping",
    "read_picture",
    "to_bytes",
    "write_picture",
]
