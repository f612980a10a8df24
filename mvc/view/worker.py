"""One thread that decodes, for many that ask: the latest request first, and none that nobody waits for any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

LOOK_S = 0.2
"""How often it is looked whether somebody still waits."""
MOST_WAITING = 64


class NotWanted(Exception):
    """Nobody waits for the result any more, or too many others came later."""


@dataclass(eq=False)
class _Task:
    action: Callable[[], Any]
    rank: int
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None


class Worker:
    """Runs what `do` is given in a thread of its own, which ends with the main thread.

    What it is at is finished then: a thread that is torn out of torch ends the process with an abort.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Task] = []
        threading.Thread(target=self._run, name="mvc-view").start()

    def do(self, action: Callable[[], T], wanted: Callable[[], bool] = lambda: True, *, rank: int = 0) -> T:
        """What `action` returns or raises, once it is its turn: of the lowest rank, the one that came last.

        `wanted` says whether somebody still waits; where not, `NotWanted` is raised, and what has not begun never does.
        """
        task = _Task(action, rank)
        with self._changed:
            self._waiting.append(task)
            if len(self._waiting) > MOST_WAITING:
                self._drop(max(self._waiting, key=lambda other: other.rank))  # of these the first is the oldest
            self._changed.notify()
        while not task.done.wait(LOOK_S):
            if not wanted():
                with self._changed:
                    self._drop(task)
                raise NotWanted
        if task.error is not None:
            raise task.error
        result: T = task.result
        return result

    def _drop(self, task: _Task) -> None:
        """Let a task that has not begun end."""
        if task in self._waiting:
            self._waiting.remove(task)
            task.error = NotWanted()
            task.done.set()

    def _run(self) -> None:
        while threading.main_thread().is_alive():
            with self._changed:
                if not self._changed.wait_for(lambda: self._waiting, LOOK_S):
                    continue
                task = min(reversed(self._waiting), key=lambda other: other.rank)
                self._waiting.remove(task)
            try:
                task.result = task.action()
            except BaseException as error:  # it belongs to whoever asked
                task.error = error
            task.done.set()
            del task  # with its result, which may be large
