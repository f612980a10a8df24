"""Settings that must be made before anything imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

from mvc.environment import prepare

if TYPE_CHECKING:
    from fake_codec import FakeCodec

prepare()  # as the command-line tool does


@pytest.fixture
def long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many frames in a row are between two others as may be, whatever they show."""
    monkeypatch.setattr("mvc.clip_encoding.promising", lambda luma, most: most)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in training: results do not depend on the machine, and no thread waits for another."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def codec(monkeypatch: pytest.MonkeyPatch) -> FakeCodec:
    """A lossless codec in the place of the real one."""
    import fake_codec

    return fake_codec.install(monkeypatch)


# No test is judged by a clock: the machine may be busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
