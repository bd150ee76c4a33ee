"""Every check of chapter 03 passes its solution and names the misconception behind each wrong answer."""

import numpy as np
import torch
import torch.nn.functional as F
from helpers.answers import Answers

from course_utils.checks import chapter_03 as check


def transposed(
    x, w, stride=1, padding=0, output_padding=0, *, add=True, front=True, back=True, tail=True, mix="boac", bi="bi"
):
    B, _, height, width = x.shape
    f, s, p = w.shape[-1], stride, padding
    sizes = [s * (side - 1) + f + output_padding for side in (height, width)]
    canvas = x.new_zeros(B, w.shape[1], *sizes)
    for r in range(height):
        for c in range(width):
            stamps = torch.einsum(f"{bi},ioac->{mix}", x[:, :, r, c], w)
            place = canvas[:, :, s * r : s * r + f, s * c : s * c + f]
            place.copy_(stamps + place if add else stamps)
    start = p if front else 0
    ends = [size - p if back else size for size in sizes]
    y = canvas[:, :, start : ends[0], start : ends[1]]
    if not tail:
        y = y.clone()
        y[:, :, y.shape[2] - output_padding :] = 0
        y[:, :, :, y.shape[3] - output_padding :] = 0
    return y


def without(name):
    """Forget one argument."""

    def wrong(x, weight, **options):
        options.pop(name)
        return transposed(x, weight, **options)

    return wrong


def at_one_end(start):
    def wrong(x, weight, stride, padding, output_padding):
        y = transposed(x, weight, stride, 0, output_padding)
        length = [side - 2 * padding for side in y.shape[2:]]
        begin = 2 * padding if start else 0
        return y[:, :, begin : begin + length[0], begin : begin + length[1]]

    return wrong


def extra_at_start(zeros):
    def wrong(x, weight, stride, padding, output_padding):
        e, p = output_padding, padding
        if zeros:
            return F.pad(transposed(x, weight, stride, p), (e, 0, e, 0))
        y = F.pad(transposed(x, weight, stride, 0), (e, 0, e, 0))
        return y[:, :, p : y.shape[2] - p, p : y.shape[3] - p]

    return wrong


def padded_outwards(x, weight, stride, padding, output_padding):
    return F.pad(transposed(x, weight, stride), (padding,) * 4)


def changes_input(x, weight, **options):
    y = transposed(x, weight, **options)
    x *= 2
    return y


def by_torch(x, weight, **options):
    return F.conv_transpose2d(x, weight, **options)


def by_module(x, weight, stride, padding, output_padding):
    layer = torch.nn.ConvTranspose2d(*weight.shape[:2], weight.shape[-1], stride, padding, output_padding, bias=False)
    layer.weight.data = weight
    return layer(x)


def only_one_channel(x, weight, **options):
    return transposed(x[:, :1], weight[:1], **options)


def small_canvas(x, weight, stride, padding, output_padding):
    y = transposed(x, weight, stride)
    e, p = output_padding, padding
    return y[:, :, p : y.shape[2] - p + e, p : y.shape[3] - p + e]


def only_square(x, weight, **options):
    if x.shape[2] != x.shape[3]:
        raise ValueError("square pictures only")
    return transposed(x, weight, **options)


def by_fold(x, weight, stride, padding, output_padding):
    height, width = x.shape[2:]
    columns = torch.einsum("ip,bihw->bphw", weight.flatten(1), x).flatten(2)
    sizes = [stride * (n - 1) + weight.shape[-1] - 2 * padding + output_padding for n in (height, width)]
    return F.fold(columns, sizes, weight.shape[-1], stride=stride, padding=padding)


