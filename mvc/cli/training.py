"""`mvc train` and `mvc export`: thin doors to mvc.train, which nothing else imports."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

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


def _training() -> Any:
    """The module mvc.train.cli; `BackendError` where a package that only training needs is not installed."""
    try:
        return import_module("mvc.train.cli")
    except ModuleNotFoundError as error:
        raise BackendError(
            f"training needs the package {error.name}",
            hint="install the extra: pip install 'mvc-codec[train]'",
        ) from error
