"""`mvc view`: pictures and clips in a browser of this machine."""

from __future__ import annotations

import os
import threading
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from mvc import files
from mvc.arguments import MAX_PIXELS
from mvc.cli import options
from mvc.cli.info import lines_of
from mvc.cli.jobs import STREAM, expand
from mvc.cli.loading import codec_loader
from mvc.cli.options import DeviceOption, FileModel, MaxMemory, MaxPixels, Threads
from mvc.cli.terminal import UsageError, note, print_line, report
from mvc.errors import MvcError
from mvc.files import MVC_SUFFIX

if TYPE_CHECKING:
    from mvc.codec import Codec

MAX_PORT = 65535


def view(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="FILES", help="Files, or folders of them (at any depth).", show_default=False),
    ],
    port: Annotated[
        int, typer.Option("--port", min=0, max=MAX_PORT, help="The port of the page. Default: one that is free.")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, and open nothing.")] = False,
    model: FileModel = None,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    max_pixels: MaxPixels = None,
    max_memory: MaxMemory = None,
) -> None:
    """Show pictures and clips in the browser: zoom, metadata, and a map of where the bits are. Ctrl-C ends it.

    Parts of pictures are decoded as they are seen. The page is served to this machine alone, at an address with a
    random part, which is printed; it asks for nothing of a network, and can have nothing but the files that are named.
    """
    found = expand(inputs, (MVC_SUFFIX,))
    for name in inputs:
        if name == STREAM or files.is_stream(name):
            raise UsageError(f"{name}: a pipe cannot be looked through", hint="write it to a file first")
        if not os.path.isdir(name):
            files.check_input(name)
    limits = {
        "max_pixels": MAX_PIXELS if max_pixels is None else options.parse_pixels(max_pixels),
        "max_memory": None if max_memory is None else options.parse_size(max_memory, "--max-memory"),
    }

    from mvc.opening import reader_of
    from mvc.stored import Stored
    from mvc.view.library import Library
    from mvc.view.pictures import Pictures
    from mvc.view.routes import Routes
    from mvc.view.server import Server, serve

    loader = codec_loader(device, threads)

    def load(own: bytes) -> Codec:
        return loader(model or own)

    library = Library(found, lambda path: reader_of(Stored(path), load))
    routes = Routes(library, Pictures(library, load, **limits), lines_of, told=report)
    try:
        server = Server(routes, port)
    except OSError as error:
        raise MvcError(f"port {port} cannot be had: {files.reason(error)}", hint="leave --port out") from error

    def started() -> None:
        print_line(server.address, "stdout")
        note(f"{len(found)} file{'s' * (len(found) > 1)}; Ctrl-C ends it")
        if not no_browser:
            threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()

    serve(server, started)
