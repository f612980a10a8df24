"""The Typer application: every command, and the way from an exception to an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

import mvc
from mvc.cli import analyze, bench, convert, importing, report, terminal, training


class Commands(TyperGroup):
    """The command group that turns every exception into lines on stderr and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line `args` and exit with 0 (done), 1 (it failed) or 2 (wrong usage)."""
        arguments = list(sys.argv[1:] if args is None else args)
        ahead = arguments.index("--") if "--" in arguments else len(arguments)
        terminal.set_debug("--debug" in arguments[:ahead])
        arguments = [text for text in arguments[:ahead] if text != "--debug"] + arguments[ahead:]
        terminal.exit_after(
            lambda: self._run(arguments or ["--help"], prog_name or "mvc", complete_var, extra)
        )

    def _run(self, arguments: list[str], name: str, complete_var: str | None, extra: dict[str, Any]) -> int:
        try:
            return super().main(arguments, name, complete_var, standalone_mode=False, **extra) or 0
        except TyperException as error:
            context = getattr(error, "ctx", None)
            terminal.note(f"error: {error.format_message()}")
            terminal.note(f"hint: `{context.command_path if context else name} --help` shows the usage")
            return error.exit_code


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A learned image codec: pictures in, small .mvc files out, the same picture everywhere.",
    epilog="--debug, with any command, shows the traceback of an error.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mvc {mvc.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


for _command in (
    convert.encode,
    convert.decode,
    report.info,
    report.models,
    report.verify,
    report.doctor,
    bench.bench,
    analyze.analyze,
    training.train,
    training.export,
    importing.import_weights,
):
    app.command()(_command)
