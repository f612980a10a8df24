"""Random damage to everything that strangers may hand over: files, pictures, checkpoints, folders of models.

    PYTHONPATH=tests python -m fuzz --minutes 60

Nothing but a result or an MvcError of one line may come out, within a time and a memory. Cases are mutated by field,
with checksums repaired or not, and made of the seed, the target and their number alone. harness.py runs and watches
them, the other files make them; corpus/ holds what was found, and tests/test_fuzz.py runs it again.
"""

from __future__ import annotations

from fuzz.harness import Target


def all_targets(shipped: bool = False) -> list[Target]:
    """Everything that is tried; with `shipped` files of the shipped model instead of a tiny random one."""
    from fuzz import checkpoints, decoding, models, pictures

    return [*decoding.targets(shipped), *checkpoints.targets(), *models.targets(), *pictures.targets()]
