"""Going on with a run that ended: what is there already, and whole, is left out; what is not whole is never kept quiet.
"""

from __future__ import annotations

from collections.abc import Callable

from mvc.cli.jobs import Job
from mvc.cli.outcome import Outcome
from mvc.container import Head
from mvc.stored import whole_already

Look = Callable[[Job], tuple[Head | None, int, int]]
"""Reads an output that is there: a head, the bytes of the .mvc file, and of the output. Raises what is wrong with it.
"""


def already(job: Job, resume: bool, force: bool, look: Look) -> Outcome | None:
    """The outcome of a job whose output is there and whole, if work is resumed; None where it is to be done.

    With `force` one that is not whole is to be done again; else it is an `MvcError`.
    """
    if not resume or not job.exists():
        return None
    hint = "-f with --resume makes those anew that are not whole"
    found = whole_already(job.target, lambda: look(job), force=force, hint=hint)
    if found is None:
        return None
    head, coded, written = found
    return Outcome(job.name, job.target_name, "skipped", head, 0, coded, written)
