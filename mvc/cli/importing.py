"""`mvc import-weights`: a thin door to mvc.train.importing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mvc.cli.options import Force
from mvc.cli.terminal import note


def import_weights(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT.pth.tar", help="Of the authors' public code, with a state dict.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="CHECKPOINT.pt", help="Checkpoint to write.", show_default=False),
    ],
    model: Annotated[
        str | None, typer.Option("--model", help="Which model it is. Default: the one that its tensors fit.")
    ] = None,
    force: Force = False,
) -> None:
    """Turn a checkpoint of public code into one that `mvc export` and `mvc train --resume-from` read."""
    from mvc.train.importing import import_weights as convert

    made = convert(checkpoint, output, model, force=force)
    values = sum(value.numel() for value in made.tensors.values())
    note(f"{output}: {made.name}, {values / 1e6:.3f} M parameters; {len(made.ignored)} tables and constants left out")
    if made.unusual:
        note(f"what is not the paper's and a recipe must say under [config] to go on: {made.unusual}")
