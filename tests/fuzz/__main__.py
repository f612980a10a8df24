"""The command: `PYTHONPATH=tests python -m fuzz --help`."""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from pathlib import Path

from fuzz import all_targets
from fuzz.harness import Report, Target, attempt, cases, store


def run(target: Target, seed: int, report: Report, found: Path, *, seconds: float, first: int = 0) -> None:
    """Cases of a target for some seconds. The one that runs lies in `found` meanwhile: a crash leaves it there."""
    start, current = time.monotonic(), found / f"current-{target.name}"
    found.mkdir(parents=True, exist_ok=True)
    for number, (kind, data) in enumerate(cases(target, seed, first + report.cases), first + report.cases):
        if time.monotonic() - start > seconds:
            break
        current.write_bytes(data)
        if failure := attempt(target, kind, data, report):
            path = store(found, failure, f"{seed}-{number}")
            print(f"FAILURE {path} ({kind}): {failure.what}\n{failure.trace}", flush=True)
    current.unlink(missing_ok=True)
    report.seconds += time.monotonic() - start


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Try damaged input of every kind.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(t.name for t in all_targets())}")
    parser.add_argument("--minutes", type=float, default=1.0, help="for all targets together (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds are other cases (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--shipped", action="store_true", help="files of the shipped model, not of a tiny random one")
    parser.add_argument("--found", type=Path, default=Path("build/fuzz"), help="where failing cases go (build/fuzz)")
    options = parser.parse_args(arguments)
    faulthandler.enable()
    known = {target.name: target for target in all_targets(shipped=options.shipped)}
    if unknown := set(options.targets) - set(known):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    chosen = [target for name, target in known.items() if name in options.targets or not options.targets]
    reports = {target.name: Report() for target in chosen}
    turns = max(1, round(2 * options.minutes / len(chosen)))  # by turns, so that an early end has tried everything
    for _ in range(turns):
        for target in chosen:
            share = 60 * options.minutes / len(chosen) / turns
            run(target, options.seed, reports[target.name], options.found, seconds=share, first=options.first)
    for name, report in reports.items():
        outcomes = ", ".join(f"{word} {count}" for word, count in report.outcomes.most_common())
        print(f"{name}: {report.cases} cases in {report.seconds:.0f} s: {outcomes}")
        print(f"  most: {report.slowest:.2f} s, {report.largest:.0f} MB; {len(report.failures)} failures")
        print(f"  kinds: {', '.join(f'{kind} {count}' for kind, count in report.kinds.most_common(30))}")
    return 1 if any(report.failures for report in reports.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
