"""Tests that the checks of every chapter share: tables of right and wrong answers, and what no check may do."""

from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from course_utils import checks
from course_utils.checks import Exercise, Verdict, as_tensor, near

KINDS: dict[str, Callable[[torch.Tensor], Any]] = {
    "numpy": lambda value: value.numpy(),
    "list": lambda value: value.tolist(),
    "float32": lambda value: value.float(),
    "float64": lambda value: value.double(),
    "with graph": lambda value: value.double().requires_grad_(),
}

UNFORESEEN = (
    0.1234,
    -7,
    float("nan"),
    float("inf"),
    "a word",
    [],
    np.zeros(3),
    torch.ones(2, 2),
    (1, 2),
    object(),
    True,
)


class Answers:
    """Answers of one chapter: name of the exercise → ``solutions``; ``right`` ones besides, ``wrong`` ones with words
    of the message that each must get. ``as_it_is`` names exercises whose answer must be a tensor, a float or a bool,
    ``coincide`` those that ask several settings, not all of which tell every two rows of the table apart.
    """

    check: ModuleType
    solutions: dict[str, Any]
    right: tuple[tuple[str, Any], ...] = ()
    wrong: tuple[tuple[str, Any, str], ...]
    as_it_is: tuple[str, ...] = ()
    coincide: tuple[str, ...] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        asked = set(metafunc.fixturenames)
        free = [name for name in self.solutions if name not in self.as_it_is]
        right = [*self.solutions.items(), *self.right]
        if "words" in asked:
            ids = [f"{name}-{words}" for name, _, words in self.wrong]
            metafunc.parametrize(("name", "answer", "words"), self.wrong, ids=ids)
        elif "answer" in asked:
            metafunc.parametrize(("name", "answer"), right, ids=[f"{name}-{k}" for k, (name, _) in enumerate(right)])
        elif "kind" in asked:
            metafunc.parametrize(("name", "kind"), [(name, kind) for name in free for kind in KINDS])
        elif "name" in asked:
            metafunc.parametrize("name", self.solutions)

    def exercise(self, name: str) -> Exercise:
        return getattr(self.check, name)

    def judge(self, name: str, result: Any) -> Verdict:
        """Verdict on a result, or on a function that returns it whatever it is asked."""
        return self.exercise(name).judge((lambda *a, **k: result) if callable(self.solutions[name]) else result)

    def test_right_answer_passes_and_randomness_stays(self, name: str, answer: Any) -> None:
        before = torch.get_rng_state()
        verdict = self.exercise(name).judge(answer)
        assert verdict.status == "passed", verdict.message
        assert torch.equal(before, torch.get_rng_state())

    def test_wrong_answer_is_named(self, name: str, answer: Any, words: str) -> None:
        verdict = self.exercise(name).judge(answer)
        assert verdict.status == "wrong", verdict.message
        assert words in verdict.message

    def test_answer_of_another_kind_passes(self, name: str, kind: str) -> None:
        solution = self.solutions[name]

        def converted(result: Any) -> Any:
            several = isinstance(result, tuple)
            return tuple(map(converted, result)) if several else KINDS[kind](torch.as_tensor(result))

        answer = (lambda *asked: converted(solution(*asked))) if callable(solution) else converted(solution)
        verdict = self.exercise(name).judge(answer)
        assert verdict.status == "passed", verdict.message

    def test_unforeseen_answer_is_rejected(self, name: str) -> None:
        for result in UNFORESEEN:
            verdict = self.judge(name, result)
            assert verdict.status in ("wrong", "broken") and len(verdict.message) > 20, (result, verdict)

    def test_stub_is_not_attempted(self, name: str) -> None:
        def stub(*arguments, **options): ...

        assert {self.exercise(name).judge(answer).status for answer in (..., None, stub)} == {"not attempted"}

    def test_function_that_raises_or_returns_nothing_is_told(self, name: str) -> None:
        if not callable(self.solutions[name]):
            return
        raised = self.exercise(name).judge(lambda *asked, **options: 1 / 0)
        assert raised.status in ("wrong", "broken") and "ZeroDivisionError" in raised.message
        assert self.exercise(name).judge(lambda *asked, **options: print(end="")).status == "wrong"

    def test_no_row_of_the_table_is_hidden_by_another_or_by_the_right_answer(self, name: str) -> None:
        def flat(known: Any) -> list[torch.Tensor]:
            return [as_tensor(each) for each in (known if isinstance(known, tuple) else (known,)) if each is not None]

        def compared(value: Any, right: Any, slips: dict[Any, str], otherwise: str, **tolerance: float) -> None:
            rows = [(wrong, message) for known, message in slips.items() for wrong in flat(known)]
            rows = [(each, "right") for each in flat(right)] + rows
            for k, (first, one) in enumerate(rows):
                hidden = [two for second, two in rows[k + 1 :] if two != one and near(second, first, **tolerance)]
                assert name in self.coincide or not hidden, (one, hidden)
            seen.append(len(rows))

        seen: list[int] = []
        with mock.patch.object(self.check, "compare", compared), mock.patch.object(checks, "compare", compared):
            verdict = self.exercise(name).judge(self.solutions[name])
        assert verdict.status == "passed", verdict.message
        assert all(rows > 1 for rows in seen)
