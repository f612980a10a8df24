"""What is outside: picture files in and out; clips are in `mvc.media.clips`."""

from mvc.media.kinds import READABLE
from mvc.media.pictures import LossWarning, Source, as_source, keeping, read_picture
from mvc.media.writing import WRITABLE, check_extension, fitted, to_bytes, write_picture

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