def rest_dropped(w, s):
    return sums(w[: len(w) // s * s, : len(w) // s * s], s)


def sums(w, s):
    return torch.stack([torch.stack([w[r::s, q::s].sum() for q in range(s)]) for r in range(s)])


def blocks(w, s):
    f = len(w)
    cut = [slice(k * f // s, (k + 1) * f // s) for k in range(s)]
    return torch.stack([torch.stack([w[a, b].sum() for b in cut]) for a in cut])


def divisible_only(w, s):
    return w.reshape(len(w) // s, s, len(w) // s, s).sum((0, 2))


def sizes(i, f, s, p):
    return (i + 2 * p - f) // s + 1, (i + 2 * p - f) % s


def adjoint(forward, backward, shape_in, shape_out, *, draw=torch.randn, tolerance=1e-6, dtype=torch.float64):
    x, y = draw(shape_in, dtype=dtype), draw(shape_out, dtype=dtype)
    left, right = (forward(x) * y).sum(), (x * backward(y)).sum()
    return bool(abs(left - right) <= tolerance * (abs(left) + abs(right)))


def absolute(forward, backward, shape_in, shape_out):
    x, y = torch.randn(shape_in, dtype=torch.float64), torch.randn(shape_out, dtype=torch.float64)
    return bool(abs((forward(x) * y).sum() - (x * backward(y)).sum()) < 1e-6)


def allclose_as_it_comes(forward, backward, shape_in, shape_out):  # with torch's absolute part of 1e-8
    x, y = torch.randn(shape_in, dtype=torch.float64), torch.randn(shape_out, dtype=torch.float64)
    return torch.allclose((forward(x) * y).sum(), (x * backward(y)).sum(), rtol=1e-6)


def partly_absolute(forward, backward, shape_in, shape_out):
    x, y = torch.randn(shape_in, dtype=torch.float64), torch.randn(shape_out, dtype=torch.float64)
    left, right = (forward(x) * y).sum(), (x * backward(y)).sum()
    return bool(torch.isclose(left, right, rtol=1e-6, atol=1e-6))


def image_of_x(forward, backward, shape_in, shape_out):
    x = torch.randn(shape_in, dtype=torch.float64)
    y = forward(x)
    return bool(torch.isclose((forward(x) * y).sum(), (x * backward(y)).sum(), rtol=1e-6, atol=0))


def image_of_y(forward, backward, shape_in, shape_out):
    y = torch.randn(shape_out, dtype=torch.float64)
    x = backward(y)
    return bool(torch.isclose((forward(x) * y).sum(), (x * backward(y)).sum(), rtol=1e-6, atol=0))


def image_of_x_absolute(forward, backward, shape_in, shape_out):
    x = torch.randn(shape_in, dtype=torch.float64)
    y = forward(x)
    return bool(abs((forward(x) * y).sum() - (x * backward(y)).sum()) < 1e-6)


def only_y_random(forward, backward, shape_in, shape_out):
    x, y = torch.ones(shape_in, dtype=torch.float64), torch.randn(shape_out, dtype=torch.float64)
    return bool(torch.isclose((forward(x) * y).sum(), (x * backward(y)).sum(), rtol=1e-6, atol=0))


def only_x_random(forward, backward, shape_in, shape_out):
    x, y = torch.randn(shape_in, dtype=torch.float64), torch.ones(shape_out, dtype=torch.float64)
    return bool(torch.isclose((forward(x) * y).sum(), (x * backward(y)).sum(), rtol=1e-6, atol=0))


def without_sum(forward, backward, shape_in, shape_out):
    x, y = torch.randn(shape_in, dtype=torch.float64), torch.randn(shape_out, dtype=torch.float64)
    return torch.allclose(forward(x) * y, x * backward(y))


def sum_of_one_side(forward, backward, shape_in, shape_out):
    x, y = torch.randn(shape_in, dtype=torch.float64), torch.randn(shape_out, dtype=torch.float64)
    return abs((forward(x) * y).sum() - x * backward(y)) < 1e-6


def empty_slice(x, weight, stride, padding, output_padding):
    return transposed(x, weight, stride, 0, output_padding)[:, :, padding:-padding, padding:-padding]


def canvas_from_height(x, weight, stride, padding, output_padding):
    height = x.shape[2]
    return transposed(x[:, :, :, :height], weight, stride, padding, output_padding)


def canvas_too_narrow(x, weight, stride=1, padding=0, output_padding=0):
    size, f = stride * (x.shape[2] - 1) + weight.shape[-1] + output_padding, weight.shape[-1]
    canvas = x.new_zeros(len(x), weight.shape[1], size, size)
    for r in range(x.shape[2]):
        for c in range(x.shape[3]):
            stamps = torch.einsum("bi,ioac->boac", x[:, :, r, c], weight)
            canvas[:, :, stride * r : stride * r + f, stride * c : stride * c + f] += stamps
    return canvas[:, :, padding : size - padding, padding : size - padding]


def corner(w, s):
    return F.conv_transpose2d(torch.ones(1, 1, 20, 20), w[None, None], stride=s)[0, 0][:s, :s]


def inverse(forward, backward, shape_in, shape_out):
    x = torch.randn(shape_in, dtype=torch.float64)
    return torch.allclose(backward(forward(x)), x)


def without_abs(forward, backward, shape_in, shape_out):
    x, y = torch.randn(shape_in, dtype=torch.float64), torch.randn(shape_out, dtype=torch.float64)
    left, right = (forward(x) * y).sum(), (x * backward(y)).sum()
    return bool(left - right < 1e-6 * (abs(left) + abs(right)))


def sign_ignored(forward, backward, shape_in, shape_out):
    x, y = torch.randn(shape_in, dtype=torch.float64), torch.randn(shape_out, dtype=torch.float64)
    left, right = (forward(x) * y).sum(), (x * backward(y)).sum()
    return bool(abs(abs(left) - abs(right)) < 1e-6 * (abs(left) + abs(right)))


def unit_vectors(forward, backward, shape_in, shape_out):
    x, y = torch.zeros(shape_in, dtype=torch.float64), torch.zeros(shape_out, dtype=torch.float64)
    x.view(-1)[0] = y.view(-1)[0] = 1
    return bool(torch.isclose((forward(x) * y).sum(), (x * backward(y)).sum(), rtol=1e-6, atol=0))


def one_seed(forward, backward, shape_in, shape_out):
    x = torch.randn(shape_in, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.randn(shape_out, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return bool(torch.isclose((forward(x) * y).sum(), (x * backward(y)).sum(), rtol=1e-6, atol=0))


RIGHT = [[1, 1, -2], [3, 3, 0], [0, 6, 8]]
SOLUTIONS = {
    "exercise_1": RIGHT,
    "exercise_2": sizes,
    "exercise_3": transposed,
    "exercise_4": adjoint,
    "exercise_5": sums,
}

WRONG = [
    ("exercise_1", [[1, -1, 2, -2], [0, 2, 0, 4], [3, -3, 4, -4], [0, 6, 0, 8]], "side by side"),
    ("exercise_1", [[1, 2, -2], [3, 4, -4], [0, 0, 8]], "replaced"),
    ("exercise_1", [[2, 4, 0], [5, 7, 2], [-3, -1, 4]], "flipped"),
    ("exercise_1", [[1, 2, -3], [2, 4, 2], [0, 4, 8]], "of the input"),
    ("exercise_1", [[1, 2, 0], [2, 4, 4], [-3, 2, 8]], "of the kernel"),
    ("exercise_1", [[1, 3, 0], [1, 3, 6], [-2, 0, 8]], "of the result"),
    ("exercise_1", [[7]], "collects"),
    ("exercise_1", 7, "collects"),
    ("exercise_1", [[1, 1, -2], [3, 4, 0], [0, 6, 8]], "of the four stamps 4 lie there"),
    ("exercise_1", [[2, 1, -2], [3, 3, 0], [0, 6, 8]], "of the four stamps 1 lies there"),
    ("exercise_1", [[1, 1], [3, 3]], "shape"),
    ("exercise_1", [1, 1, -2, 3, 3, 0, 0, 6, 8], "three rows of three"),
    ("exercise_2", lambda i, f, s, p: (sizes(i, f, s, p)[0] - 1, 0), "one short"),
    ("exercise_2", lambda i, f, s, p: (-(-(i + 2 * p - f) // s) + 1, 0), "rounded up"),
    ("exercise_2", lambda i, f, s, p: ((i + p - f) // s + 1, 0), "both ends: 2p"),
    ("exercise_2", lambda i, f, s, p: ((i - f) // s + 1, 0), "does not know the padding"),
    ("exercise_2", lambda i, f, s, p: (s * (i - 1) + f - 2 * p, 0), "after the transposed"),
    ("exercise_2", lambda i, f, s, p: (i, 0), "0 the size is"),
    ("exercise_2", lambda i, f, s, p: ((i + 2 * p - f) / s + 1, 0), "whole numbers"),
    ("exercise_2", lambda i, f, s, p: sizes(i, f, s, p)[0], "two numbers"),
    ("exercise_2", lambda i, f, s, p: sizes(i, f, s, p)[::-1], "order"),
    ("exercise_2", lambda i, f, s, p: (sizes(i, f, s, p)[0], 0), "smallest"),
    ("exercise_2", lambda i, f, s, p: (sizes(i, f, s, p)[0], s - 1), "largest"),
    ("exercise_2", lambda i, f, s, p: (sizes(i, f, s, p)[0], i % s), "of i alone"),
    ("exercise_2", lambda i, f, s, p: (sizes(i, f, s, p)[0], (i - f) % s), "forgets the padding"),
    ("exercise_2", lambda i, f, s, p: (sizes(i, f, s, p)[0], (i + p - f) % s), "both ends: the"),
    ("exercise_2", lambda i, f, s, p: (sizes(i, f, s, p)[0], -(i + 2 * p - f) % s), "missing to the next"),
    ("exercise_2", lambda i, f, s, p: (sizes(i, f, s, p)[0], (i + 2 * p - f) // s), "quotient"),
    ("exercise_2", lambda i, f, s, p: (sizes(i, f, s, p)[0], sizes(i, f, s, p)[1] + (i == 19)), "leads to"),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight.flip(2, 3), **o), "wrong way round"),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight.transpose(2, 3), **o), "rows and columns of the kernel"),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight, **o).transpose(2, 3), "of the result are exchanged"),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight, **o, add=False), "replace"),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight.transpose(0, 1), **o), "channels are exchanged"),
    ("exercise_3", only_one_channel, "first input channel"),
    ("exercise_3", without("stride"), "stride has no effect"),
    ("exercise_3", without("padding"), "padding has no effect: it cuts p"),
    ("exercise_3", without("output_padding"), "output_padding has no effect"),
    ("exercise_3", padded_outwards, "adds places"),
    ("exercise_3", at_one_end(start=False), "both cuts are made at the end"),
    ("exercise_3", at_one_end(start=True), "are made at the start"),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight, **o, tail=False), "appended zeros"),
    ("exercise_3", extra_at_start(zeros=True), "empty places at the start"),
    ("exercise_3", extra_at_start(zeros=False), "wrong side"),
    ("exercise_3", small_canvas, "canvas ends before"),
    (
        "exercise_3",
        lambda x, weight, **o: transposed(x, weight, **o)[:1].expand(len(x), -1, -1, -1),
        "result of the first",
    ),
    (
        "exercise_3",
        lambda x, weight, **o: transposed(x.sum(0, keepdim=True), weight, **o).expand(len(x), -1, -1, -1),
        "are mixed",
    ),
    ("exercise_3", only_square, "square pictures only"),
    ("exercise_3", only_square, "height and width may differ"),
    ("exercise_3", empty_slice, "y[p:-p] is"),
    ("exercise_3", canvas_from_height, "height and width may differ"),
    ("exercise_3", canvas_too_narrow, "height and width may differ"),
    ("exercise_3", changes_input, "itself has changed"),
    ("exercise_3", by_torch, "convolution of torch"),
    ("exercise_3", by_module, "convolution of torch"),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight, **o).tolist(), "the result is not"),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight, **o).float(), "torch.float64"),
    ("exercise_3", lambda x, weight, **o: print(end=""), "returned nothing"),
    ("exercise_3", by_fold, "fold does the stamping"),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight, **o) + 1, "wrong values"),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight, **o)[..., :-1], "the shape is"),
    ("exercise_5", lambda w, s: sums(w, s).T, "exchanged"),
    ("exercise_5", blocks, "blocks"),
    ("exercise_5", lambda w, s: sums(w, s) / sums(torch.ones_like(w), s), "mean"),
    ("exercise_5", lambda w, s: sums(torch.ones_like(w), s), "counts the stamps"),
    ("exercise_5", lambda w, s: sums(w.flip(0, 1), s), "flipped"),
    ("exercise_5", lambda w, s: torch.stack([w[r::s].sum() for r in range(s)]), "whole rows"),
    ("exercise_5", lambda w, s: torch.stack([w[r::s, r::s].sum() for r in range(s)]), "equal row and column"),
    ("exercise_5", divisible_only, "need not divide"),
    ("exercise_5", rest_dropped, "rest of the kernel"),
    ("exercise_5", lambda w, s: print(end=""), "returned nothing"),
    ("exercise_5", corner, "corner"),
    ("exercise_5", lambda w, s: w[:s, :s], "corner"),
    ("exercise_5", lambda w, s: w.sum(), "shape"),
    ("exercise_5", lambda w, s: sums(w, s) + 1, "not the sums"),
    ("exercise_4", lambda *a: True, "True to every pair"),
    ("exercise_4", lambda *a: False, "False to every pair"),
    ("exercise_4", inverse, "matrix's inverse"),
    ("exercise_4", lambda *a: adjoint(*a, dtype=torch.float32, tolerance=0), "rounding needs a tolerance"),
    ("exercise_4", lambda *a: adjoint(*a, draw=torch.ones), "ones"),
    ("exercise_4", only_x_random, "ones"),
    ("exercise_4", only_y_random, "ones"),
    ("exercise_4", image_of_x, "independently"),
    ("exercise_4", image_of_y, "independently"),
    ("exercise_4", image_of_x_absolute, "independently"),
    ("exercise_4", without_sum, "sum all entries"),
    ("exercise_4", sum_of_one_side, "sum all entries"),
    ("exercise_4", absolute, "is absolute"),
    ("exercise_4", partly_absolute, "is absolute"),
    ("exercise_4", allclose_as_it_comes, "is absolute"),
    ("exercise_4", lambda *a: adjoint(*a, dtype=torch.float32, tolerance=2e-5), "double precision"),
    ("exercise_4", lambda *a: adjoint(*a, tolerance=0.01), "too wide"),
    ("exercise_4", lambda *a: float(adjoint(*a)), "return True or False"),
    ("exercise_4", lambda *a: not adjoint(*a), "reversed"),
    ("exercise_4", lambda f, b, i, o: len(i) == 4, "wrong verdict"),
    ("exercise_4", lambda *a: print(end=""), "returned nothing"),
    ("exercise_4", lambda *a: adjoint(*a, tolerance=5e-4), "too wide"),
    ("exercise_4", without_abs, "abs()"),
    ("exercise_4", sign_ignored, "not their absolute values"),
    ("exercise_4", unit_vectors, "unit vectors"),
    ("exercise_4", one_seed, "one seed"),
    ("exercise_2", lambda i, f, s, p: print(end=""), "returned nothing"),
    ("exercise_2", lambda i, f, s, p: torch.tensor([1.0, 2.0]), "whole numbers"),
    ("exercise_1", [torch.tensor([1, 1, -2]), torch.tensor([3, 4, 0]), torch.tensor([0, 6, 8])], "4 lie there"),
    ("exercise_1", [[1, 1, -2], [3, 3]], "nor an array"),
]


