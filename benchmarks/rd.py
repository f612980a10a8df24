"""Rate-distortion on the Kodak pictures: `mvc bench` with the defaults of our own records.

    python -m benchmarks.rd FOLDER [--weights FOLDER] [--published rd_curves.json] [options of `mvc bench`]

measures mvc at quality 1 to 8 against JPEG, WebP, JPEG 2000, AVIF and, where it is installed, JPEG XL, whose
results come from benchmarks/results/kodak_anchors.json as long as they were made by the same versions of the
same libraries. Tables on stdout; benchmarks/results/ records what it printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import with_weights
from mvc.cli.app import app
from mvc.evaluate.codecs import available

ANCHORS = Path(__file__).parent / "results" / "kodak_anchors.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--weights", type=Path, help="instead of the shipped ones")
    options, rest = parser.parse_known_args()
    if options.weights is not None:
        with_weights.use(options.weights)
    given = {argument.partition("=")[0] for argument in rest}
    if "--codec" not in given:
        rest += [part for name in available() for part in ("--codec", name)]
    if not given & {"--cache", "--no-cache"}:
        rest += ["--cache", str(ANCHORS)]
    app(["bench", *rest])


if __name__ == "__main__":
    main()
