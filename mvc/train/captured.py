"""A training step, forward and backward pass and the optimiser, as one CUDA graph.

A step of mambavc-lite is some thousand kernels of a few microseconds each, and a processor starts them more slowly than
a GPU runs them (docs/gpu.md). Captured once, all are started by one call.

What is captured must not wait for the device, nor depend on values (tests/test_train_device.py sees to that), and
works on tensors that stay where they are: the batch is copied into those that were there at the capture, and gradients
are left where the first were. Random numbers come from the device's generator, whose seed counts at every
replay as it does without a graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from mvc.environment import is_set_to

WARM_UP = 3  # passes before the capture: kernels are compiled in them, and libraries choose theirs
Pass = Callable[..., Tensor]


def is_wanted() -> bool:
    """Whether steps are captured; the environment variable MVC_GRAPH=none does without."""
    return not is_set_to("MVC_GRAPH", "none")


class Captured:
    """A function of tensors on a GPU that is captured after a few calls, and again when their shapes change."""

    def __init__(self, function: Pass) -> None:
        """`function` may leave tensors behind, as gradients are: new ones, for it drops those of the call before."""
        self._function = function
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()
        self._result: Tensor | None = None
        self._shapes: list[torch.Size] = []
        self._calls = 0
        self._works = True

    @property
    def is_replayed(self) -> bool:
        """Whether the next call of the same shapes starts the graph."""
        return self._graph is not None

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The function's value."""
        if (shapes := [t.shape for t in tensors]) != self._shapes:
            self._shapes, self._graph, self._result, self._calls = shapes, None, None, 0
        self._calls += 1
        if self._works and self._graph is None and self._calls > WARM_UP:
            self._capture(tensors)
        if self._graph is None or self._result is None:
            return self._called(tensors)
        for own, given in zip(self._inputs, tensors, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._result.clone()

    def _called(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """Uncaptured, on the stream of the capture: what autograd keeps of a parameter belongs to a stream."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            value = self._function(*tensors)
        here.wait_stream(self._stream)
        return value

    def _capture(self, tensors: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(t.clone() for t in tensors)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._result = self._function(*self._inputs)
        except RuntimeError as error:
            self._works, self._result = False, None
            warnings.warn(f"steps are not captured: {error}", stacklevel=2)
            return
        self._graph = graph
