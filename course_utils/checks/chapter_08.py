"""Checks of the exercises of chapter 08: each refuses a wrong answer by the misconception that it shows."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.checks import Function, Misconception, as_tensor, compare, compare_all, exercise
from course_utils.checks.inputs import rand, randn


class _Net:
    """Logits b + W x of pictures (n, 1, h, w); strictly lower triangular, or with a leak if the diagonal is let in."""

    def __init__(self, h: int, w: int, leak: bool):
        self.shape, self.asked = (1, h, w), set[tuple[float, ...]]()
        self.weight = randn(h * w, h * w, seed=h + 10 * w).tril(0 if leak else -1)
        self.bias = randn(h * w, seed=h * w)

    def __call__(self, x: Any) -> Tensor:
        x = torch.as_tensor(x)
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape:
            raise Misconception(f"the model was given shape {tuple(x.shape)}, expected (n, {str(self.shape)[1:]}")
        flat = x.detach().cpu().double().flatten(1)
        self.asked |= {tuple(row) for row in flat.tolist()}
        kind = x.dtype if x.is_floating_point() else torch.float32
        return (flat @ self.weight.T + self.bias).to(kind).view(x.shape).to(x.device)


@exercise("8.1")
def exercise_1(sum_over_pictures: Function) -> str:
    """Sum of p(x) over all pictures, for models with and without a leak."""
    for h, w, leak in ((2, 3, True), (2, 2, False), (3, 2, True), (1, 3, False)):
        net, count = _Net(h, w, leak), 2 ** (h * w)
        value = as_tensor(sum_over_pictures(net, h, w), (), "asked is one number, the sum over all pictures")
        if any(set(picture) - {0.0, 1.0} for picture in net.asked):
            raise Misconception("the model was given pixels other than 0 and 1")
        if len(net.asked) != count:
            raise Misconception(
                f"the model saw {len(net.asked)} different pictures; of zeros and ones there are {count}"
            )
        x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * (h * w))
        terms = F.logsigmoid((2 * x - 1) * net(x.view(-1, 1, h, w)).flatten(1))
        white = torch.sigmoid(net(x.view(-1, 1, h, w)).flatten(1))
        right = terms.sum(1).exp().sum()
        slips = {
            terms.sum(): "these are logarithms, added up; take the exponential of each picture's sum first",
            terms.sum().exp(): "all pictures multiplied: take the exponential of each picture's sum, then add",
            terms.exp().sum(): "you take the exponential before the sum over pixels; it belongs after it: the "
            "conditionals of a picture are multiplied, so their logarithms are added first",
            terms.mean(1).exp().sum(): "a mean over pixels instead of a sum: (8.3) adds all pixels up",
            right / count: "that is the mean over pictures; asked is the sum",
            white.prod(1).sum(): "every pixel is counted with its probability of white, also where it is black",
            (x * white.log()).sum(1).exp().sum(): "black pixels are left out: they have the probability "
            "sigmoid(−a), see (8.3)",
            (-terms).sum(1).exp().sum(): "the sign: the exponential of the *negative* log-probability",
        }
        if leak:  # without one it is 0, as a product over all pictures nearly is
            slips[right.log()] = "that is its logarithm; asked is the sum itself"
        slips = {key: words for key, words in slips.items() if (key - right).abs() > 1e-6}
        compare(value, right, slips, f"the sum is {right:.4f}, yours {value:.4f}; look at (8.3) and (8.4)", rtol=1e-3)
    return "1 without a leak, something else with one"


@exercise("8.2")
def exercise_2(made_masks: Function) -> str:
    """The three masks of a MADE with two hidden layers."""
    for pixels, first_units, second_units in ((6, 9, 7), (9, 5, 8)):
        generator = torch.Generator().manual_seed(pixels)
        place = torch.randperm(pixels, generator=generator) + 1
        first = torch.randint(1, pixels, (first_units,), generator=generator)
        second = torch.randint(1, pixels, (second_units,), generator=generator)
        answer = made_masks(place.clone(), first.clone(), second.clone())
        if answer is None or len(answer) != 3:
            raise Misconception("asked are three masks: pixels to first layer, first to second, second to logits")
        sorted_again = place.argsort() + 1
        cases = (
            ("the first mask", place[None], first[:, None], False, sorted_again[None] <= first[:, None]),
            ("the second mask", first[None], second[:, None], False, None),
            ("the third mask", second[None], place[:, None], True, second[None] < sorted_again[:, None]),
        )
        for mask, (name, source, target, strict, again) in zip(answer, cases, strict=True):
            value, shape = as_tensor(mask), (target.shape[0], source.shape[1])
            if value.shape == shape[::-1] and shape[0] != shape[1]:
                raise Misconception(f"{name} is transposed: outputs are rows, inputs are columns, {shape}")
            value = as_tensor(mask, shape, f" for {name}")
            weak, strong = (source <= target).double(), (source < target).double()
            loose = "a pixel would reach its own logit: a unit numbered m knows the pixel at place m, so the logit "
            tight = "the comparison is strict; that loses connections which the order allows"
            slips = {
                weak if strict else strong: f"{name}: " + (loose + "needs m < place" if strict else tight),
                (source >= target).double(): f"{name}: the comparison is turned round",
                (source > target).double(): f"{name}: the comparison is turned round",
                again: f"{name}: `place` already holds the places; no argsort",
                torch.ones(shape): f"{name} lets everything through",
                torch.arange(shape[1])[None].le(torch.arange(shape[0])[:, None]).double(): f"{name} compares the "
                "positions in the list; compare the numbers, and the places of the pixels",
            }
            compare(value, strong if strict else weak, slips, f"{name} is another; which path would it allow, or lose?")
    return "every path leads from an earlier pixel to a later one"


def _kernel_mask(kind: str, size: int) -> Tensor:
    mask, middle = torch.ones(size, size).double(), size // 2
    mask[middle, middle + (kind == "B") :] = 0
    mask[middle + 1 :] = 0
    return mask


@exercise("8.3")
def exercise_3(masked_conv: Function) -> str:
    """A convolution that looks above and to the left only."""
    for size, kind, shape in (
        (3, "A", (2, 1, 6, 5)),
        (3, "B", (2, 3, 5, 7)),
        (5, "A", (1, 2, 8, 7)),
        (5, "B", (2, 2, 7, 6)),
    ):
        x, weight = randn(*shape, seed=size).float(), randn(4, shape[1], size, size, seed=shape[3]).float()
        bias = randn(4, seed=3).float()
        given = weight.clone()
        answer = masked_conv(x.clone(), given, bias, kind)
        if not torch.equal(given, weight):
            raise Misconception("weight itself has changed: multiply into a new tensor")
        value = as_tensor(answer, (shape[0], 4, *shape[2:]), "; the picture keeps its size, so pad it with zeros")

        def conv(mask: Tensor, kernel: Tensor, x: Tensor = x, bias: Tensor = bias) -> Tensor:
            return F.conv2d(x.double(), kernel.double() * mask, bias.double(), padding=mask.shape[-1] // 2)

        mask, middle = _kernel_mask(kind, size), size // 2
        above = mask.clone()
        above[middle] = 0
        only_left = torch.zeros(size, size).double()
        only_left[middle] = mask[middle]
        quadrant = mask.clone()
        quadrant[:, middle + 1 :] = 0
        one_sided = F.pad(x.double(), (size - 1, 0, size - 1, 0))
        right = conv(mask, weight)
        slips = {
            conv(_kernel_mask("AB".replace(kind, ""), size), weight): f"that is the other kind: mask {kind} "
            + ("leaves the middle out" if kind == "A" else "lets the middle in"),
            conv(torch.ones(size, size), weight): "no mask at all: the pixel sees itself and all that comes later",
            conv(mask.flip(0, 1), weight): "upside down: it looks below and to the right; torch's conv2d does not flip "
            "the kernel, so its first rows lie above",
            conv(mask, weight.flip(2, 3)): "the kernel is flipped; torch's conv2d is a correlation, take it as it is",
            conv(mask.flip(1), weight): "the middle row looks to the right instead of to the left",
            conv(
                mask.T, weight
            ): "rows and columns are exchanged: it looks at all columns on the left, above and below",
            conv(above, weight): "the whole middle row is cut; what lies to the left in it is earlier and allowed",
            conv(only_left, weight): "the rows above are missing: they are earlier pixels, on both sides",
            conv(quadrant, weight): "the rows above count on both sides, to the right as well",
            F.conv2d(one_sided, weight.double() * mask, bias.double()): "padded on one side: the picture is shifted",
            conv(mask, weight) - bias.double()[:, None, None]: "the bias is missing",
        }
        for slip in list(slips):
            if torch.allclose(slip, right):
                del slips[slip]
        compare(value, right, slips, "another result; which entries of the kernel are used?", rtol=1e-3, atol=1e-4)
    return "the rows above, and to the left in the own row; the middle only where it is a feature"


def _sees(u: int, v: int, k: int, n: int) -> bool:
    r = k // 2
    if u <= 0:
        return u == 0 and -n * r <= v <= -1
    return u <= n * r and -n * r <= v <= min(n, u) * r


@exercise("8.4")
def exercise_4(sees: Function) -> str:
    """The receptive field of n masked layers."""

    def box(u: int, v: int, k: int, n: int) -> bool:
        return (u > 0 or (u == 0 and v < 0)) and max(abs(u), abs(v)) <= n * (k // 2)

    slips = {
        box: "that is the whole box of earlier pixels; the stack has a blind spot on the right",
        lambda u, v, k, n: box(u, v, k, n) and (v <= u or u == 0): "the line at 45° holds for 3×3 kernels; a larger "
        "kernel goes (k − 1)/2 columns to the right for each row",
        lambda u, v, k, n: _sees(u, v, k, n) or (u, v) == (0, 0): "the pixel does not see itself: mask A comes first",
        lambda u, v, k, n: _sees(u, v, k, 10**6): "the depth is forgotten: n layers reach n(k − 1)/2 pixels",
        lambda u, v, k, n: _sees(-u, v, k, n): "u counts rows *above*: u = 1 is the row above",
        lambda u, v, k, n: _sees(u, -v, k, n): "v counts columns to the *right*: v = −1 is the left neighbour",
        lambda u, v, k, n: _sees(u, v, k, n) and u > 0: "the pixels to the left in the same row are missing",
        lambda u, v, k, n: _sees(u, v, k, n) and abs(v) <= u * (k // 2): "there is no blind spot on the left: within a "
        "row the masks look to the left",
        lambda u, v, k, n: not _sees(u, v, k, n): "True and False are exchanged",
    }
    around = range(-1, 9)
    cases = list(itertools.product(around, range(-8, 9), (3, 5), (1, 2, 3)))
    otherwise = "of a {2}×{2} stack with {3} layers, is the pixel {0} rows above and {1} columns to the right seen? "
    compare_all(sees, cases, _sees, slips, otherwise + "Trace the steps, layer by layer")
    return "a triangle is missing on the right, at any depth"


class _Copying:
    """Logits for pictures whose first pixel is a fair coin, and whose others copy the one before, in raster order."""

    def __init__(self, n: int, h: int, w: int, chance: float | None = None):
        self.shape, self.calls, self.chance = (n, 1, h, w), 0, chance

    def __call__(self, x: Any) -> Tensor:
        x = torch.as_tensor(x)
        if tuple(x.shape[1:]) != self.shape[1:]:  # one picture at a time is right as well
            raise Misconception(f"the model was given shape {tuple(x.shape)}, expected {self.shape}")
        self.calls += 1
        if self.chance is not None:
            return torch.full(x.shape, self.chance).logit().to(x.device)
        flat = 80 * x.flatten(1).float() - 40
        return F.pad(flat, (1, -1)).view(x.shape)  # the first logit is 0


@exercise("8.5")
def exercise_5(sample: Function) -> str:
    """Pictures drawn pixel by pixel."""
    for n, h, w in ((40, 3, 4), (30, 5, 2)):
        model = _Copying(n, h, w)
        value = as_tensor(sample(model, n, h, w), (n, 1, h, w))
        if not ((value == 0) | (value == 1)).all():
            raise Misconception("these are no zeros and ones: draw each pixel, do not return its probability")
        if model.calls < h * w:
            raise Misconception(
                f"{model.calls} passes for {h * w} pixels: a logit counts only when all earlier pixels are drawn"
            )
        if (value == value[:1]).all():
            raise Misconception(
                "all pictures are the same: a threshold, or one draw for all; draw each pixel by chance"
            )
        flat, exchanged = value.flatten(1), "white and black are exchanged: white has the probability sigmoid(logit)"
        if (flat[:, 1:] == 1 - flat[:, :-1]).all():
            raise Misconception(exchanged)
        if not (flat == flat[:, :1]).all():
            raise Misconception(
                "this model copies each pixel from the one before in raster order, and yours do not: go row by row, "
                "left to right, and write each pixel into the picture before the next pass"
            )
    value = as_tensor(sample(_Copying(500, 2, 3, chance=0.2), 500, 2, 3), (500, 1, 2, 3))
    flat, share = value.flatten(1), value.mean()
    if (flat == flat[:, :1]).all(1).double().mean() > 0.6:  # 0.26 with independent draws
        raise Misconception("one random number serves all pixels of a picture: draw a new one for each pixel")
    if abs(share - 0.8) < 0.04:
        raise Misconception(exchanged)
    if abs(share - 0.2) > 0.04:
        raise Misconception(f"a pixel that is white with probability 0.2 was white in {share:.0%} of the draws")
    return "one pass for each pixel, and each pass may use all that was drawn"


@exercise("8.6")
def exercise_6(log_mixture: Function) -> str:
    """The logarithm of a weighted sum of masses, from their logarithms."""
    for n, components, low in ((5, 3, -4.0), (4, 6, -2000.0)):
        log_masses = low - rand(n, components, seed=n)
        log_masses[0] /= abs(low) / 4  # the first pixel stays near −4: one maximum for all pixels will not do
        weights = 2 * randn(n, components, seed=components)
        value = as_tensor(log_mixture(log_masses.clone(), weights.clone()))
        if value.shape == (components,):
            raise Misconception("one number for each component; asked is one for each pixel: sum over the components")
        value = as_tensor(value, (n,), ": one number for each pixel")
        if not torch.isfinite(value).all():
            raise Misconception("an exponential is 0, its logarithm −∞: use torch.logsumexp, each pixel by itself")
        share = torch.softmax(weights, 1)
        right = torch.logsumexp(share.log() + log_masses, 1)
        slips = {
            torch.logsumexp(weights + log_masses, 1): "the weights do not sum to 1: they need a softmax",
            torch.logsumexp(share + log_masses, 1): "the weight itself is added to a logarithm; add its logarithm",
            (share * log_masses).sum(1): "that is the mean of the logarithms; asked is the logarithm of the mean",
            torch.logsumexp(share * log_masses, 1): "the weight multiplies the mass, not its logarithm",
            torch.logsumexp(log_masses, 1): "the weights are missing",
            torch.logsumexp(log_masses, 1) - torch.tensor(float(components)).log(): "equal weights; use those given",
            (share.log() + log_masses).amax(1): "only the largest term; the others add to it",
            (share.log() + log_masses).sum(1): "that is the logarithm of the product of the terms",
            torch.logsumexp(torch.log_softmax(weights, 0) + log_masses, 1): "the softmax runs over the pixels; it "
            "belongs over the components",
            torch.logsumexp(F.logsigmoid(weights) + log_masses, 1): "sigmoids do not sum to 1 over the components",
            -right: "the sign: asked is the logarithm, not its negative",
        }
        otherwise = f"the first pixel has {right[0]:.3f}, yours {value[0]:.3f}; look at (8.9)"
        compare(value, right, slips, otherwise, rtol=1e-7, atol=1e-3)
    return "logsumexp of log-weights and log-masses"
