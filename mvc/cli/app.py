"""The Typer application: every command, and the way from an exception to an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

import mvc
from mvc.cli import (
    analyze,
    bench,
    bench_video,
    compare,
    convert,
    desktop,
    export_decoder,
    metrics,
    play,
    report,
    terminal,
    thumbnail,
    training,
    video,
    view,
)

NAME = "mvc"


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
        terminal.show_log()
        debug = "--debug" in arguments[:ahead]
        arguments = [text for text in arguments[:ahead] if text != "--debug"] + arguments[ahead:]
        if arguments[:1] == ["help"]:
            arguments = [*arguments[1:], "--help"]
        command = [text for text in arguments[:1] if text in self.commands]
        terminal.set_up(" ".join([NAME, *command]), debug=debug)
        terminal.exit_after(lambda: self._run(arguments or ["--help"], complete_var, extra))

    def _run(self, arguments: list[str], complete_var: str | None, extra: dict[str, Any]) -> int:
        try:
            return super().main(arguments, NAME, complete_var, standalone_mode=False, **extra) or 0
        except TyperException as error:
            hint = _hint(arguments, getattr(error, "ctx", None))
            terminal.report(terminal.UsageError(error.format_message(), hint=hint))
            return error.exit_code


def _hint(arguments: list[str], context: Any) -> str | None:
    """What to type instead: two dashes where one stands before a long option, else the help of the command."""
    if context is None:
        return None
    known = {option for parameter in context.command.params for option in parameter.opts}
    for text in arguments:
        option = f"-{text.partition('=')[0]}"
        if text[:1] == "-" and option[:2] == "--" and len(text) > 2 and option in known:
            return f"write {option}, with two dashes"
    return f"`{context.command_path} --help` shows the usage"


app = typer.Typer(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="A learned image and video codec: pictures in, small .mvc files out, the same picture everywhere.",
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
        typer.Option("-V", "--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


for _command in (
    convert.encode,
    convert.decode,
    video.encode_video,
    play.play,
    view.view,
    report.info,
    thumbnail.thumbnail,
    report.models,
    report.verify,
    report.doctor,
    desktop.desktop,
    bench.bench,
    bench_video.bench_video,
    compare.compare,
    metrics.metrics,
    analyze.analyze,
    training.train,
    training.export,
    training.import_weights,
    export_decoder.export_decoder,
):
    app.command()(_command)
