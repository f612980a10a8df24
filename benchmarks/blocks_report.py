"""The kinds of blocks that benchmarks/blocks.py trained, compared on real files, in the whole and by size.

    python -m benchmarks.blocks_report --run FOLDER --pictures PICTURES... [--json] [--plot] [--metrics lpips,dists]
    python -m benchmarks.blocks_report --run FOLDER --against OTHER --pictures ...  # one loss against another

Exports all, writes and reads files of every picture with effort 0, and prints a Markdown table that it also
leaves in benchmarks/results/blocks.md, or --output (figures beside it as .json, curves as .svg). BD-rates are against
the first kind of the plan, which is state space; of several seeds each is compared with the same seed of that.

Three ways to other sizes: pictures scaled down, as the paper does (MambaVC, section 4.3 and figure 1b), where detail
per pixel grows as the size falls; cut out of the middle, where detail stays and context goes; and four joined to one,
longer than anything in training. Rows are kept in the run's folder (sweep.json), so that an interrupted report goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchmarks.blocks import ROOT, Plan, name_of, run_of, steps_done
from benchmarks.other_sizes import cropped, joined, scaled
from mvc import files
from mvc.cli.terminal import note
from mvc.errors import MvcError
from mvc.evaluate import codecs, curves, metrics, plots
from mvc.evaluate.cache import Cache
from mvc.evaluate.results import Results
from mvc.evaluate.sweep import sweep
from mvc.files import find_pictures
from mvc.models.complexity import Complexity, measure
from mvc.models.lite import Config, MambaVCLite
from mvc.train import export

RESULT = ROOT / "benchmarks" / "results" / "blocks.md"
SIZES_PX = (128, 256, 384, 512)
CODING = {"encode": ("g_a", "h_a", "h_s", "contexts"), "decode": ("h_s", "contexts", "g_s")}
WHOLE = "as they are"


@dataclass(frozen=True)
class Spread:
    """BD-rate in percent: the mean over pictures of each one's own, the mean's standard error, and their number.

    A picture's own is the mean over the seeds; `seeds` are the means over the pictures with each.
    """

    mean: float
    error: float
    pictures: int
    seeds: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ± {self.error:.2f}" if self.pictures else "-"


def spread(results: Results, plan: Plan, kind: str, metric: str) -> Spread:
    """Of a kind against the first. Pictures without a BD-rate (no MS-SSIM, or no quality in common) are left out."""
    pairs = [(run_of(plan.kinds[0], seed), run_of(kind, seed)) for seed in plan.seeds]
    return spread_of(results, pairs, metric)


def spread_of(results: Results, pairs: Sequence[tuple[str, str]], metric: str) -> Spread:
    """Of the second codec of each pair against its first; there is a pair for each seed."""
    found = [curves.bd_rate_by_picture(results, anchor, test, metric) for anchor, test in pairs]
    each = np.array([[rates[key] for rates in found] for key in found[0] if all(key in rates for rates in found)])
    if not len(each):
        return Spread(0.0, 0.0, 0)
    own, seeds = each.mean(1), tuple(each.mean(0).tolist())
    error = float(np.std(own, ddof=1) / len(own) ** 0.5) if len(own) > 1 else 0.0
    return Spread(float(np.mean(own)), error, len(own), seeds)


@cache
def cost_of(config: Config) -> Complexity:
    """Of the model on a picture of 768 x 512."""
    with torch.device("meta"):
        model = MambaVCLite(config).eval()
    return measure(model, 768, 512)


def exported(run: Path, plan: Plan) -> dict[str, codecs.Adapter]:
    """A codec for each run, from the averaged weights of its checkpoint."""
    adapters = {}
    for kind, seed in plan.runs:
        name = run_of(kind, seed)
        checkpoint, weights = run / name / "last.pt", run / name / "weights"
        if (done := steps_done(checkpoint)) < (steps := plan.steps(kind)):
            what = f"{name_of(kind)} has had {done} of {steps} steps with seed {seed}"
            raise MvcError(what, hint="`python -m benchmarks.blocks` goes on with it")
        export.export(checkpoint, weights)
        # Its version names the weights, so its rows may come from the cache.
        adapters[name] = replace(codecs.adapter("mvc", model=str(weights), effort=0), name=name, anchor=True)
    return adapters


@dataclass(frozen=True)
class Report:
    """All that was measured; `sizes` holds the BD-rates (PSNR) of all kinds but the first by set of pictures."""

    plan: Plan
    configs: dict[str, Config]
    results: Results
    sizes: dict[str, dict[str, Spread]]

    @property
    def rivals(self) -> list[str]:
        return self.plan.kinds[1:]

    def markdown(self) -> str:
        """Tables: what each kind costs, BD-rates on the pictures, those of each seed, and those by size."""
        count, first = len(self.results.pictures), name_of(self.plan.kinds[0])
        heads = " | ".join(metrics.METRICS[metric].title for metric in self.results.metrics())
        seeds = "one seed" if len(self.plan.seeds) == 1 else f"{len(self.plan.seeds)} seeds"
        cores, load = os.cpu_count(), os.getloadavg()[0]
        lines = [
            f"Trained for {self.plan.minutes:g} minutes of processor time on each of {self.plan.processes} processes, "
            f"{seeds}, loss: {self.plan.loss}; {count} pictures, effort 0; {cores} cores, load {load:.1f}. "
            "MACs are full ones at 768 x 512.",
            "",
            "| model | parameters, M | encode, kMAC/px | decode, kMAC/px | steps | Mpx per core and s | used, min "
            "| encode, s | decode, s |",
            "|---|" + "---:|" * 8,
            *(f"| {name_of(kind)} | {' | '.join(self._costs(kind))} |" for kind in self.plan.kinds),
            "",
            f"BD-rate against {first} in percent, negative is better: mean over the pictures ± its standard error, "
            "and in brackets that of the mean curves. The error is of the choice of pictures, not of the seed.",
            "",
            f"| model | {heads} |",
            "|---|" + "---:|" * len(self.results.metrics()),
            *(f"| {name_of(kind)} | {' | '.join(self._rates(kind))} |" for kind in self.rivals),
        ]
        if len(self.plan.seeds) > 1:
            listed = ", ".join(map(str, self.plan.seeds))
            lines += ["", f"The means over the pictures with each seed ({listed}):", "", f"| model | {heads} |"]
            lines.append("|---|" + "---:|" * len(self.results.metrics()))
            lines += [f"| {name_of(kind)} | {' | '.join(self._by_seed(kind))} |" for kind in self.rivals]
        if self.sizes:
            heads = " | ".join(map(name_of, self.rivals))
            lines += ["", f"| pictures | number | {heads} |", "|---|---:|" + "---:|" * len(self.rivals)]
            for name, spreads in self.sizes.items():
                number = spreads[self.rivals[0]].pictures
                lines.append(f"| {name} | {number} | {' | '.join(str(spreads[kind]) for kind in self.rivals)} |")
        return "\n".join(lines)

    def document(self, *more: str) -> str:
        """The tables, and more of them, as a file of benchmarks/results."""
        seeds = " ".join(map(str, self.plan.seeds))
        what = f"--kinds {' '.join(self.plan.kinds)} --seed {seeds} --loss {self.plan.loss}"
        command = f"    python -m benchmarks.blocks --minutes MINUTES {what} --store STORE --run FOLDER\n"
        command += "    python -m benchmarks.blocks_report --run FOLDER --pictures PICTURES\n"
        return "\n\n".join([f"# Kinds of blocks at equal size\n\n{command}\n{self.markdown()}", *more]) + "\n"

    def json(self) -> str:
        """Everything behind the tables."""
        rates = {m: {kind: asdict(self._spread(kind, m)) for kind in self.rivals} for m in self.results.metrics()}
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
        lines = {curve.name: curve for curve in curves.measured(self.results)}
        for kind, seed in self.plan.runs:
            label = name_of(kind) if seed == self.plan.seeds[0] else None
            points = lines[run_of(kind, seed)].points("psnr")
            left.plot(*points, "o-", ms=4, color=self._colour(kind), label=label)
        left.set(xlabel="bits per pixel", ylabel="PSNR, dB")
        names = list(self.sizes)
        for kind in self.rivals:
            means = [self.sizes[name][kind].mean for name in names]
            errors = [self.sizes[name][kind].error for name in names]
            places = np.arange(len(names)) + 0.12 * (self.rivals.index(kind) - (len(self.rivals) - 1) / 2)
            right.errorbar(places, means, errors, fmt="o", capsize=3, color=self._colour(kind), label=name_of(kind))
        right.axhline(0, color=self._colour(self.plan.kinds[0]), label=name_of(self.plan.kinds[0]))
        right.set_xticks(range(len(names)), names, rotation=30, ha="right")
        right.set_ylabel("BD-rate (PSNR), %")
        for axes in (left, right):
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mvc"}):
            figure.savefig(path, metadata={"Date": None})

    def _costs(self, kind: str) -> list[str]:
        runs = [run_of(kind, seed) for seed in self.plan.seeds]
        cost, rows = cost_of(self.configs[kind]), [row for row in self.results.rows if row.codec in runs]
        macs = [sum(cost.full_macs[part] for part in parts) / cost.width / cost.height for parts in CODING.values()]
        seconds = [np.mean([row.encode_s for row in rows]), np.mean([row.decode_s for row in rows])]
        plan = self.plan
        used_s = [plan.used_s[name] for name in runs if name in plan.used_s]
        return [
            f"{sum(cost.parameters.values()) / 1e6:.3f}",
            *(f"{value / 1e3:.2f}" for value in macs),
            str(plan.steps(kind)),
            f"{plan.batch_px / plan.processes / 1e6 / plan.step_s[kind]:.3f}",
            f"{np.mean(used_s) / 60:.1f}" if used_s else "-",
            *(f"{value:.3f}" for value in seconds),
        ]

    def _rates(self, kind: str) -> list[str]:
        lines = {curve.name: curve for curve in curves.measured(self.results)}
        cells = []
        for metric in self.results.metrics():
            wholes = [
                curves.bd_rate_of(*(lines[run_of(each, seed)] for each in (self.plan.kinds[0], kind)), metric)
                for seed in self.plan.seeds
            ]
            known = [whole for whole in wholes if whole is not None]
            mean = f"{np.mean(known):+.2f}" if len(known) == len(wholes) else "-"
            cells.append(f"{self._spread(kind, metric)} ({mean})")
        return cells

    def _by_seed(self, kind: str) -> list[str]:
        spreads = [self._spread(kind, metric) for metric in self.results.metrics()]
        return [", ".join(f"{mean:+.2f}" for mean in found.seeds) or "-" for found in spreads]

    def _spread(self, kind: str, metric: str) -> Spread:
        return spread(self.results, self.plan, kind, metric)

    def _colour(self, kind: str) -> str:
        return f"C{self.plan.kinds.index(kind)}"


def losses(report: Report, other: Report) -> dict[str, dict[str, Spread]]:
    """By metric and kind: the runs of `report` against those of the same kind and seed that had the other's loss."""
    both = [run for run in report.plan.runs if run in other.plan.runs]
    rows = [replace(row, codec=f"{of.plan.loss}/{row.codec}") for of in (other, report) for row in of.results.rows]
    results = replace(report.results, rows=rows)

    def spreads(metric: str) -> dict[str, Spread]:
        names: dict[str, list[tuple[str, str]]] = {kind: [] for kind, _ in both}
        for kind, seed in both:
            names[kind].append((f"{other.plan.loss}/{run_of(kind, seed)}", f"{report.plan.loss}/{run_of(kind, seed)}"))
        return {kind: spread_of(results, pairs, metric) for kind, pairs in names.items()}

    return {metric: spreads(metric) for metric in results.metrics()}


