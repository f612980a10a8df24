"""`mvc train` and `mvc export`: thin doors to mvc.train, which nothing else imports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.toml", help="What to train, on what.", show_default=False)
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the recipe's last checkpoint.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Stop, resumably, after this time.")
    ] = None,
) -> None:
    """Train a model as a recipe says."""
    from mvc.train import cli

    cli.train(recipe, resume=resume, minutes=minutes)


def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="From `mvc train`.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the weights.", show_default=False)
    ],
) -> None:
    """Lower a trained model to integers and write its weights, tables and manifest."""
    from mvc.train import cli

    cli.export(checkpoint, output)
