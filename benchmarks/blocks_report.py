"""The kinds of blocks that benchmarks/blocks.py trained, compared on real files, in the whole and by size.

    python -m benchmarks.blocks_report --run FOLDER --pictures PICTURES... [--json] [--plot]

Exports the three, writes and reads files of every picture with effort 0, and prints a Markdown table that it also
leaves in benchmarks/results/blocks.md, or --output (figures beside it as .json, curves as .svg). BD-rates are against
the state-space blocks.

Three ways to other sizes: pictures scaled down, as the paper does (MambaVC, section 4.3 and figure 1b), where detail
per pixel grows as the size falls; cut out of the middle, where detail stays and context goes; and four joined to one,
longer than anything in training. Rows are kept in the run's folder (sweep.json), so that an interrupted report goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.blocks import NAMES, ROOT, Plan, steps_done
from mvc import files
from mvc.cli.terminal import note
from mvc.errors import MvcError
from mvc.evaluate import codecs, curves, plots
from mvc.evaluate.cache import Cache
from mvc.evaluate.results import Results
from mvc.evaluate.sweep import sweep
from mvc.files import find_pictures
from mvc.models.complexity import Complexity, measure
from mvc.models.lite import BLOCKS, Config, MambaVCLite
from mvc.train import export

RESULT = ROOT / "benchmarks" / "results" / "blocks.md"
SIZES_PX = (128, 256, 384, 512)
RIVALS = BLOCKS[1:]
CODING = {"encode": ("g_a", "h_a", "h_s", "contexts"), "decode": ("h_s", "contexts", "g_s")}
WHOLE = "as they are"


@dataclass(frozen=True)
class Spread:
    """BD-rate in percent: the mean over pictures of each one's own, the mean's standard error, and their number."""

    mean: float
    error: float
    pictures: int

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ± {self.error:.2f}" if self.pictures else "-"


def spread(results: Results, kind: str, metric: str) -> Spread:
    """Of a kind against VSS. Pictures without a BD-rate (no MS-SSIM, or no quality in common) are left out."""
    each = list(curves.bd_rate_by_picture(results, BLOCKS[0], kind, metric).values())
    if len(each) < 2:
        return Spread(sum(each), 0.0, len(each))
    return Spread(float(np.mean(each)), float(np.std(each, ddof=1) / len(each) ** 0.5), len(each))


def cost_of(config: Config) -> Complexity:
    """Of the model on a picture of 768 x 512."""
    with torch.device("meta"):
        model = MambaVCLite(config).eval()
    return measure(model, 768, 512)


def scaled(paths: Iterable[Path], side: int, folder: Path) -> list[Path]:
    """The pictures that are larger, scaled down (Lanczos) to `side` as their shorter side."""
    made = []
    for path, picture in _opened(paths):
        if (shorter := min(picture.size)) > side:
            width, height = (round(length * side / shorter) for length in picture.size)
            made.append(folder / f"{path.stem}.png")
            picture.resize((width, height), Image.Resampling.LANCZOS).save(made[-1])
    return made


def cropped(paths: Iterable[Path], side: int, folder: Path) -> list[Path]:
    """The middle square of the pictures that are larger."""
    made = []
    for path, picture in _opened(paths):
        if min(picture.size) >= side and max(picture.size) > side:
            left, top = ((length - side) // 2 for length in picture.size)
            made.append(folder / f"{path.stem}.png")
            picture.crop((left, top, left + side, top + side)).save(made[-1])
    return made


def joined(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Every four pictures of one size as one, 2 x 2; what is left over of a size is left out."""
    made: list[Path] = []
    waiting: dict[tuple[int, int], list[Image.Image]] = {}
    for path, picture in _opened(paths):
        four = waiting.setdefault(picture.size, [])
        four.append(picture)
        if len(four) == 4:
            width, height = picture.size
            sheet = Image.new("RGB", (2 * width, 2 * height))
            for place in range(4):
                sheet.paste(four[place], (place % 2 * width, place // 2 * height))
            made.append(folder / f"{path.stem}.png")
            sheet.save(made[-1])
            four.clear()
    return made


def _opened(paths: Iterable[Path]) -> Iterable[tuple[Path, Image.Image]]:
    for path in paths:
        with Image.open(path) as opened:
            yield path, opened.convert("RGB")


def exported(run: Path, plan: Plan) -> dict[str, codecs.Adapter]:
    """A codec for each kind, from the averaged weights of its checkpoint."""
    adapters = {}
    for kind in BLOCKS:
        checkpoint, weights = run / kind / "last.pt", run / kind / "weights"
        if (done := steps_done(checkpoint)) < (steps := plan.steps(kind)):
            raise MvcError(f"{NAMES[kind]} has had {done} of {steps} steps", hint="`train` goes on with it")
        export.export(checkpoint, weights)
        # Its version names the weights, so its rows may come from the cache.
        adapters[kind] = replace(codecs.adapter("mvc", model=str(weights), effort=0), name=kind, anchor=True)
    return adapters


@dataclass(frozen=True)
class Report:
    """All that was measured; `sizes` holds the BD-rates (PSNR) of Swin and convolution by set of pictures."""

    plan: Plan
    configs: dict[str, Config]
    results: Results
    sizes: dict[str, dict[str, Spread]]

    def markdown(self) -> str:
        """Three tables: what each kind costs, BD-rates on the pictures, BD-rates by size."""
        count = len(self.results.pictures)
        cores, load = os.cpu_count(), os.getloadavg()[0]
        lines = [
            f"Trained for {self.plan.minutes:g} minutes of processor time on each of {self.plan.processes} processes, "
            f"one seed; {count} pictures, effort 0; {cores} cores, load {load:.1f}. MACs are full ones at 768 x 512.",
            "",
            "| model | parameters, M | encode, kMAC/px | decode, kMAC/px | steps | Mpx per core and s | used, min "
            "| encode, s | decode, s |",
            "|---|" + "---:|" * 8,
            *(f"| {NAMES[kind]} | {' | '.join(self._costs(kind))} |" for kind in BLOCKS),
            "",
            "BD-rate against MambaVC-lite in percent, negative is better: mean over the pictures ± its standard error, "
            "and in brackets that of the mean curves. The error is of the choice of pictures, not of the seed.",
            "",
            "| model | PSNR | MS-SSIM |",
            "|---|---:|---:|",
            *(f"| {NAMES[kind]} | {' | '.join(self._rates(kind))} |" for kind in RIVALS),
        ]
        if self.sizes:
            heads = " | ".join(NAMES[kind] for kind in RIVALS)
            lines += ["", f"| pictures | number | {heads} |", "|---|---:|" + "---:|" * len(RIVALS)]
            for name, spreads in self.sizes.items():
                number = spreads[RIVALS[0]].pictures
                lines.append(f"| {name} | {number} | {' | '.join(str(spreads[kind]) for kind in RIVALS)} |")
        return "\n".join(lines)

    def document(self) -> str:
        """The tables as a file of benchmarks/results."""
        command = "    python -m benchmarks.blocks --minutes MINUTES --store STORE --run FOLDER\n"
        command += "    python -m benchmarks.blocks_report --run FOLDER --pictures PICTURES\n"
        return f"# Kinds of blocks at equal size\n\n{command}\n{self.markdown()}\n"

    def json(self) -> str:
        """Everything behind the tables."""
        rates = {m: {kind: asdict(spread(self.results, kind, m)) for kind in RIVALS} for m in curves.METRICS}
        figures = {
            "plan": asdict(self.plan),
            "costs": {kind: asdict(cost_of(config)) for kind, config in self.configs.items()},
            "bd_rate": rates,
            "sizes": {name: {kind: asdict(s) for kind, s in spreads.items()} for name, spreads in self.sizes.items()},
            "means": self.results.means(),
        }
        return json.dumps(figures, indent=1) + "\n"

    def draw(self, path: Path) -> None:
        """Rate against PSNR, and BD-rate by size where that was measured, as an SVG."""
        plots.check_plot(path)
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        figure = Figure(figsize=(13, 5), layout="constrained")
        left, right = figure.subplots(1, 2)
        for curve in curves.measured(self.results):
            left.plot(*curve.points("psnr"), "o-", ms=4, color=_colour(curve.name), label=NAMES[curve.name])
        left.set(xlabel="bits per pixel", ylabel="PSNR, dB")
        names = list(self.sizes)
        for kind in RIVALS:
            means = [self.sizes[name][kind].mean for name in names]
            errors = [self.sizes[name][kind].error for name in names]
            places = np.arange(len(names)) + 0.12 * (BLOCKS.index(kind) - 1.5)
            right.errorbar(places, means, errors, fmt="o", capsize=3, color=_colour(kind), label=NAMES[kind])
        right.axhline(0, color=_colour(BLOCKS[0]), label=NAMES[BLOCKS[0]])
        right.set_xticks(range(len(names)), names, rotation=30, ha="right")
        right.set_ylabel("BD-rate (PSNR), %")
        for axes in (left, right):
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mvc"}):
            figure.savefig(path, metadata={"Date": None})

    def _costs(self, kind: str) -> list[str]:
        cost, rows = cost_of(self.configs[kind]), [row for row in self.results.rows if row.codec == kind]
        macs = [sum(cost.full_macs[part] for part in parts) / cost.width / cost.height for parts in CODING.values()]
        seconds = [np.mean([row.encode_s for row in rows]), np.mean([row.decode_s for row in rows])]
        plan = self.plan
        return [
            f"{sum(cost.parameters.values()) / 1e6:.3f}",
            *(f"{value / 1e3:.2f}" for value in macs),
            str(plan.steps(kind)),
            f"{plan.batch_px / plan.processes / 1e6 / plan.step_s[kind]:.3f}",
            f"{plan.used_s[kind] / 60:.1f}" if kind in plan.used_s else "-",
            *(f"{value:.3f}" for value in seconds),
        ]

    def _rates(self, kind: str) -> list[str]:
        lines = {curve.name: curve for curve in curves.measured(self.results)}
        cells = []
        for metric in curves.METRICS:
            whole = curves.bd_rate_of(lines[BLOCKS[0]], lines[kind], metric)
            cells.append(f"{spread(self.results, kind, metric)} ({'-' if whole is None else format(whole, '+.2f')})")
        return cells


def _colour(kind: str) -> str:
    return f"C{BLOCKS.index(kind)}"


def measure_all(run: Path, pictures: Sequence[str], quality: Sequence[float], sizes_px: Sequence[int]) -> Report:
    """Export, code and decode; `sizes_px` are the shorter sides of the study by size, none for no study."""
    plan = Plan.read(run)
    adapters = exported(run, plan)
    configs = {kind: Config.from_dict(export.load_checkpoint(run / kind / "last.pt")[1]["config"]) for kind in BLOCKS}
    settings, cache = {kind: list(quality) for kind in BLOCKS}, Cache(run / "sweep.json")

    def swept(name: str, paths: Sequence[Path]) -> Results:
        note(f"{name}: {len(paths)} pictures")
        return sweep(paths, list(adapters.values()), settings, cache=cache)

    paths = find_pictures(pictures)
    results = swept(WHOLE, paths)
    sizes: dict[str, dict[str, Spread]] = {}

    def add(name: str, found: Results) -> None:
        if found.pictures:
            sizes[name] = {kind: spread(found, kind, "psnr") for kind in RIVALS}

    with tempfile.TemporaryDirectory(prefix="mvc-sizes-") as folder:

        def place(name: str) -> Path:
            (made := Path(folder) / name.replace(" ", "-")).mkdir()
            return made

        if sizes_px:
            for side in sizes_px:
                name = f"scaled to {side}"
                add(name, swept(name, scaled(paths, side, place(name))))
            add(WHOLE, results)
            for side in sizes_px:
                name = f"middle {side} x {side}"
                add(name, swept(name, cropped(paths, side, place(name))))
            add("four joined", swept("four joined", joined(paths, place("joined"))))
    return Report(plan, configs, results, sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--pictures", nargs="+", required=True)
    parser.add_argument("--quality", default="1,2,3,4,5,6,7,8")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES_PX)), help="shorter sides in pixels; empty: none")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--json", action="store_true", help="all figures too, beside the table")
    parser.add_argument("--plot", action="store_true", help="curves too, beside the table")
    options = parser.parse_args()
    try:
        quality = [float(q) for q in options.quality.split(",")]
        sizes_px = [int(size) for size in options.sizes.split(",") if size]
        report = measure_all(options.run, options.pictures, quality, sizes_px)
        print(report.markdown())
        files.write_atomic(options.output, report.document().encode(), force=True)
        if options.json:
            files.write_atomic(options.output.with_suffix(".json"), report.json().encode(), force=True)
        if options.plot:
            report.draw(options.output.with_suffix(".svg"))
    except MvcError as error:
        raise SystemExit(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else "")) from error


if __name__ == "__main__":
    main()