def losses_table(report: Report, other: Report) -> str:
    """What `losses` finds as a Markdown table."""
    found = losses(report, other)
    lines = [
        f"BD-rate with the loss {report.plan.loss} against the same kind and seed with the loss {other.plan.loss}, "
        f"{other.plan.minutes:g} minutes:",
        "",
        "| model | " + " | ".join(metrics.METRICS[metric].title for metric in found) + " |",
        "|---|" + "---:|" * len(found),
    ]
    for kind in next(iter(found.values())):
        lines.append(f"| {name_of(kind)} | " + " | ".join(str(spreads[kind]) for spreads in found.values()) + " |")
    return "\n".join(lines)


def config_of(run: Path) -> Config:
    """Of the model in a run's folder."""
    return Config.from_dict(export.load_checkpoint(run / "last.pt")[1]["config"])


def measure_all(
    run: Path,
    pictures: Sequence[str],
    quality: Sequence[float],
    sizes_px: Sequence[int],
    measures: Mapping[str, metrics.Measure] | None = None,
) -> Report:
    """Export, code and decode; `sizes_px` are the shorter sides of the study by size, none for no study.

    `measures` are metrics beside PSNR and MS-SSIM, of the pictures as they are.
    """
    plan = Plan.read(run)
    adapters = exported(run, plan)
    configs = {kind: config_of(run / run_of(kind, plan.seeds[0])) for kind in plan.kinds}
    settings, cache = {name: list(quality) for name in adapters}, Cache(run / "sweep.json")

    def swept(name: str, paths: Sequence[Path], measures: Mapping[str, metrics.Measure] | None = None) -> Results:
        note(f"{name}: {len(paths)} pictures")
        return sweep(paths, list(adapters.values()), settings, measures=measures, cache=cache)

    paths = find_pictures(pictures)
    results = swept(WHOLE, paths, measures)
    sizes: dict[str, dict[str, Spread]] = {}

    def add(name: str, found: Results) -> None:
        if found.pictures:
            sizes[name] = {kind: spread(found, plan, kind, "psnr") for kind in plan.kinds[1:]}

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
    parser.add_argument("--metrics", default="lpips", help="beside PSNR and MS-SSIM, as of mvc bench; empty: none")
    parser.add_argument("--against", type=Path, help="folder of a run with another loss, to compare the two as well")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--json", action="store_true", help="all figures too, beside the table")
    parser.add_argument("--plot", action="store_true", help="curves too, beside the table")
    options = parser.parse_args()
    try:
        quality = [float(q) for q in options.quality.split(",")]
        sizes_px = [int(size) for size in options.sizes.split(",") if size]
        measures = metrics.load([name for name in options.metrics.split(",") if name])
        report = measure_all(options.run, options.pictures, quality, sizes_px, measures)
        more = []
        if options.against:
            more.append(losses_table(report, measure_all(options.against, options.pictures, quality, [], measures)))
        print(report.markdown(), *more, sep="\n\n")
        files.write_atomic(options.output, report.document(*more).encode(), force=True)
        if options.json:
            files.write_atomic(options.output.with_suffix(".json"), report.json().encode(), force=True)
        if options.plot:
            report.draw(options.output.with_suffix(".svg"))
    except MvcError as error:
        raise SystemExit(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else "")) from error


if __name__ == "__main__":
    main()
