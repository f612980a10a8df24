"""The `mvc` command with other weights in place of the shipped ones, to measure a model before it is shipped.

    python -m benchmarks.with_weights FOLDER bench kodak --codec mvc --codec webp
    python -m benchmarks.with_weights FOLDER decode k.mvc -o k.png

FOLDER is what `mvc export` writes.
"""

from __future__ import annotations

import atexit
import sys
import tempfile
from pathlib import Path

import mvc
from mvc.models import registry


def use(folder: Path) -> None:
    """Let the default model's weights be those in `folder`, for the rest of this process."""
    stand_in = tempfile.TemporaryDirectory(prefix="mvc-weights-")
    atexit.register(stand_in.cleanup)
    (Path(stand_in.name) / mvc.DEFAULT_MODEL).symlink_to(folder.resolve(), target_is_directory=True)
    registry.WEIGHTS = Path(stand_in.name)


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    use(Path(sys.argv.pop(1)))
    from mvc.cli import main as command

    command()


if __name__ == "__main__":
    main()
