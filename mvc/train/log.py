"""What a training run tells: a CSV log, TensorBoard if it is installed, and lines or a live display for people."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

COLUMNS = ["step", "minutes", "loss", "bpp", "hyper_bpp", "psnr", "grad_norm", "lr", "mpx_per_s", "motion_bpp"]
VALIDATION_COLUMNS = ["step", "minutes", "quality", "estimated_bpp", "psnr"]
LOG_FILE, VALIDATION_FILE = "log.csv", "validation.csv"


def append(path: Path, columns: list[str], row: dict[str, float]) -> None:
    """Add a row to a CSV file, after the header if the file is new."""
    new = not path.exists()
    if not new:
        with open(path, newline="") as file:
            columns = next(csv.reader(file), columns)  # those of a run that went on may have been fewer
    with open(path, "a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(columns)
        writer.writerow([f"{row[c]:.6g}" for c in columns])


def clock(minutes: float) -> str:
    """12.5 -> 0:12:30."""
    seconds = max(0, round(minutes * 60))
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


class Report:
    """Writes a run's logs into its folder and shows how it goes: live on a terminal, else a line per row."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._board = _summary_writer(folder)
        self._live: Progress | None = None

    def __enter__(self) -> Report:
        if sys.stderr.isatty():
            columns = [BarColumn(24), TextColumn("{task.description}", markup=False)]
            self._live = Progress(*columns, console=Console(stderr=True), redirect_stdout=False)
            self._live.add_task("step 0", total=1.0)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        if self._board:
            self._board.close()

    def progress(self, share: float) -> None:
        """How much of the run is done, 0 ... 1; only the live display shows it at once."""
        if self._live:
            self._live.update(self._live.task_ids[0], completed=share)

    def row(self, row: dict[str, float], minutes_left: float) -> None:
        """The means over the last `log_steps` steps, by COLUMNS."""
        append(self.folder / LOG_FILE, COLUMNS, row)
        self._scalars("train", row, COLUMNS[2:])
        text = (
            f"step {row['step']:.0f}  loss {row['loss']:.4f}  {row['bpp']:.3f} bpp (estimated)  {row['psnr']:.2f} dB  "
            f"{row['mpx_per_s']:.2f} Mpx/s  lr {row['lr']:.2g}  left {clock(minutes_left)}"
        )
        if self._live:
            self._live.update(self._live.task_ids[0], description=text)
        else:
            self.say(text)

    def validation(self, rows: list[dict[str, float]]) -> None:
        """One row for each quality index, by VALIDATION_COLUMNS. The bits are estimates: no stream was written."""
        for row in rows:
            append(self.folder / VALIDATION_FILE, VALIDATION_COLUMNS, row)
            self._scalars(f"held-out/quality{row['quality']:.0f}", row, VALIDATION_COLUMNS[3:])
        points = ", ".join(f"{row['estimated_bpp']:.3f} bpp {row['psnr']:.2f} dB" for row in rows)
        self.say(f"held-out pictures, bits estimated, averaged weights: {points}")

    def say(self, text: str) -> None:
        """One line, above the live display where there is one."""
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def _scalars(self, prefix: str, row: dict[str, float], names: list[str]) -> None:
        if self._board:
            for name in names:
                self._board.add_scalar(f"{prefix}/{name}", row[name], int(row["step"]))


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
