"""Settings that must be made before anything imports torch."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait sleep, as in the command-line tool


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in training: results do not depend on the machine, and no thread waits for another."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
