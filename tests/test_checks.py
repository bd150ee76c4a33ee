import numpy as np
import pytest
import torch

from course_utils.checks import Misconception, as_tensor, compare, compare_all, exercise, expect_graph, near
from course_utils.checks.inputs import rand, randn


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


def passed():
    pass


def only_a_docstring():
    """Return two."""


def returns_dots():
    return ...


def with_arguments(x, *, y=1):
    """Return two."""


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
    assert near(torch.tensor([1.0]), torch.tensor([1.00009])) and not near(torch.tensor([1.0]), torch.tensor([1.00011]))
    assert not near(torch.zeros(1), torch.full((1,), 5e-5)) and near(torch.zeros(1), torch.full((1,), 5e-5), atol=1e-4)
    assert not near(torch.ones(1, 2), torch.ones(2))
    assert near(torch.tensor([100.0]), torch.tensor([101.0]), rtol=0.01)


@pytest.mark.parametrize(
    "answer",
    [2.5, np.float32(2.5), np.array(2.5), [2.5], torch.tensor(2.5, requires_grad=True), torch.tensor([[2.5]])],
)
def test_an_answer_of_any_kind_becomes_one_number_in_double_precision_without_graph(answer):
    value = as_tensor(answer, ())
    assert value.item() == 2.5 and value.shape == () and value.dtype == torch.float64 and not value.requires_grad


@pytest.mark.parametrize(
    ("answer", "arguments", "message"),
    [
        (None, (), "your function returned nothing: it ends without a return"),
        ("2.5", (), "the result is a str that is neither a number nor an array of numbers"),
        ([[1], [1, 2]], (), "the result is a list that is neither a number nor an array of numbers"),
        (len, (), "the result is a builtin_function_or_method that is neither a number nor an array of numbers"),
        ([1, 2], ((),), "the result has shape (2,); asked is one number"),
        ([1, 2], ((), "a loss is one number"), "the result has shape (2,); a loss is one number"),
        ([1, 2], ((3,),), "the result has shape (2,), expected (3,)"),
        (1.0, ((1,),), "the result has shape (), expected (1,)"),
        (torch.ones(2, 3), (torch.Size([3]), ": a vector"), "the result has shape (2, 3), expected (3,): a vector"),
    ],
)
def test_what_is_no_tensor_of_the_shape_asked_for_is_told(answer, arguments, message):
    with pytest.raises(Misconception) as told:
        as_tensor(answer, *arguments)
    assert str(told.value) == message


SLIPS = {torch.tensor([3.0, 4.0]): "squared", (5, torch.tensor([2.0, 1.0])): "exchanged", None: "does not apply"}


@pytest.mark.parametrize(
    ("value", "message"),
    [([3, 4], "squared"), ([2, 1], "exchanged"), (5, "exchanged"), ([0, 0], "otherwise"), ([1, 2.01], "otherwise")],
)
def test_a_wrong_answer_is_found_in_the_table(value, message):
    with pytest.raises(Misconception, match=f"^{message}$"):
        compare(as_tensor(value), torch.tensor([1.0, 2.0]), SLIPS, "otherwise")


def test_a_right_answer_is_right_whatever_the_table_says():
    compare(as_tensor([3, 4]), (7, [3, 4]), SLIPS, "otherwise")
    compare(as_tensor([3, 4.3]), torch.tensor([3.0, 4.0]), SLIPS, "otherwise", rtol=0.1)
    with pytest.raises(Misconception, match="squared"):
        compare(as_tensor([3, 4.3]), torch.tensor([1.0, 2.0]), SLIPS, "otherwise", rtol=0.1)


CASES = [(1.0, 1.0), (2.0, 3.0), (3.0, 4.0)]


def product_of(answer, right=lambda a, b: a * b):
    slips = {lambda a, b: a + b: "a sum", lambda a, b: a: "the first alone"}
    compare_all(answer, CASES, right, slips, "{0:g} times {1} is {right:g}, not {value:.1f}, {off:+g}")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a, b: a + b, "a sum"),
        (lambda a, b: a, "the first alone"),  # right for the first case
        (lambda a, b: a * b + (a == 2), "2 times 3.0 is 6, not 7.0, +1"),
        (lambda a, b: 0, "1 times 1.0 is 1, not 0.0, -1"),
        (lambda a, b: [a, b], "the result has shape (2,); asked is one number"),
    ],
)
def test_formulas_are_compared_over_all_cases(answer, message):
    with pytest.raises(Misconception) as told:
        product_of(answer)
    assert str(told.value) == message


def test_any_of_several_formulas_is_right_and_the_answer_cannot_change_the_cases():
    product_of(lambda a, b: np.float32(a * b))
    product_of(lambda a, b: a - b, (lambda a, b: a * b, lambda a, b: a - b))
    for _ in range(2):
        compare_all(lambda seconds: seconds.pop("a"), [({"a": 3.0},)], lambda s: 3.0, {}, "{0}")


def test_a_loss_without_graph_is_told():
    expect_graph(torch.ones((), requires_grad=True) * 2)
    for loss in (torch.ones(()), 1.0):
        with pytest.raises(Misconception, match="lost its graph"):
            expect_graph(loss)


def test_answers_draw_from_seed_0_and_leave_the_generator_alone():
    drawn = []
    before = torch.get_rng_state()
    for _ in range(2):
        exercise("9.3")(lambda answer: drawn.append(answer())).judge(lambda: torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], torch.rand(3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(before, torch.get_rng_state())


def test_inputs_are_the_same_for_one_seed_and_differ_between_seeds():
    for draw in (rand, randn):
        assert torch.equal(draw(2, 3, seed=1), draw(2, 3, seed=1)) and draw(2, 3, seed=1).dtype == torch.float64
        assert not torch.equal(draw(2, 3, seed=1), draw(2, 3, seed=2))
    assert rand(1000, seed=0).min() >= 0 and rand(1000, seed=0).max() < 1 and randn(1000, seed=0).min() < -2
