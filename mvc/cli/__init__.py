"""The `mvc` command: parsing, progress and printing only; the work is done by the package.

Nothing here imports torch, numba, numpy or Pillow before a command needs it, and a plain `mvc info FILES` not
even Typer, which brings pydantic and takes 0.13 of the 0.2 seconds that command may take.
"""

from __future__ import annotations

import atexit
import os
import sys

from mvc.environment import prepare


def main() -> None:
    """Entry point of the `mvc` script."""
    from mvc.cli.terminal import exit_after, hold_streams, set_up

    hold_streams()
    match sys.argv[1:]:
        case ["info", *rest] if (inputs := [text for text in rest if text != "--json"]) and all(
            text == "-" or text[:1] != "-" for text in inputs
        ):
            from mvc.cli.info import show_info

            set_up("mvc info")
            exit_after(lambda: show_info(inputs, as_json="--json" in rest))
        case _:
            prepare()
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
