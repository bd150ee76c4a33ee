"""Checks of chapter 03, the convolutional autoencoder."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.checks import Function, Misconception, as_tensor, compare, compare_all, exercise, near

#: (B, c_in, c_out, h, w, f, stride, padding, output_padding): one new difficulty at a time.
STEPS = (
    (1, 1, 1, 3, 3, 2, 1, 0, 0),
    (1, 1, 1, 3, 3, 3, 2, 0, 0),
    (1, 1, 1, 2, 4, 3, 2, 0, 0),
    (1, 2, 2, 3, 3, 3, 2, 0, 0),
    (1, 2, 3, 3, 3, 2, 2, 0, 0),
    (3, 2, 2, 3, 3, 2, 2, 0, 0),
    (2, 2, 2, 4, 3, 4, 2, 1, 0),
    (2, 2, 2, 4, 3, 4, 2, 1, 1),
    (2, 2, 2, 3, 4, 3, 2, 0, 1),
    (1, 1, 1, 3, 3, 3, 3, 1, 2),
)
FORBIDDEN = ("conv2d", "conv_transpose2d", "conv1d", "conv_transpose1d", "fold")


@exercise("3.1")
def exercise_1(answer: Any) -> str:
    """A 2×2 input and a 2×2 kernel, stride 1, on paper."""
    x, w = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, -1.0], [0.0, 2.0]])
    rows = [as_tensor(row).tolist() for row in answer] if isinstance(answer, list | tuple) else answer
    right, value, collected = _stamp(x, w), as_tensor(rows), (x * w).sum()
    slips = {
        _stamp(x, w, s=2): "these are the stamps side by side, the result of stride 2; at stride 1 neighbours "
        "start one place apart and overlap",
        _stamp(x, w, add=False): "where stamps overlap the later one has replaced the earlier; they add, see (3.6)",
        _stamp(x, w.flip(0, 1)): "you stamped the flipped kernel: flipping belongs to view 4, (3.9); a stamp is "
        "the kernel as it is",
        _stamp(x.T, w): "rows and columns of the input are exchanged: the 2 stands to the right of the 1",
        _stamp(x, w.T): "rows and columns of the kernel are exchanged",
        right.T: "rows and columns of the result are exchanged: row 0 holds what the upper halves of the stamps of 1 "
        "and 2 leave",
        right.flatten(): "the nine numbers are right, but they stand in one row: give three rows of three",
        (collected, collected.view(1, 1)): "that collects: it is the ordinary convolution, one number. A transposed "
        "convolution spreads four numbers over 3×3 places",
    }
    otherwise = f"the result has shape {tuple(value.shape)}; by (3.11) it is 1·(2 − 1) + 2 = 3 each way"
    if value.shape == (3, 3):
        r, c = divmod(int((value - right).abs().gt(1e-4).flatten().int().argmax()), 3)  # the first that differs
        stamps = (2 if r == 1 else 1) * (2 if c == 1 else 1)
        otherwise = (
            f"row {r}, column {c} (counted from 0) is not {value[r, c]:g}: of the four stamps {stamps} "
            f"{'lies' if stamps == 1 else 'lie'} there; draw where each begins"
        )
    compare(value, right, slips, otherwise)
    return "four stamps, added where they overlap"


@exercise("3.2")
def exercise_2(way_back: Function) -> str:
    """Output size, and the remainder that the rounding threw away."""
    cases = [
        (i, f, s, p)
        for i, f, s, p in itertools.product(range(4, 20), (1, 2, 3, 4, 5), (1, 2, 3, 4), (0, 1, 2))
        if i + 2 * p >= f and p < f
    ]
    answers = []
    for case in cases:
        answer = way_back(*case)
        answer = answer.tolist() if as_tensor(answer).ndim and hasattr(answer, "tolist") else answer
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise Misconception("return two numbers: the size after the convolution, and the output_padding")
        answers.append(tuple(answer))
    if any(isinstance(n, float) for answer in answers for n in answer):
        raise Misconception("sizes are whole numbers: divide with //, which rounds down to a whole number")
    right = [((i + 2 * p - f) // s + 1, (i + 2 * p - f) % s) for i, f, s, p in cases]
    if answers == [(k, o) for o, k in right]:
        raise Misconception("both are right, but the order is exchanged: first the size, then the output_padding")
    known = dict(zip(cases, answers, strict=True))
    _compare_sizes(lambda *case: known[case][0], cases)
    _compare_paddings(lambda *case: known[case][1], cases)
    return "output_padding is what the rounding threw away"


@exercise("3.3")
def exercise_3(conv_transpose2d: Function) -> str:
    """Transposed convolution with stride, padding, output_padding, channels and batch, in 300 random settings."""
    generator, done = torch.Generator().manual_seed(3), 0

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    for setting in STEPS:
        _judge_setting(conv_transpose2d, setting, generator)
    while done < 300:
        s, f = draw(1, 4), draw(1, 5)
        p, extra, height, width = draw(0, f - 1), draw(0, s - 1), draw(1, 5), draw(1, 5)
        if min(s * (side - 1) + f - 2 * p + extra for side in (height, width)) < 1:
            continue
        _judge_setting(conv_transpose2d, (draw(1, 3), draw(1, 3), draw(1, 3), height, width, f, s, p, extra), generator)
        done += 1
    return "equal to torch in 300 random settings"


@exercise("3.4")
def exercise_4(is_adjoint: Function) -> str:
    """Does ⟨Ax, y⟩ = ⟨x, By⟩ hold for random x and y?"""
    seen: set[torch.dtype] = set()
    pairs = _pairs(seen)
    found, *others = ({name: _verdict(is_adjoint, *pair[:4]) for name, pair in pairs.items()} for _ in range(4))
    if any(other != found for other in others):
        raise Misconception(
            "asked again about the same pair, it changes its mind: without abs() around the difference a negative one "
            "passes, and without it around the size a true pair fails; a tolerance too wide lets luck decide, and "
            "rounding needs a tolerance, in double precision"
        )
    right = {name: pair[4] for name, pair in pairs.items()}
    wrong = [name for name in found if found[name] != right[name]]
    if wrong:
        raise Misconception(_named_impostor(found, right, wrong))
    if seen != {torch.float64}:
        raise Misconception("right, but by luck: a tolerance of 10⁻⁶ needs double precision, dtype=torch.float64")
    return "the same test finds wrong gradients, too: backward is the adjoint of forward"


@exercise("3.5")
def exercise_5(phase_sums: Function) -> str:
    """Sums of the kernel entries that share their phase in both directions."""
    generator = torch.Generator().manual_seed(4)
    for f, s in ((4, 2), (3, 2), (5, 3), (6, 3), (3, 1), (2, 3)):
        w = torch.randn(f, f, generator=generator)
        try:
            result = phase_sums(w.clone(), s)
        except Exception as error:
            if f % s == 0:
                raise
            raise Misconception(
                f"with kernel {f} and stride {s} it raised {type(error).__name__}: the stride need not divide the "
                "kernel size; slices with a step, w[r::s], cope with that"
            ) from error
        _compare_phases(as_tensor(result), w, s)
    return "unequal sums are the pattern that a constant input will show"


# ---------------------------------------------------------------- exercise 3.2


def _compare_sizes(size: Function, cases: Sequence[tuple[int, ...]]) -> None:
    def right(i: int, f: int, s: int, p: int) -> int:
        return (i + 2 * p - f) // s + 1

    slips = {
        lambda i, f, s, p: (i + 2 * p - f) // s: "the size is one short: counting starts at k = 0, so there is one "
        "output more than steps, see (3.4)",
        lambda i, f, s, p: math.ceil((i + 2 * p - f) / s) + 1: "you rounded up: a kernel that does not fit any more "
        "gives no output, so (3.4) rounds down",
        lambda i, f, s, p: (i + p - f) // s + 1: "the padding lies at both ends: 2p in (3.4)",
        lambda i, f, s, p: (i - f) // s + 1: "the size does not know the padding: 2p in (3.4)",
        lambda i, f, s, p: s * (i - 1) + f - 2 * p: "that is the size after the transposed convolution, (3.11); the "
        "first number asked for is the size after the ordinary one, (3.4)",
    }
    otherwise = "for i = {0}, f = {1}, s = {2}, p = {3} the size is {right:g}, yours {value:g}; see (3.4)"
    compare_all(size, cases, right, slips, otherwise)


def _compare_paddings(padding: Function, cases: Sequence[tuple[int, ...]]) -> None:
    def right(i: int, f: int, s: int, p: int) -> int:
        return (i + 2 * p - f) % s

    slips = {
        lambda i, f, s, p: 0: "the sizes are right; but output_padding = 0 returns to the smallest of the sizes "
        "that shrink alike, and i may be a larger one",
        lambda i, f, s, p: s - 1: "the sizes are right; but output_padding = s − 1 returns to the largest of the "
        "sizes that shrink alike, and i may be a smaller one",
        lambda i, f, s, p: i % s: "the remainder is not that of i alone: the rounding in (3.4) is of (i + 2p − f)/s",
        lambda i, f, s, p: (i - f) % s: "the remainder forgets the padding: the rounding in (3.4) is of (i + 2p − f)/s",
        lambda i, f, s, p: (i + p - f) % s: "the padding lies at both ends: the remainder is that of (i + 2p − f)/s",
        lambda i, f, s, p: -(i + 2 * p - f) % s: "that is what is missing to the next output, not what was left "
        "over: solve (3.11) for output_padding",
        lambda i, f, s, p: (i + 2 * p - f) // s: "// gives the quotient; what was thrown away is the remainder, %",
    }
    otherwise = "for i = {0}, f = {1}, s = {2}, p = {3} output_padding {value:g} leads to i {off:+g}, not to i"
    compare_all(padding, cases, right, slips, otherwise)


# ---------------------------------------------------------------- exercises 3.1 and 3.3


def _stamp(x: Tensor, w: Tensor, *, s: int = 1, add: bool = True) -> Tensor:
    """Stamp one picture (h, w) with one kernel (f, f)."""
    return _transposed(x[None, None], w[None, None], s, 0, 0, add=add)[0, 0]


def _transposed(
    x: Tensor, w: Tensor, s: int, p: int, extra: int, *, add: bool = True, front: int | None = None, tail: bool = True
) -> Tensor:
    """Transposed convolution by stamping; the options make it wrong in a known way.

    ``add`` false lets later stamps replace earlier ones, ``front`` places are cut at the start
    instead of p, ``tail`` false appends zeros instead of the places that ``extra`` uncovers.
    """
    f, (height, width) = w.shape[-1], x.shape[2:]
    sizes = [s * (side - 1) + f for side in (height, width)]
    canvas = x.new_zeros(len(x), w.shape[1], *(size + extra for size in sizes))
    for r, c in itertools.product(range(height), range(width)):
        stamp = torch.einsum("bi,ioac->boac", x[:, :, r, c], w)
        rows, columns = slice(s * r, s * r + f), slice(s * c, s * c + f)
        canvas[:, :, rows, columns] = stamp + (canvas[:, :, rows, columns] if add else 0)
    front = p if front is None else front
    inner = extra if tail else 0
    lengths = [size - 2 * p + inner for size in sizes]
    canvas = F.pad(canvas, (0, 2 * p, 0, 2 * p))  # so that every choice of `front` has enough behind it
    cut = canvas[:, :, front : front + lengths[0], front : front + lengths[1]]
    return cut if tail else F.pad(cut, (0, extra, 0, extra))


def _wrong_stamps(x: Tensor, w: Tensor, s: int, p: int, extra: int) -> dict[Tensor | None, str]:
    """Return wrong answers about what is stamped where; ``None``: this setting cannot show it."""
    first, mixed, batch = x[:1], x.sum(0, keepdim=True), (len(x), -1, -1, -1)
    return {
        _transposed(x, w, s, p, extra, add=False): "later stamps replace earlier ones where they overlap: add (+=)",
        _transposed(x, w.flip(2, 3), s, p, extra): "the kernel is the wrong way round: a stamp is the kernel as it is; "
        "only if you collect from inserted zeros is it flipped, once, see (3.9)",
        _transposed(x, w.transpose(2, 3), s, p, extra): "rows and columns of the kernel are exchanged",
        _transposed(x, w, s, p, extra).transpose(2, 3): "rows and columns of the result are exchanged",
        _transposed(x, w, 1, p, extra): "the stride has no effect: pixel (r, c) is stamped at (s·r, s·c)",
        _transposed(x, w.transpose(0, 1), s, p, extra) if w.shape[0] == w.shape[1] else None: "the channels are "
        "exchanged: weight[i, o] is the stamp that input channel i puts on output channel o",
        _transposed(x[:, :1], w[:1], s, p, extra): "only the first input channel is used: every output channel is a "
        "sum over all input channels",
        _transposed(mixed, w, s, p, extra).expand(batch): "the images of the batch are mixed: each has its canvas",
        _transposed(first, w, s, p, extra).expand(batch): "every image of the batch got the result of the first",
    }


def _wrong_ends(x: Tensor, w: Tensor, s: int, p: int, extra: int) -> dict[Tensor | None, str]:
    """Return wrong answers about what is cut off the canvas; ``None``: this setting cannot show it."""
    whole, plain = _transposed(x, w, s, 0, 0), _transposed(x, w, s, p, 0)
    return {
        _transposed(x, w, s, p, p) if extra > p else None: "the canvas ends before the extra places do: if "
        "output_padding exceeds what the padding cuts, the places beyond the stamps are empty",
        plain if extra else None: "output_padding has no effect: it cuts so many places less at the end, (3.11)",
        _transposed(x, w, s, p, extra, tail=False) if extra else None: "you appended zeros for output_padding; it "
        "uncovers places that the padding would have cut at the end, with the stamps on them",
        F.pad(plain, (extra, 0, extra, 0)) if extra else None: "output_padding puts empty places at the start; it "
        "belongs to the end (right and bottom)",
        _start_side(x, w, s, p, extra) if extra else None: "output_padding is on the wrong side: the end is cut less",
        whole if p else None: "padding has no effect: it cuts p places off each end of the canvas",
        F.pad(whole, (p, p, p, p)) if p else None: "padding adds places to your result; here it cuts p off each end",
        _transposed(x, w, s, p, extra, front=0) if p else None: "both cuts are made at the end: p places go at either",
        _transposed(x, w, s, p, extra, front=2 * p)
        if p
        else None: "both cuts are made at the start: p go at either end",
    }


def _start_side(x: Tensor, w: Tensor, s: int, p: int, extra: int) -> Tensor:
    """Cut less at the start instead of the end."""
    whole = F.pad(_transposed(x, w, s, 0, 0), (extra, 0, extra, 0))
    return whole[:, :, p : whole.shape[2] - p, p : whole.shape[3] - p]


def _judge_setting(answer: Function, setting: tuple[int, ...], generator: torch.Generator) -> None:
    B, c_in, c_out, height, width, f, s, p, extra = setting
    dtype = torch.float64 if B == 3 else torch.float32
    x = torch.randn(B, c_in, height, width, generator=generator, dtype=dtype)
    w = torch.randn(c_in, c_out, f, f, generator=generator, dtype=dtype)
    right = F.conv_transpose2d(x, w, stride=s, padding=p, output_padding=extra)
    words = f"x {tuple(x.shape)}, weight {tuple(w.shape)}, stride {s}, padding {p}, output_padding {extra}"
    given, other_sizes = (x.clone(), w.clone()), "height and width may differ, each has its own size"
    hint = f"; {other_sizes}" if height != width else ""
    with _no_convolution():
        try:
            result = answer(*given, stride=s, padding=p, output_padding=extra)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise Misconception(f"with {words} it raised {type(error).__name__}: {error}{hint}") from error
    value = as_tensor(result)
    if not (torch.equal(given[0], x) and torch.equal(given[1], w)):
        raise Misconception("x or weight itself has changed: do not write into what you were given")
    if str(dtype)[6:] not in str(getattr(result, "dtype", "list")):
        raise Misconception(f"x is {dtype}, the result is not: make the canvas with x.new_zeros, and return it")
    if near(value, right, atol=1e-4):
        return
    if not value.numel():
        raise Misconception(f"with {words} the result is empty: y[p:-p] is, for padding 0; write the end as size − p")
    if height != width and value.ndim == 4 and value.shape[2] == value.shape[3]:
        raise Misconception(f"with {words} the result is square: {other_sizes}")
    otherwise = f"right shape, but wrong values with {words}; compare with stamp() of section 4"
    if value.shape != right.shape:
        otherwise = f"with {words} the shape is {tuple(right.shape)}, yours {tuple(value.shape)}; see (3.11)"
    slips = _wrong_stamps(x, w, s, p, extra) | _wrong_ends(x, w, s, p, extra)
    compare(value, right, slips, otherwise, atol=1e-4)


@contextmanager
def _no_convolution() -> Iterator[None]:
    """Let torch's own convolutions name themselves instead of giving the answer."""

    def refuse(words: str, *arguments: Any, **options: Any) -> NoReturn:
        raise Misconception(f"{words}; write the stamps yourself")

    with ExitStack() as patches:
        for module, name in itertools.product((F, torch), FORBIDDEN):
            words = "fold does the stamping for you" if name == "fold" else "that calls a convolution of torch"
            if hasattr(module, name):
                patches.enter_context(mock.patch.object(module, name, functools.partial(refuse, words)))
        yield


