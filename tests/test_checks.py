import numpy as np
import pytest
import torch

from course_utils.checks import Misconception, as_tensor, exercise, near


@exercise("9.1")
def check(answer):
    """Accept two."""
    value = answer() if callable(answer) else answer
    if value == 4:
        raise Misconception("4 is the square of 2: you squared once too often")
    assert value == 2, f"got {value}"
    return "two it is"


@exercise("9.2")
def silent(first, second):
    if bool(first != second):
        raise Misconception("they differ")


def stub(): ...


def documented():
    """Return two."""
    ...


def passed():
    pass


def only_a_docstring():
    """Return two."""


def returns_dots():
    return ...


def with_arguments(x, *, y=1):
    """Return two."""
    ...


STUBS = [None, ..., stub, documented, passed, only_a_docstring, returns_dots, with_arguments, lambda: ...]


@pytest.mark.parametrize("answer", STUBS)
def test_a_stub_is_not_attempted(answer):
    verdict = check.judge(answer)
    assert verdict.status == "not attempted" and "replace the ..." in verdict.message


def test_one_stub_among_the_answers_is_enough():
    assert silent.judge(torch.ones(()), ...).status == "not attempted"
    assert silent.judge(torch.ones(()), torch.ones(())).status == "passed"


def _two():
    """Return two."""
    return 2


def _prints():
    print("an attempt")


def _uses_a_name(x=2):
    return x


@pytest.mark.parametrize("answer", [2, _two, lambda: 2, _uses_a_name, 2.0, torch.tensor(2)])
def test_a_right_answer_passes_with_praise(answer):
    verdict = check.judge(answer)
    assert (verdict.status, verdict.message) == ("passed", "two it is")


def test_a_wrong_answer_names_its_misconception():
    verdict = check.judge(4)
    assert verdict.status == "wrong" and verdict.message.startswith("4 is the square of 2")


@pytest.mark.parametrize(
    ("answer", "message"),
    [(lambda: 1 / 0, "ZeroDivisionError: division by zero"), (3, "AssertionError: got 3"), (_prints, "got None")],
)
def test_an_answer_that_raises_is_broken_and_says_how(answer, message):
    verdict = check.judge(answer)
    assert verdict.status == "broken" and message in verdict.message


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ((2,), "✓ Exercise 9.1 passed: two it is\n"),
        ((4,), "✗ Exercise 9.1 not yet: 4 is the square of 2: you squared once too often\n"),
        ((lambda: 1 / 0,), "✗ Exercise 9.1 not yet: your answer raised ZeroDivisionError: division by zero\n"),
        ((...,), "○ Exercise 9.1: not attempted yet: replace the ... and run the cell again\n"),
    ],
)
def test_a_check_prints_one_line_and_never_stops_the_notebook(capsys, answers, line):
    assert check(*answers) is None
    assert capsys.readouterr().out == line


def test_without_praise_the_line_is_short(capsys):
    silent(1, 1)
    assert capsys.readouterr().out == "✓ Exercise 9.2 passed\n"


def test_too_few_answers_are_no_crash():
    assert silent.judge(1).status == "broken"


def test_a_check_keeps_its_name_docstring_and_number():
    assert (check.__name__, check.__doc__, check.number) == ("check", "Accept two.", "9.1")


def test_a_slip_in_the_notebook_is_not_swallowed():
    """Ctrl-C in an answer stops the cell."""

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(interrupted)


def test_near_wants_one_shape_and_four_digits():
    assert near(torch.tensor([1.0, 200.0]), torch.tensor([1.00005, 200.01], dtype=torch.float64))
    assert not near(torch.tensor([1.0]), torch.tensor([1.001]))
    assert not near(torch.zeros(1), torch.full((1,), 5e-5)) and near(torch.zeros(1), torch.full((1,), 5e-5), atol=1e-4)
    assert not near(torch.ones(1, 2), torch.ones(2))


@pytest.mark.parametrize("answer", [2.5, np.float64(2.5), np.array(2.5), torch.tensor(2.5, requires_grad=True)])
def test_an_answer_of_any_kind_becomes_a_tensor_without_graph(answer):
    value = as_tensor(answer)
    assert isinstance(value, torch.Tensor) and not value.requires_grad and value.item() == 2.5
