"""Exercise checks: each says whether an answer is right and, if not, which misconception it shows.

The checks of chapter NN stand in ``course_utils.checks.chapter_NN``. A check is a table of wrong answers and what each
shows: ``compare`` finds the answer in it and raises ``Misconception``; ``@exercise`` makes the check print its verdict
and never stop the notebook:

    from course_utils.checks import chapter_02 as check
    check.exercise_1(my_answer)
"""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


# ---------------------------------------------------------------- what an answer is


def as_tensor(value: Any) -> Tensor:
    """Return an answer in double precision on the CPU, without its graph, whatever kind of number or array it is."""
    if value is None:
        raise Misconception("your function returned nothing: it ends without a return")
    try:
        return torch.as_tensor(value).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(value).__name__
        raise Misconception(f"the result is a {kind} that is neither a number nor an array of numbers") from error


def as_number(value: Any, words: str = "asked is one number") -> Tensor:
    """Return an answer as a tensor () of double precision; ``words`` say what is asked if it is not one number."""
    number = as_tensor(value)
    if number.numel() != 1:
        raise Misconception(f"the result has shape {tuple(number.shape)}; {words}")
    return number.reshape(())


def expect_shape(value: Tensor, shape: Sequence[int], words: str = "") -> None:
    """Reject an answer of another shape; ``words`` follow the expected one."""
    if value.shape != tuple(shape):
        raise Misconception(f"the result has shape {tuple(value.shape)}, expected {tuple(shape)}{words}")


def has_graph(result: Any) -> bool:
    """Tell whether gradients flow back from a result."""
    return isinstance(result, Tensor) and result.requires_grad


def expect_graph(loss: Any) -> None:
    """Reject a loss of the right value that cannot be differentiated."""
    if not has_graph(loss):
        raise Misconception(
            "the value is right, but it has lost its graph (.item(), float() or detach()): backward could not start "
            "from it; return the tensor itself"
        )


# ---------------------------------------------------------------- which answer it is


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

    if one_of(right):
        return
    raise Misconception(next((message for wrong, message in slips.items() if one_of(wrong)), otherwise))


def compare_formula(
    answer: Function, cases: Sequence[tuple], right: Any, slips: Mapping[Function, str], otherwise: Callable[..., str]
) -> None:
    """Compare a function of numbers with formulas, each over all cases at once.

    ``right`` is a formula, or a tuple of several; ``otherwise(value, right, *case)`` words the first case that is off.
    """

    def over(formula: Function) -> Tensor:
        return torch.tensor([float(formula(*case)) for case in cases], dtype=torch.float64)

    value = torch.stack([as_number(answer(*case)) for case in cases])
    known = tuple(over(each) for each in (right if isinstance(right, tuple) else (right,)))
    off = next((k for k in range(len(cases)) if not near(value[k], known[0][k])), 0)
    message = otherwise(value[off].item(), known[0][off].item(), *cases[off])
    compare(value, known, {over(slip): shown for slip, shown in slips.items()}, message)


# ---------------------------------------------------------------- what an answer is asked about


def rand(*shape: int, seed: int) -> Tensor:
    """Draw uniformly from [0, 1): always the same for one seed."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randn(*shape: int, seed: int) -> Tensor:
    """Draw from the standard normal: always the same for one seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
