"""A little of fuzz/ (see there for an hour of it), what it found, and that it would notice what it looks for."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import pytest
from fuzz import all_targets, seeds
from fuzz.harness import CORPUS, Report, Target, attempt, cases, store, stored

from mvc.errors import Corrupt

TARGETS = {target.name: target for target in all_targets()}
FOUND = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
FEW = {"container": 120, "decoder": 150, "exact": 80, "reference": 60, "checkpoint": 6, "public": 12, "model": 10}
FEW["picture"] = 150
SEED = 2026


@pytest.mark.parametrize("name", TARGETS)
def test_damage_is_an_error_and_nothing_else(name: str) -> None:
    report = Report()
    for kind, data in islice(cases(TARGETS[name], SEED), FEW[name]):
        attempt(TARGETS[name], kind, data, report)
    assert [(failure.kind, failure.what, failure.trace) for failure in report.failures] == []
    assert report.cases == FEW[name] and len(report.kinds) > 2
    assert name in ("public", "model", "checkpoint") or len(report.outcomes) > 2


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_stays_mended(path: Path) -> None:
    failure = attempt(TARGETS[path.parent.name], "found", stored(path), Report())
    assert failure is None, f"{failure.what}\n{failure.trace}"


def test_the_files_before_damage_decode_the_same_everywhere() -> None:
    """Crafted ones among them: hyperlatents of +-4095, and latents that are escapes of a million steps."""
    run = TARGETS["reference"].run
    assert {run(data) for data in seeds.coded_seeds()} == {"same"}


def test_the_corpus_is_small() -> None:
    assert {path.parent.name for path in FOUND} <= set(TARGETS)
    assert sum(path.stat().st_size for path in FOUND) < 300_000


@pytest.mark.parametrize("name", TARGETS)
def test_a_case_follows_from_seed_and_number(name: str) -> None:
    first, second = (list(islice(cases(TARGETS[name], SEED, 3), 2)) for _ in range(2))
    assert [kind for kind, _ in first] == [kind for kind, _ in second]
    if name != "checkpoint":  # torch.save does not promise the same bytes
        assert first == second
    assert first[0] != first[1]


def _fails(data: bytes) -> str:
    match data:
        case b"foreign":
            raise KeyError("x")
        case b"lines":
            raise Corrupt("one\ntwo")
        case b"large":
            return str(len(bytearray(b"x" * (80 << 20))))
        case b"slow":
            end = time.process_time() + 20
            while time.process_time() < end:
                pass
        case b"refused":
            raise Corrupt("as it should be")
    return "fine"


@pytest.mark.parametrize(
    ("data", "outcome", "what"),
    [
        (b"foreign", "KeyError!", "KeyError: 'x'"),
        (b"lines", "Corrupt", "several lines"),
        (b"large", "too large", "more than 30"),
        (b"slow", "too long", "not done after 0.2 s"),
        (b"refused", "Corrupt", None),
        (b"good", "fine", None),
    ],
)
def test_the_harness_notices(data: bytes, outcome: str, what: str | None, tmp_path: Path) -> None:
    target = Target("own", lambda random: ("none", data), _fails, seconds=0.2, megabytes=30)
    report = Report()
    failure = attempt(target, "none", data, report)
    assert dict(report.outcomes) == {outcome: 1}
    assert (failure is None) == (what is None)
    if failure is not None:
        assert what in failure.what
        assert stored(store(tmp_path, failure, "1")) == data
