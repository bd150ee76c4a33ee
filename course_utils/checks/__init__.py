"""Exercise checks: each says whether an answer is right and, if not, which misconception it shows.

The checks of chapter NN stand in ``course_utils.checks.chapter_NN``. A check is a table of wrong answers and what each
shows: ``compare`` finds the answer in it and raises ``Misconception``; ``@exercise`` makes the check print its verdict
and never stop the notebook:

    from course_utils.checks import chapter_02 as check
    check.exercise_1(my_answer)
"""

from __future__ import annotations

import copy
import dis
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Function = Callable[..., Any]  # what a learner wrote may return anything


class Misconception(Exception):
    """A wrong answer; the message says what it reveals and where to look again."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check: ``status`` is "passed", "wrong", "broken" or "not attempted"."""

    status: str
    message: str


class Exercise:
    """Check of one exercise, ``number`` "2.1": called with the answers it prints its verdict and returns nothing.

    ``check(*answers)`` raises ``Misconception`` for a wrong answer and returns nothing, or a sentence to print after
    "passed".
    """

    def __init__(self, number: str, check: Callable[..., str | None]):
        self.number, self._check = number, check
        functools.update_wrapper(self, check)

    def judge(self, *answers: Any) -> Verdict:
        """Return the verdict without printing it; torch draws from seed 0, and its generator stays as it was.

        An answer that is ``...``, ``None``, or a function whose body is only ``...`` counts as not attempted.
        """
        if any(_untouched(answer) for answer in answers):
            return Verdict("not attempted", "not attempted yet: replace the ... and run the cell again")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            try:
                return Verdict("passed", self._check(*answers) or "")
            except Misconception as error:
                return Verdict("wrong", str(error))
            except Exception as error:
                return Verdict("broken", f"your answer raised {type(error).__name__}: {error}")

    def __call__(self, *answers: Any) -> None:
        verdict = self.judge(*answers)
        mark, word = {"passed": ("✓", " passed"), "not attempted": ("○", "")}.get(verdict.status, ("✗", " not yet"))
        print(f"{mark} Exercise {self.number}{word}" + (f": {verdict.message}" if verdict.message else ""))


def exercise(number: str) -> Callable[[Callable[..., str | None]], Exercise]:
    """Turn a check into the ``Exercise`` of that number, e.g. ``"2.1"``."""
    return functools.partial(Exercise, number)


def _untouched(answer: Any) -> bool:
    if answer is None or answer is ...:
        return True
    if not inspect.isfunction(answer):
        return False
    steps = list(dis.get_instructions(answer))
    does_nothing = {step.opname for step in steps} <= {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
    return does_nothing and all(step.argval in (None, ...) for step in steps if step.opname.endswith("_CONST"))


def as_tensor(answer: Any, shape: Sequence[int] | None = None, words: str = "") -> Tensor:
    """Return an answer in double precision on the CPU, without its graph, whatever kind of number or array it is.

    An answer of another ``shape`` is rejected, and ``words`` follow the expected one; shape () takes any one number,
    and ``words`` say what is asked.
    """
    if answer is None:
        raise Misconception("your function returned nothing: it ends without a return")
    try:
        value = torch.as_tensor(answer.copy() if isinstance(answer, np.ndarray) else answer).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(answer).__name__
        raise Misconception(f"the result is a {kind} that is neither a number nor an array of numbers") from error
    if shape == () and value.numel() == 1:
        return value.reshape(())
    if shape is not None and value.shape != tuple(shape):
        expected = f", expected {tuple(shape)}{words}" if shape else f"; {words or 'asked is one number'}"
        raise Misconception(f"the result has shape {tuple(value.shape)}{expected}")
    return value


def near(first: Tensor, second: Tensor, *, rtol: float = 1e-4, atol: float = 1e-6) -> bool:
    """Tell whether two tensors have one shape and agree to four digits, or to ``atol`` near zero."""
    return first.shape == second.shape and torch.allclose(first.double(), second.double(), rtol=rtol, atol=atol)


def compare(value: Tensor, right: Any, slips: Mapping[Any, str], otherwise: str, **tolerance: float) -> None:
    """Return if an answer is right; else say what the slip that gives the same shows, or ``otherwise``.

    ``slips`` maps wrong answers to what each shows. A wrong answer, like ``right``, is a number or a tensor (a key by
    identity), or a tuple of several; ``None`` where it does not apply. ``tolerance`` goes to ``near``.
    """

    def one_of(known: Any) -> bool:
        known = known if isinstance(known, tuple) else (known,)
        return any(near(value, as_tensor(each), **tolerance) for each in known if each is not None)

    if not one_of(right):
        raise Misconception(next((message for wrong, message in slips.items() if one_of(wrong)), otherwise))


def compare_all(
    answer: Function, cases: Sequence[tuple[Any, ...]], right: Any, slips: Mapping[Function, str], otherwise: str
) -> None:
    """Compare a function of numbers with formulas, each over all cases at once.

    ``right`` is a formula, or a tuple of several. ``otherwise`` is filled with the first case that is off, {0}, {1}, …,
    and its ``value``, ``right`` and the difference ``off``.
    """

    def over(formula: Function) -> Tensor:
        return torch.tensor([float(formula(*case)) for case in cases], dtype=torch.float64)

    values = torch.stack([as_tensor(answer(*copy.deepcopy(case)), ()) for case in cases])
    known = tuple(over(formula) for formula in (right if isinstance(right, tuple) else (right,)))
    first = next((k for k in range(len(cases)) if not near(values[k], known[0][k])), 0)
    at = {"value": values[first].item(), "right": known[0][first].item(), "off": (values - known[0])[first].item()}
    table = {over(slip): message for slip, message in slips.items()}
    compare(values, known, table, otherwise.format(*cases[first], **at))


def expect_graph(loss: Any, how: str = ".item(), float() or detach()") -> None:
    """Reject a loss of the right value that cannot be differentiated, and say how that may have come about."""
    if not (isinstance(loss, Tensor) and loss.requires_grad):
        raise Misconception(
            f"the value is right, but it has lost its graph ({how}): backward could not start from it; return the "
            "tensor itself"
        )
