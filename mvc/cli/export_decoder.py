"""`mvc export-decoder`: a model's decoder for programs that are not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mvc.cli.options import Force, Model
from mvc.cli.terminal import note
from mvc.errors import libraries
from mvc.quality import DEFAULT_MODEL


def export_decoder(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the decoder.", show_default=False)
    ],
    model: Model = DEFAULT_MODEL,
    force: Force = False,
) -> None:
    """Write what other programs need to decode pictures: the synthesis as ONNX, the exact prior as documented tensors.

    Where onnxruntime is installed, its pixels are compared with those of mvc before anything is written.
    """
    with libraries():
        from mvc.decoder_export import folder

    agreement = folder.export_decoder(output, model, force=force)
    for name in folder.FILES:
        note(f"{output / name}: {(output / name).stat().st_size} bytes")
    note(str(agreement) if agreement else "not checked: onnxruntime is not installed (pip install 'mvc-codec[onnx]')")