OTHERS = (
    ("exercise_1", [torch.tensor(row) for row in RIGHT]),
    ("exercise_1", [np.array(row) for row in RIGHT]),
    ("exercise_2", lambda *a: np.array(sizes(*a))),
    ("exercise_2", lambda *a: torch.tensor(sizes(*a))),
    ("exercise_2", lambda *a: list(sizes(*a))),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight, **o).numpy()),
    ("exercise_3", lambda x, weight, **o: transposed(x, weight, **o).requires_grad_()),
    ("exercise_4", lambda *a: np.bool_(adjoint(*a))),
    ("exercise_4", lambda *a: torch.tensor(adjoint(*a))),
    ("exercise_4", lambda *a: all(adjoint(*a) for _ in range(5))),
    ("exercise_5", lambda w, s: sums(w, s).numpy()),
    ("exercise_5", lambda w, s: [[float(w[r::s, q::s].sum()) for q in range(s)] for r in range(s)]),
    (
        "exercise_5",
        lambda w, s: F.conv_transpose2d(torch.ones(1, 1, 9, 9), w[None, None], stride=s)[0, 0][
            3 * s : 4 * s, 3 * s : 4 * s
        ],
    ),
)


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, OTHERS, WRONG
    as_it_is = ("exercise_2", "exercise_3", "exercise_4")
    coincide = ("exercise_5",)


def test_torch_is_whole_again_after_a_check():
    before = F.conv_transpose2d, torch.conv_transpose2d
    check.exercise_3.judge(by_torch)
    assert (F.conv_transpose2d, torch.conv_transpose2d) == before
