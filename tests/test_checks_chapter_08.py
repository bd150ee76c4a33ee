"""Every check of chapter 08 passes its solution and names the misconception behind each wrong answer."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.answers import Answers

from course_utils.checks import chapter_08 as check


def pictures(h, w):
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * (h * w)).view(-1, 1, h, w)


def terms(model, h, w):
    x = pictures(h, w).double()
    return F.logsigmoid((2 * x - 1) * model(x)).flatten(1)


def white(model, h, w):
    return model(pictures(h, w).double()).sigmoid().flatten(1)


def total(model, h, w):
    return terms(model, h, w).sum(1).exp().sum()


def by_loops(model, h, w):
    result = 0.0
    for x in pictures(h, w):
        p = model(x[None]).sigmoid()[0]
        result += float(torch.where(x == 1, p, 1 - p).prod())
    return result


def black_left_out(model, h, w):
    return (pictures(h, w).flatten(1) * white(model, h, w).log()).sum(1).exp().sum()


def half(model, h, w):
    x = pictures(h, w)[::2].double()
    return F.logsigmoid((2 * x - 1) * model(x)).flatten(1).sum(1).exp().sum()


def masks(place, first, second):
    return place[None] <= first[:, None], first[None] <= second[:, None], second[None] < place[:, None]


def numpy_masks(place, first, second):
    place, first, second = (values.numpy() for values in (place, first, second))
    return [place <= first[:, None], first <= second[:, None], second < place[:, None]]


def kernel(kind, size):
    mask = torch.ones(size, size)
    mask[size // 2, size // 2 + (kind == "B") :] = 0
    mask[size // 2 + 1 :] = 0
    return mask


def conv(x, weight, bias, kind, change=lambda mask: mask, of_weight=lambda weight: weight):
    mask = change(kernel(kind, weight.shape[-1]))
    return F.conv2d(x, of_weight(weight) * mask, bias, padding=weight.shape[-1] // 2)


def by_shifts(x, weight, bias, kind):
    k, (h, w) = weight.shape[-1], x.shape[2:]
    padded, mask = F.pad(x, [k // 2] * 4), kernel(kind, weight.shape[-1])
    out = bias.view(1, -1, 1, 1).expand(len(x), -1, h, w).clone()
    for i in range(k):
        for j in range(k):
            if mask[i, j]:
                out += torch.einsum("bchw,oc->bohw", padded[:, :, i : i + h, j : j + w], weight[:, :, i, j])
    return out


def rows_cut(mask):
    mask[len(mask) // 2] = 0
    return mask


def rows_only(mask):
    mask[: len(mask) // 2] = 0
    return mask


def quadrant(mask):
    mask[:, len(mask) // 2 + 1 :] = 0
    return mask


def one_sided(x, weight, bias, kind):
    size = weight.shape[-1]
    return F.conv2d(F.pad(x, (size - 1, 0, size - 1, 0)), weight * kernel(kind, size), bias)


def in_place(x, weight, bias, kind):
    weight *= kernel(kind, weight.shape[-1])
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def sees(u, v, k, n):
    r = k // 2
    if u <= 0:
        return u == 0 and -n * r <= v < 0
    return u <= n * r and -n * r <= v <= min(u, n) * r


def box(u, v, k, n):
    return (u > 0 or (u == 0 and v < 0)) and max(abs(u), abs(v)) <= n * (k // 2)


def traced(u, v, k, n):
    """By stepping through the layers."""
    r, reached = k // 2, {(0, 0)}
    for layer in range(n):
        steps = [(a, b) for a in range(r + 1) for b in range(-r, r + 1) if a or b < (0 if layer == 0 else 1)]
        reached = {(a + c, b + d) for a, b in reached for c, d in steps}
    return (u, v) in reached


def sample(model, n, h, w, pixel=torch.bernoulli, places=None):
    x = torch.zeros(n, 1, h, w)
    for row, column in places(h, w) if places else np.ndindex(h, w):
        x[:, 0, row, column] = pixel(model(x).sigmoid()[:, 0, row, column])
    return x


def at_once(model, n, h, w):
    return torch.bernoulli(model(torch.zeros(n, 1, h, w)).sigmoid())


def columns(h, w):
    return [(row, column) for column in range(w) for row in range(h)]


def one_for_all(p):
    return torch.bernoulli(p[:1]).expand_as(p)


def one_number_a_picture(model, n, h, w):
    u = torch.rand(n)
    return sample(model, n, h, w, lambda p: (u < p).float())


def mixture(masses, weights):
    return torch.logsumexp(torch.log_softmax(weights, 1) + masses, 1)


SOLUTIONS = {
    "exercise_1": total,
    "exercise_2": masks,
    "exercise_3": conv,
    "exercise_4": sees,
    "exercise_5": sample,
    "exercise_6": mixture,
}
RIGHT = [
    ("exercise_1", by_loops),
    ("exercise_1", lambda m, h, w: [total(m, h, w).item()]),
    ("exercise_2", lambda p, a, b: [mask.float() for mask in masks(p, a, b)]),
    ("exercise_2", numpy_masks),
    ("exercise_3", by_shifts),
    ("exercise_3", lambda x, w, b, kind: conv(x.double(), w.double(), b.double(), kind).numpy()),
    ("exercise_4", traced),
    ("exercise_4", lambda u, v, k, n: int(sees(u, v, k, n))),
    ("exercise_4", lambda u, v, k, n: box(u, v, k, n) and (u == 0 or v <= u * (k // 2))),
    ("exercise_5", lambda m, n, h, w: sample(m, n, h, w, lambda p: (torch.rand(len(p)) < p).float())),
    ("exercise_5", lambda m, n, h, w: sample(m, n, h, w).bool()),
    ("exercise_5", lambda m, n, h, w: torch.cat([sample(m, 1, h, w) for _ in range(n)])),  # one picture at a time
    ("exercise_6", lambda a, w: (w.softmax(1).log() + a).logsumexp(1).float()),
]
WRONG = [
    ("exercise_1", lambda m, h, w: terms(m, h, w).sum(), "these are logarithms"),
    ("exercise_1", lambda m, h, w: terms(m, h, w).exp().sum(), "before the sum over pixels"),
    ("exercise_1", lambda m, h, w: terms(m, h, w).sum().exp(), "all pictures multiplied"),
    ("exercise_1", lambda m, h, w: terms(m, h, w).mean(1).exp().sum(), "mean over pixels"),
    ("exercise_1", lambda m, h, w: terms(m, h, w).sum(1).exp().mean(), "mean over pictures"),
    ("exercise_1", lambda m, h, w: white(m, h, w).prod(1).sum(), "also where it is black"),
    ("exercise_1", black_left_out, "black pixels are left out"),
    ("exercise_1", lambda m, h, w: terms(m, h, w).sum(1).logsumexp(0), "its logarithm"),
    ("exercise_1", lambda m, h, w: (-terms(m, h, w)).sum(1).exp().sum(), "the sign"),
    ("exercise_1", half, "different pictures"),
    ("exercise_1", lambda m, h, w: 1.0, "different pictures"),
    ("exercise_1", lambda m, h, w: 0 * total(m, h, w) + 1, "look at (8.3) and (8.4)"),
    ("exercise_1", lambda m, h, w: m(2 * pictures(h, w) - 1).sum(), "other than 0 and 1"),
    ("exercise_1", lambda m, h, w: m(torch.zeros(1, h * w)).sum(), "the model was given shape"),
    ("exercise_1", lambda m, h, w: terms(m, h, w).sum(1).exp(), "asked is one number"),
    ("exercise_2", lambda p, a, b: masks(p, a, b)[:2], "three masks"),
    ("exercise_2", lambda p, a, b: (p[None] < a[:, None], *masks(p, a, b)[1:]), "the comparison is strict"),
    ("exercise_2", lambda p, a, b: (*masks(p, a, b)[:2], b[None] <= p[:, None]), "needs m < place"),
    ("exercise_2", lambda p, a, b: (p[None] >= a[:, None], *masks(p, a, b)[1:]), "turned round"),
    ("exercise_2", lambda p, a, b: tuple(mask.T for mask in masks(p, a, b)), "is transposed"),
    (
        "exercise_2",
        lambda p, a, b: (masks(p, a, b)[0], torch.ones(len(b), len(a)), masks(p, a, b)[2]),
        "lets everything through",
    ),
    ("exercise_2", lambda p, a, b: masks(torch.arange(len(p)) + 1, a, b), "which path would it allow"),
    ("exercise_2", lambda p, a, b: masks(p.argsort() + 1, a, b), "no argsort"),
    (
        "exercise_2",
        lambda p, a, b: (*masks(p, a, b)[:2], masks(p.argsort() + 1, a, b)[2]),
        "third mask: `place` already",
    ),
    ("exercise_2", lambda p, a, b: (torch.ones(len(a), len(p)).tril(), *masks(p, a, b)[1:]), "positions in the list"),
    ("exercise_3", lambda x, w, b, kind: conv(x, w, b, "AB".replace(kind, "")), "the other kind"),
    ("exercise_3", lambda x, w, b, kind: conv(x, w, b, kind, torch.ones_like), "no mask at all"),
    ("exercise_3", lambda x, w, b, kind: conv(x, w, b, kind, lambda m: m.flip(0, 1)), "upside down"),
    ("exercise_3", lambda x, w, b, kind: conv(x, w, b, kind, of_weight=lambda w: w.flip(2, 3)), "kernel is flipped"),
    ("exercise_3", lambda x, w, b, kind: conv(x, w, b, kind, lambda m: m.flip(1)), "looks to the right"),
    ("exercise_3", lambda x, w, b, kind: conv(x, w, b, kind, lambda m: m.T), "rows and columns are exchanged"),
    ("exercise_3", lambda x, w, b, kind: conv(x, w, b, kind, rows_cut), "whole middle row is cut"),
    ("exercise_3", lambda x, w, b, kind: conv(x, w, b, kind, rows_only), "rows above are missing"),
    ("exercise_3", lambda x, w, b, kind: conv(x, w, b, kind, quadrant), "count on both sides"),
    ("exercise_3", one_sided, "padded on one side"),
    ("exercise_3", lambda x, w, b, kind: conv(x, w, 0 * b, kind), "the bias is missing"),
    ("exercise_3", lambda x, w, b, kind: F.conv2d(x, w * kernel(kind, w.shape[-1]), b), "keeps its size"),
    ("exercise_3", lambda x, w, b, kind: 2 * conv(x, w, b, kind), "which entries of the kernel"),
    ("exercise_3", in_place, "weight itself has changed"),
    ("exercise_4", box, "blind spot on the right"),
    ("exercise_4", lambda u, v, k, n: box(u, v, k, n) and (v <= u or u == 0), "45°"),
    ("exercise_4", lambda u, v, k, n: sees(u, v, k, n) or u == v == 0, "does not see itself"),
    ("exercise_4", lambda u, v, k, n: sees(u, v, k, 99), "the depth is forgotten"),
    ("exercise_4", lambda u, v, k, n: sees(-u, v, k, n), "counts rows *above*"),
    ("exercise_4", lambda u, v, k, n: sees(u, -v, k, n), "columns to the *right*"),
    ("exercise_4", lambda u, v, k, n: u > 0 and sees(u, v, k, n), "to the left in the same row"),
    ("exercise_4", lambda u, v, k, n: sees(u, v, k, n) and abs(v) <= u * (k // 2), "no blind spot on the left"),
    ("exercise_4", lambda u, v, k, n: not sees(u, v, k, n), "exchanged"),
    ("exercise_4", lambda u, v, k, n: True, "Trace the steps"),
    ("exercise_5", at_once, "1 passes for 12 pixels"),
    ("exercise_5", lambda m, n, h, w: m(torch.zeros(n, 1, h, w)).sigmoid(), "no zeros and ones"),
    ("exercise_5", lambda m, n, h, w: sample(m, n, h, w, torch.round), "all pictures are the same"),
    ("exercise_5", lambda m, n, h, w: sample(m, n, h, w, one_for_all), "all pictures are the same"),
    ("exercise_5", lambda m, n, h, w: sample(m, n, h, w, places=columns), "go row by row"),
    ("exercise_5", lambda m, n, h, w: 1 - sample(m, n, h, w), "exchanged"),
    ("exercise_5", lambda m, n, h, w: sample(m, n, h, w, lambda p: (torch.rand(len(p)) > p).float()), "exchanged"),
    ("exercise_5", one_number_a_picture, "one random number serves all pixels"),
    ("exercise_5", lambda m, n, h, w: sample(m, n, h, w, lambda p: torch.bernoulli(p.sqrt())), "was white in"),
    ("exercise_5", lambda m, n, h, w: sample(m, n, h, w)[:, 0], "shape"),
    ("exercise_5", lambda m, n, h, w: m(torch.zeros(n, h * w)), "the model was given shape"),
    ("exercise_6", lambda a, w: torch.logsumexp(w + a, 1), "need a softmax"),
    ("exercise_6", lambda a, w: torch.logsumexp(w.softmax(1) + a, 1), "added to a logarithm"),
    ("exercise_6", lambda a, w: (w.softmax(1) * a).sum(1), "mean of the logarithms"),
    ("exercise_6", lambda a, w: torch.logsumexp(w.softmax(1) * a, 1), "multiplies the mass"),
    ("exercise_6", lambda a, w: torch.logsumexp(a, 1), "weights are missing"),
    ("exercise_6", lambda a, w: torch.logsumexp(a, 1) - np.log(a.shape[1]), "equal weights"),
    ("exercise_6", lambda a, w: (torch.log_softmax(w, 1) + a).amax(1), "only the largest"),
    ("exercise_6", lambda a, w: (torch.log_softmax(w, 1) + a).sum(1), "product of the terms"),
    ("exercise_6", lambda a, w: torch.logsumexp(torch.log_softmax(w, 0) + a, 1), "over the pixels"),
    ("exercise_6", lambda a, w: torch.logsumexp(F.logsigmoid(w) + a, 1), "sigmoids do not sum"),
    ("exercise_6", lambda a, w: -mixture(a, w), "the sign"),
    ("exercise_6", lambda a, w: torch.logsumexp(torch.log_softmax(w, 1) + a, 0), "one number for each component"),
    ("exercise_6", lambda a, w: (w.softmax(1) * a.exp()).sum(1).log(), "use torch.logsumexp"),
    ("exercise_6", lambda a, w: a.max() + (w.softmax(1) * (a - a.max()).exp()).sum(1).log(), "each pixel by itself"),
    ("exercise_6", lambda a, w: mixture(a, w) + 1, "look at (8.9)"),
]


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_4",)
    coincide = ("exercise_2", "exercise_3")


@pytest.mark.parametrize("seed", range(20))
def test_a_sampler_passes_whatever_it_draws(seed):
    generator = torch.Generator().manual_seed(seed)

    def answer(model, n, h, w):
        return sample(model, n, h, w, lambda p: torch.bernoulli(p, generator=generator))

    verdict = check.exercise_5.judge(answer)
    assert verdict.status == "passed", verdict.message
