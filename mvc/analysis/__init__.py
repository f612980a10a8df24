"""The analyses of the papers, for any still-picture model: receptive fields, correlation, deviation, allocation.

One file for each: a pure function of arrays or tensors that gives a small dataclass, whose `numbers` go into the JSON
of `mvc analyze`. `record.py` gets from a codec what they look at, `report.py` puts them together, `draw.py` draws.
docs/analyze.md says what every number means.
"""
