"""`mvc desktop`: what this user's desktop has to know of .mvc files: type, magic, thumbnails and manual pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mvc import files
from mvc.cli import man
from mvc.cli.terminal import UsageError, note, warn
from mvc.errors import MvcError

MARK = "made by `mvc desktop`"
"""In the first lines of every file, by which it is known for ours."""
_MARKED_BYTES = 200
PICTURE, CLIP = "image/x-mvc", "video/x-mvc"

# What a file is stands in the two lowest bits of its byte 10, the first field of HEAD (spec section 3.1).
_MIME = """<?xml version="1.0" encoding="UTF-8"?>
<!-- {mark} -->
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
{types}</mime-info>
"""
_TYPE = """  <mime-type type="{name}">
    <comment>mvc {what}</comment>
    <magic priority="60">
      <match type="string" offset="0" value="\\x93MVC\\r\\n\\x1a">
        <match type="byte" offset="10" mask="0x3" value="{kind}"/>
      </match>
    </magic>
    <glob pattern="*.mvc"/>
  </mime-type>
"""
_MAGIC = """# {mark}
0	string	\\x93MVC\\r\\n\\x1a
>10	byte&3	0	mvc picture
!:mime	{picture}
>10	byte&3	1	mvc clip
!:mime	{clip}
"""
_THUMBNAILER = """# {mark}
[Thumbnailer Entry]
TryExec={program}
Exec={command} thumbnail --force --size %s %i %o
MimeType={picture};{clip};
"""


def desktop(
    context: typer.Context,
    install: Annotated[bool, typer.Option("--install", help="Write the files, or write them anew.")] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Remove them.")] = False,
) -> None:
    """Tell this user's desktop about .mvc files, with --install; with --uninstall take it back.

    File managers know the type and show thumbnails, `man mvc` and `man mvc-encode` work, and `file` knows pictures and
    clips. The files are in $XDG_DATA_HOME (~/.local/share), and ~/.magic; of others none is touched.
    """
    if install == uninstall:
        raise UsageError("give --install or --uninstall", hint="`mvc desktop --help` says what they do")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    made = contents(data, Path.home(), man.pages(context.find_root()))
    strange = [path for path in made if not _is_ours(path)]
    if install:
        for path in strange:
            if path.name != ".magic":
                raise MvcError(f"{path} is there, and not made by mvc", hint="move it away")
            warn(f"{path} is there, and not made by mvc: `file` will not know .mvc files")
        for path, text in made.items():
            if path not in strange:
                files.make_folder(path.parent)
                files.write_atomic(path, text.encode(), force=True)
        note(f"written: {len(made) - len(strange)} files, in {data} and ~/.magic")
    else:
        old = [path for path in [*made, *data.joinpath("man", "man1").glob("mvc*.1")] if path.exists()]
        ours = dict.fromkeys(path for path in old if _is_ours(path))
        for path in ours:
            path.unlink()
        note(f"removed: {len(ours)} files")
    _refresh(data / "mime")


def contents(data: Path, home: Path, pages: Mapping[str, str]) -> dict[Path, str]:
    """Every file and what is in it; `data` is where the user's data lie, `pages` are those of the manual, by name."""
    types = "".join(
        _TYPE.format(name=name, what=what, kind=kind)
        for name, what, kind in ((PICTURE, "picture", 0), (CLIP, "clip", 1))
    )
    words = {"mark": MARK, "picture": PICTURE, "clip": CLIP}
    program, *more = _program()
    command = " ".join(map(_quoted, (program, *more)))
    made = {
        data / "mime" / "packages" / "mvc.xml": _MIME.format(types=types, **words),
        data / "thumbnailers" / "mvc.thumbnailer": _THUMBNAILER.format(program=program, command=command, **words),
        home / ".magic": _MAGIC.format(**words),
    }
    return made | {data / "man" / "man1" / name: f'.\\" {MARK}\n{text}' for name, text in pages.items()}


def _program() -> list[str]:
    """This installation's command, wherever it is called from."""
    beside = Path(sys.executable).with_name("mvc")
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", "mvc"]


def _quoted(word: str) -> str:
    """As an Exec line has it: in quotes where a character means something there."""
    word = word.replace("%", "%%")
    if not any(char in word for char in " \t\n\"'\\><~|&;$*?#()`"):
        return word
    for char in '\\"`$':
        word = word.replace(char, f"\\{char}")
    return '"' + word.replace("\\", "\\\\") + '"'  # once more, as every text in such a file


def _is_ours(path: Path) -> bool:
    """Whether a file may be written: there is none, or one of ours."""
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(_MARKED_BYTES)
    except FileNotFoundError:
        return not path.is_symlink()
    except OSError:
        return False


def _refresh(mime: Path) -> None:
    """Let the desktop's own program take up what has changed."""
    program = shutil.which("update-mime-database")
    if program is None:
        warn("there is no update-mime-database (shared-mime-info), so the type is known when it runs next")
        return
    files.make_folder(mime / "packages")
    done = subprocess.run([program, str(mime)], capture_output=True, text=True)
    if done.returncode:
        warn(f"update-mime-database failed: {done.stderr.strip() or done.returncode}")
