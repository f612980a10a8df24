"""`computing`: what torch is set to while the codec computes, whatever its caller has set, and as it was afterwards.

torch's number of threads belongs partly to the calling thread and partly to the process (MKL's to the latter). So calls
that ask for different numbers cannot run at the same time: they wait for each other, in the order of their coming.
Calls with one number run side by side.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from mvc.arguments import check_threads
from mvc.errors import BackendError

KINDS = ("cpu", "cuda")


class _Gate:
    """Lets calls in as long as they want the number of threads that is set."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._inside = 0
        self._threads = 0  # of those inside
        self._before = 0, torch.float32  # what the process had

    def enter(self, threads: int | None) -> int:
        """Wait, set, and return what `leave` needs."""
        with self._changed:
            self._queue.append(ticket := object())
            try:
                self._changed.wait_for(
                    lambda: self._queue[0] is ticket and (not self._inside or self._wanted(threads) == self._threads)
                )
                if not self._inside:
                    self._before = torch.get_num_threads(), torch.get_default_dtype()
                    self._threads = self._wanted(threads)
                    torch.set_default_dtype(torch.float32)
                own = torch.get_num_threads() if not self._inside else self._before[0]
                if torch.get_num_threads() != self._threads:
                    torch.set_num_threads(self._threads)
                self._inside += 1
                return own
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _wanted(self, threads: int | None) -> int:
        if threads is not None:
            return threads
        return self._before[0] if self._inside else torch.get_num_threads()

    def leave(self, own: int) -> None:
        with self._changed:
            self._inside -= 1
            if not self._inside:
                torch.set_default_dtype(self._before[1])
            if self._threads != own:
                torch.set_num_threads(own)
                if self._inside:  # what belongs to the process was reset, too: set it again from a thread that ends
                    again = threading.Thread(target=torch.set_num_threads, args=(self._threads,))
                    again.start()
                    again.join()
            self._changed.notify_all()


_gate = _Gate()
_this_thread = threading.local()
_forked = False


def _after_fork() -> None:
    """OpenMP's threads are gone in a child, which would wait for them forever: there, one thread computes."""
    global _gate, _forked
    _gate, _forked = _Gate(), True
    _this_thread.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def computing(threads: int | None = None) -> Iterator[None]:
    """For a call of the codec: `threads` CPU threads (None: as torch has it), no gradients, no autocast, float32, CPU.

    All is as it was when the block is left. A block within another of the same thread changes nothing. In a process
    made by fork there is one thread, whatever is asked for. TypeError or ValueError for a wrong `threads`;
    BackendError for what torch cannot do after fork.
    """
    check_threads(threads)
    if getattr(_this_thread, "inside", False):
        yield
        return
    own = _gate.enter(1 if _forked else threads)
    _this_thread.inside = True
    try:
        with _plain_torch():
            yield
    except RuntimeError as error:
        if _forked and "fork" in str(error):
            raise BackendError(
                "a process that was forked after use cannot compute gradients, which --effort above 0 takes",
                hint="start processes with multiprocessing's `spawn`, or encode with effort 0",
            ) from error
        raise
    finally:
        _this_thread.inside = False
        _gate.leave(own)


@contextmanager
def _plain_torch() -> Iterator[None]:
    """Neither the caller's gradients, nor its autocast, nor its default device."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in KINDS:
            if torch.is_autocast_enabled(kind):
                stack.callback(torch.set_autocast_enabled, kind, True)
                torch.set_autocast_enabled(kind, False)
        if torch.get_default_device().type != "cpu":  # entered only then: it slows every call of torch
            stack.enter_context(torch.device("cpu"))
        yield
