"""Which ways to code a picture are worth coding all of it: each is tried on some of it first."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvc.lossless.body import Plan, classes_of, code_body
from mvc.lossless.fit import MATCHING, bands, colours_of, repeating, ways_of
from mvc.lossless.planes import turned
from mvc.lossless.state import Coder
from mvc.lossless.tables import MAX_DEPTH, Way
from mvc.threads import in_threads, share

__all__ = ["Choice", "choices"]

TRIAL_PIXELS, QUICK_TRIAL_PIXELS = 1 << 16, 1 << 13
"""Ways are compared on about so many pixels at effort 2 and more, and below."""
SMALL = 1 << 18
"""Samples that are unlike their neighbours, and an eighth of all pixels: up to so many effort 1 tries the mixed kind.

It takes some 0.1 to 0.2 seconds for them.
"""
RECALL_TRIAL_PIXELS, RECALL_GAIN = 1 << 14, 0.99
"""Pixels on which recall is tried, and what it must come to there, as it costs a tenth to a half of the speed."""
HOPE = 1.5
"""What takes more than this times the least on that part is not coded whole."""
REPEATING = 0.25
"""Where a larger share of pixels is like a neighbour, an exact stream may be shorter than a nearly exact one."""


class Choice(NamedTuple):
    """A way to code a picture; `turn`: with turned colours."""

    way: Way
    turn: bool
    near: int
    quick: bool
    recalling: bool = False
    slack: int = 0

    def may_recall(self) -> bool:
        """Whether pixels are coded one behind the other, sample by sample."""
        return self.way == Way.GRAPHIC or self.quick

    def plan(self, depth: int, pixels: int) -> Plan:
        """What the coder needs to know for planes of so many bits and pixels."""
        classes = classes_of(self.way, pixels)
        return Plan(self.way, classes, depth + self.turn, self.near, self.quick, self.recalling, self.slack)


def choices(
    source: NDArray[np.int32], depth: int, near: int, all_differ: bool, way: Way | None, effort: int
) -> list[Choice]:
    """What to code planes [C, H, W] with: of the streams the shortest is to be taken. `way`: this one is wanted."""
    few = source.shape[0] * depth <= 62 and colours_of(source, depth) is not None
    share = repeating(source)
    nears = [near, 0] if near and way is None and (few or share > REPEATING) else [near]
    quick, groups = effort < 2, []
    for bound in nears:
        can_turn = source.shape[0] > 2 and all_differ and not bound and depth < MAX_DEPTH
        ways = ways_of(source, depth, few and not bound, share, can_turn, quick)
        if way is not None:
            ways = [one for one in ways if one[0] == way] or [(way, False)]
        groups.append([Choice(*one, bound, quick and one[0] < Way.INDEXED) for one in ways])
    if near and way is None and source.shape[0] * depth <= 62 and repeating(source, near) > REPEATING:
        groups.append([Choice(Way.GRAPHIC, False, near, quick, slack=near)])
    best = _best(source, depth, groups, QUICK_TRIAL_PIXELS if quick else TRIAL_PIXELS)
    if source.shape[0] > 1 and source.shape[0] * (depth + 1) <= 62:
        best = _recalling(source, depth, best)
    if effort == 1 and way is None and source.size * (1 - share) + source[0].size / 8 <= SMALL:
        mixed = [one._replace(quick=False) for one in best if one.quick]
        if share > MATCHING and source.shape[0] * (depth + 1) <= 62:
            mixed += [one._replace(way=Way.GRAPHIC) for one in mixed]
        best += [one if one.may_recall() else one._replace(recalling=False) for one in mixed]
    if effort > 1 and way is None:  # which takes a fifth of the time
        best += choices(source, depth, near, all_differ, None, 0)
    return list(dict.fromkeys(best))


def _best(source: NDArray[np.int32], depth: int, groups: list[list[Choice]], pixels: int) -> list[Choice]:
    """The best of each group on about so many pixels, but for those that are hopeless beside the others."""
    tried = list(chain(*groups))
    if len(tried) == 1:
        return tried
    costs = dict(zip(tried, _costs(bands(source, pixels), depth, tried), strict=True))
    best = [min(group, key=lambda choice: costs[choice]) for group in groups]
    return [choice for choice in best if costs[choice] <= HOPE * min(costs.values())]


def _recalling(source: NDArray[np.int32], depth: int, best: list[Choice]) -> list[Choice]:
    """The same, with recall where that is shorter on some of the picture; there it learns less than on all of it."""
    able = [one for one in best if one.may_recall()]
    both = [*able, *(one._replace(recalling=True) for one in able)]
    costs = _costs(bands(source, RECALL_TRIAL_PIXELS), depth, both)
    better = {one for one, a, b in zip(able, costs, costs[len(able) :], strict=False) if b < RECALL_GAIN * a}
    return [one._replace(recalling=one in better) for one in best]


def _costs(part: NDArray[np.int32], depth: int, tried: list[Choice]) -> list[int]:
    """Words that each choice takes for planes [C, H, W]."""

    def cost(choice: Choice) -> int:
        coder = Coder()
        code_body(coder, choice.plan(depth, part[0].size), turned(part, depth) if choice.turn else part, part.shape)
        return int(coder.state[2])

    return list(in_threads(share())(cost, tried))  # kernels release the GIL
