"""Exercise checks: each says whether an answer is right and, if not, which misconception it shows.

The checks of chapter NN stand in ``course_utils.checks.chapter_NN``. A check is a function of the
answer that raises ``Misconception`` for a wrong one; ``@exercise`` makes it print its verdict
and never stop the notebook:

    from course_utils.checks import chapter_02 as check
    check.exercise_1(my_answer)
"""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


class Misconception(Exception):
    """A wrong answer; the message says what it reveals and where to look again."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check: ``status`` is "passed", "wrong", "broken" or "not attempted"."""

    status: str
    message: str


def exercise(number: str) -> Callable:
    """Turn ``check(*answers) -> None | str`` into an exercise check that prints its verdict.

    Parameters
    ----------
    number
        Of the exercise, e.g. ``"2.1"``.

    Notes
    -----
    The check raises ``Misconception`` for a wrong answer and returns nothing, or a sentence to
    print after "passed". The wrapped function prints and returns ``None``; ``.judge`` returns the
    ``Verdict`` without printing. An answer that is ``...``, ``None``, or a function whose body
    is only ``...`` counts as not attempted.
    """

    def decorate(check: Callable) -> Callable:
        def judge(*answers) -> Verdict:
            if any(_untouched(answer) for answer in answers):
                return Verdict("not attempted", "not attempted yet: replace the ... and run the cell again")
            try:
                praise = check(*answers)
            except Misconception as error:
                return Verdict("wrong", str(error))
            except Exception as error:
                return Verdict("broken", f"your answer raised {type(error).__name__}: {error}")
            return Verdict("passed", praise or "")

        @functools.wraps(check)
        def printed(*answers) -> None:
            verdict = judge(*answers)
            mark = {"passed": "✓", "not attempted": "○"}.get(verdict.status, "✗")
            word = {"passed": "passed", "not attempted": ""}.get(verdict.status, "not yet")
            print(
                f"{mark} Exercise {number}"
                + (f" {word}" if word else "")
                + (f": {verdict.message}" if verdict.message else "")
            )

        printed.judge, printed.number = judge, number
        return printed

    return decorate


def as_tensor(value) -> Tensor:
    """Return an answer as a tensor without its graph, whatever kind of number or array it is."""
    return value.detach() if isinstance(value, Tensor) else torch.as_tensor(value)


def near(first: Tensor, second: Tensor, *, atol: float = 1e-6) -> bool:
    """Tell whether two tensors have one shape and agree to four digits, or to ``atol`` near zero."""
    return first.shape == second.shape and torch.allclose(first.double(), second.double(), rtol=1e-4, atol=atol)


def _untouched(answer) -> bool:
    if answer is None or answer is ...:
        return True
    if not inspect.isfunction(answer):
        return False
    steps = list(dis.get_instructions(answer))
    does_nothing = {step.opname for step in steps} <= {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
    return does_nothing and all(step.argval in (None, ...) for step in steps if step.opname.endswith("_CONST"))
