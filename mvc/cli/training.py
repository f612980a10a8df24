"""`mvc train`, `export` and `import-weights`: thin doors to mvc.train, which nothing else imports."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from mvc.cli.jobs import protect
from mvc.cli.options import Force
from mvc.cli.terminal import note
from mvc.errors import BackendError


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.toml", help="What to train, on what.", show_default=False)
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the recipe's last checkpoint.")
    ] = False,
    resume_from: Annotated[
        Path | None,
        typer.Option(
            "--resume-from",
            metavar="CHECKPOINT",
            help="Go on from another checkpoint, packed or not.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Stop, resumably, after this time.")
    ] = None,
) -> None:
    """Train a model as a recipe says."""
    _training().train(recipe, resume=resume_from or resume, minutes=minutes)


def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="From `mvc train`.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the weights.", show_default=False)
    ],
    store: Annotated[
        Path | None,
        typer.Option("--store", help="Crop store of the run: fit the probability tables to it.", show_default=False),
    ] = None,
) -> None:
    """Lower a trained model to integers and write its weights, tables and manifest."""
    _training().export(checkpoint, output, store)


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
    protect([str(checkpoint)], [str(output)])
    from mvc.train.importing import import_weights as convert

    made = convert(checkpoint, output, model, force=force)
    values = sum(value.numel() for value in made.tensors.values())
    note(f"{output}: {made.name}, {values / 1e6:.3f} M parameters; {len(made.ignored)} tables and constants left out")
    if made.unusual:
        note(f"what is not the paper's and a recipe must say under [config] to go on: {made.unusual}")


def _training() -> Any:
    """The module mvc.train.run; `BackendError` where a package that only training needs is not installed."""
    try:
        return import_module("mvc.train.run")
    except ModuleNotFoundError as error:
        raise BackendError(
            f"training needs the package {error.name}",
            hint="install the extra: pip install 'mvc-codec[train]'",
        ) from error