# ---------------------------------------------------------------- exercise 3.5


def _sums(w: Tensor, s: int) -> Tensor:
    return torch.stack([torch.stack([w[r::s, q::s].sum() for q in range(s)]) for r in range(s)])


def _compare_phases(value: Tensor, w: Tensor, s: int) -> None:
    f, right = len(w), _sums(w, s)
    counts = _sums(torch.ones_like(w), s)
    blocks = [w[a * f // s : (a + 1) * f // s, b * f // s : (b + 1) * f // s].sum() for a in range(s) for b in range(s)]
    fitting = w[: f // s * s, : f // s * s]
    slips = {
        _sums(fitting, s): "the rest of the kernel is dropped where the stride does not divide its size; slices with "
        "a step, w[r::s], keep it",
        right.T: "row and column phase are exchanged: entry (r, q) belongs to the rows r, r + s, …",
        torch.stack(blocks).view(s, s): "you summed neighbouring entries in blocks; the entries that reach one place "
        "are s apart, see (3.13)",
        right / counts: "that is the mean; the stamps add, so it is the sum",
        counts: "that counts the stamps, (3.12); the sums of the weights are asked for",
        w[:s, :s]: "that is the corner of the output, where only the first stamp lies; look away from the borders",
        _sums(w.flip(0, 1), s): "the kernel is flipped: place r is reached by w[r], w[r + s], …, see (3.13)",
        torch.stack([w[r::s].sum() for r in range(s)]): "these sum whole rows; the phases of the columns are missing",
        torch.stack([w[r::s, r::s].sum() for r in range(s)]): "these have equal row and column phase; (s, s) are asked",
    }
    otherwise = f"not the sums for kernel {f}, stride {s}: entry (r, q) sums w[a, b] over a = r, r + s, …, b = q, …"
    if value.shape != (s, s):
        otherwise = f"the result has shape {tuple(value.shape)}, expected {(s, s)}: one number for each phase"
    compare(value, right, slips, otherwise, atol=1e-4)


# ---------------------------------------------------------------- exercise 3.4


def _verdict(is_adjoint: Function, *pair: Any) -> bool:
    """Ask the answer about one pair; name the forgotten sum, which torch only calls ambiguous or unequal in size."""
    try:
        answer = is_adjoint(*pair)
        if answer is None:
            raise Misconception("your function returned nothing: it ends without a return")
        if isinstance(answer, (float, int)) and not isinstance(answer, bool):
            raise Misconception(f"the answer is {answer!r}; return True or False")
        return bool(answer)
    except RuntimeError as error:
        if not any(words in str(error) for words in ("ambiguous", "must match", "shape", "size")):
            raise
        raise Misconception(
            f"it raised {type(error).__name__}: {error}. An inner product is one number: multiply entry by entry, and "
            "sum all entries"
        ) from error


def _pairs(seen: set[torch.dtype]) -> dict[str, tuple[Any, ...]]:
    """Name → (forward, backward, shape_in, shape_out, is it a true pair?); `seen` collects the precision of x."""
    generator = torch.Generator().manual_seed(6)
    kernel = torch.randn(3, 2, 3, 3, generator=generator, dtype=torch.float64)
    A = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    inverse = torch.linalg.inv(A)
    shuffled = A.T[:, [1, 0, 2, 3, 4]]  # same sum of entries, another matrix

    def conv(x: Tensor) -> Tensor:
        seen.add(x.dtype)
        return F.conv2d(x, kernel.to(x), stride=2, padding=1)

    back: Function = lambda y: F.conv_transpose2d(y, kernel.to(y), stride=2, padding=1)  # noqa: E731
    flipped: Function = lambda y: F.conv_transpose2d(y, kernel.flip(2, 3).to(y), stride=2, padding=1)  # noqa: E731
    pool: Function = lambda x: F.avg_pool2d(x, 2)  # noqa: E731
    spread: Function = lambda y: F.interpolate(y, scale_factor=2)  # noqa: E731
    # v + Kv with Kᵀ = −K: <v, Kv> = 0, so only independent x and y tell it from v
    twist: Function = lambda v: v + v.roll(1) - v.roll(-1)  # noqa: E731
    large, small, image, half = (1, 2, 9, 9), (1, 3, 5, 5), (1, 1, 8, 8), (1, 1, 4, 4)
    return {
        "convolution": (conv, back, large, small, True),
        "flipped": (conv, flipped, large, small, False),
        "transpose": (lambda x: A.to(x) @ x, lambda y: A.T.to(y) @ y, (5,), (5,), True),
        "inverse": (lambda x: A.to(x) @ x, lambda y: inverse.to(y) @ y, (5,), (5,), False),
        "same sum": (lambda x: A.to(x) @ x, lambda y: shuffled.to(y) @ y, (5,), (5,), False),
        "pooling": (pool, lambda y: spread(y) / 4, image, half, True),
        "enlarged": (pool, spread, image, half, False),
        "tiny": (lambda x: 1e-12 * conv(x), lambda y: 1e-12 * flipped(y), large, small, False),
        "huge": (lambda x: 1e12 * conv(x), lambda y: 1e12 * back(y), large, small, True),
        "twisted": (lambda x: x, twist, (7,), (7,), False),
        "mirrored": (twist, lambda y: y, (7,), (7,), False),
        "slightly off": (conv, lambda y: 1.0001 * back(y), large, small, False),
        "negated": (conv, lambda y: -back(y), large, small, False),
    }


def _named_impostor(found: dict[str, bool], right: dict[str, bool], wrong: list[str]) -> str:
    if all(found.values()):
        return "it says True to every pair: one of them is a convolution with the flipped kernel stamped back"
    if not any(found.values()):
        return (
            "it says False to every pair, also to torch's transposed convolution. Allow for rounding, in double "
            "precision; and backward(forward(x)) = x would be the inverse, not the adjoint, (3.10)"
        )
    if len(wrong) == len(found):
        return "every verdict is reversed"
    if found["inverse"] and not found["transpose"]:
        return "it accepts a matrix's inverse and refuses its transpose: (3.10) asks nothing about backward(forward(x))"
    if "same sum" in wrong or {"twisted", "mirrored"} <= set(wrong):
        return (
            "two different maps can agree on tensors that you choose (ones, unit vectors, x and y from one seed): draw "
            "both x and y at random, each by itself"
        )
    if wrong == ["negated"]:
        return "it accepts the negative of the adjoint: compare the two numbers, not their absolute values"
    if "twisted" in wrong or "mirrored" in wrong:
        return (
            "x and y must be drawn independently: y = forward(x), or x = backward(y), tests (3.10) for related pairs "
            "only, and a wrong map can pass there"
        )
    if set(wrong) <= {"tiny", "huge"}:
        return (
            "the tolerance is absolute: it accepts any small map, or refuses a large true pair; make it relative "
            "(isclose and allclose add an absolute atol of 1e-8: set atol=0)"
        )
    if "slightly off" in wrong and not any(right[name] for name in wrong):
        return "it accepts a pair that is off by one part in ten thousand: the tolerance is too wide"
    if set(wrong) <= {"convolution", "transpose", "pooling", "huge"}:
        return f"it refuses true pairs ({', '.join(wrong)}): rounding needs a tolerance, and double precision"
    cases = ", ".join(f"{name} ({right[name]})" for name in wrong)
    return f"wrong verdict on (in brackets the right one): {cases}; an inner product sums over all entries, (3.10)"
