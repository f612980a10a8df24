"""Manual pages, made of the commands as Typer knows them: what `--help` says, for `man mvc-encode`."""

from __future__ import annotations

import re
from typing import Any

import typer

import mvc

EXITS = (("0", "done"), ("1", "something failed"), ("2", "wrong usage"))


def pages(above: Any) -> dict[str, str]:
    """The manual, by file name: mvc.1, and mvc-COMMAND.1 for every command; `above` is the context of their group."""
    group = above.command
    program = above.info_name
    made = {f"{program}.1": _of_all(group, above)}
    for name, command in sorted(group.commands.items()):
        context = typer.Context(command, above, info_name=name)
        made[f"{program}-{name}.1"] = _of_one(f"{program}-{name}", command, context)
    return made


def _of_all(group: Any, context: Any) -> str:
    first = group.help.split(":")[0]
    body = _section("DESCRIPTION", _plain(group.help)) + ".SH COMMANDS\n"
    for name, command in sorted(group.commands.items()):
        body += f".TP\n.BR mvc\\-{_plain(name)} (1)\n{_plain(_summary(command))}\n"
    return _page("mvc", first, context, group, body, group.epilog or "")


def _of_one(name: str, command: Any, context: Any) -> str:
    text = "\n.PP\n".join(_plain(part) for part in command.help.split("\n\n"))
    return _page(name, _summary(command), context, command, _section("DESCRIPTION", text), "See also: mvc(1)")


def _page(name: str, about: str, context: Any, command: Any, body: str, end: str) -> str:
    usage = command.get_usage(context).removeprefix("Usage: ")
    text = f'.TH "{name.upper()}" 1 "" "mvc {mvc.__version__}" "mvc"\n'
    text += f".SH NAME\n{_plain(name)} \\- {_plain(about)}\n" + _section("SYNOPSIS", _plain(usage)) + body
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    text += ".SH OPTIONS\n"
    for names, about_it in filter(None, records):
        text += f".TP\n.B {_plain(names)}\n{_plain(about_it)}\n"
    text += ".SH EXIT STATUS\n" + "".join(f".TP\n.B {code}\n{what}\n" for code, what in EXITS)
    return text + _section("NOTES", _plain(end))


def _section(title: str, text: str) -> str:
    return f".SH {title}\n{text}\n"


def _summary(command: Any) -> str:
    """The first sentence of its help."""
    return re.split(r"(?<=\w)[.;:](?:\s|$)", command.help.split("\n\n")[0])[0]


def _plain(text: str) -> str:
    """As roff shows it unchanged: dashes are minus signs, and no line begins with a control character."""
    lines = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{lines}" if lines[:1] in (".", "'") else lines
