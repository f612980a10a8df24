"""The `mvc` command: parsing, progress and printing only; the work is done by the package.

Nothing here imports torch, numba, numpy or Pillow before a command needs it, and a plain `mvc info FILE` not
even Typer, which brings pydantic and takes 0.13 of the 0.2 seconds that command may take.
"""

from __future__ import annotations

import atexit
import os
import sys


def main() -> None:
    """Entry point of the `mvc` script."""
    match sys.argv[1:]:
        case ["info", file] | ["info", "--json", file] | ["info", file, "--json"] if (
            file == "-" or file[:1] != "-"
        ):
            from mvc.cli.info import show_info
            from mvc.cli.terminal import exit_after

            exit_after(lambda: show_info(file, as_json="--json" in sys.argv))
        case _:
            from mvc.cli.app import app

            try:
                app()
            except SystemExit as stop:
                _leave(stop)


def _leave(stop: SystemExit) -> None:
    """End the process at once where torch is loaded: taking the interpreter apart would cost another 0.8 s.

    By now every file has its name. What is registered for the exit still runs, and both streams are flushed.
    """
    if "torch" not in sys.modules or not isinstance(stop.code, int | None):
        raise stop
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        raise stop from None  # a closed pipe: let the interpreter say so as it always does
    os._exit(stop.code or 0)
