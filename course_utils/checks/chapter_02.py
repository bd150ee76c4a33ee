"""Checks of chapter 02, the autoencoder."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.checks import Function, Misconception, as_tensor, compare, compare_all, exercise, expect_graph, near
from course_utils.checks.inputs import rand, randn


@exercise("2.1")
def exercise_1(batch_loss: Function) -> str:
    """Squared error, summed over pixels, averaged over images."""
    x, x_hat = rand(6, 1, 28, 28, seed=0).float(), rand(6, 1, 28, 28, seed=1).float().requires_grad_()
    result = batch_loss(x, x_hat)
    difference = as_tensor(x - x_hat)
    each = difference.square().flatten(1).sum(1)
    right = each.mean()
    if near(as_tensor(result), each):
        raise Misconception("one value per image: the optimiser needs one number, so average over the images")
    value, mean_difference = as_tensor(result, (), "a loss is one number"), difference.flatten(1).sum(1).mean()
    slips = {
        right / 784: "you averaged over the pixels as well. Sum over dimensions, mean over the batch: otherwise the "
        "loss is 784 times too small to be a negative log-likelihood; look at (2.1)",
        each.sum(): "you summed over the images as well: the loss then grows with the batch size; average over the "
        "batch",
        right / 2: "the ½ belongs to 1/(2σ²) in (2.1); the loss of the course is the squared error itself",
        difference.abs().flatten(1).sum(1).mean(): "that is the absolute error; (2.1) has squares",
        (mean_difference, -mean_difference): "nothing is squared: differences of both signs cancel",
        each.sqrt().mean(): "you took the root, the distance; (2.1) has the squared distance without a root",
    }
    otherwise = (
        f"on a random batch the loss is {right:.3f}, yours {value:.3f}; look at the loss at the start of section 1"
    )
    compare(value, right, slips, otherwise)
    expect_graph(result)
    return "sum over dimensions, mean over the batch"


@exercise("2.2")
def exercise_2(answer: Any) -> str:
    """Parameters of 784-128-16-128-784."""
    sizes = (784, 128, 16, 128, 784)
    weights = sum(a * b for a, b in itertools.pairwise(sizes))
    right, encoder = weights + sum(sizes[1:]), 784 * 128 + 128 + 128 * 16 + 16
    slips = {
        weights: "these are the weights; the biases are missing, one for each unit of a layer's output",
        weights + sum(sizes): "the input is data and has no bias: only the four layers' outputs have",
        encoder: "that is the encoder alone; the decoder has weights of its own",
        2 * encoder: "the decoder's weights are as many as the encoder's, but its biases belong to its outputs, 128 "
        "and 784",
        encoder + 128 + 784: "that shares the encoder's weights with the decoder (tied weights); in make() it has its "
        "own",
    }
    otherwise = (
        "not the number of trainable values: a layer from a to b units has a·b weights and b biases; "
        "add up the four layers of section 1's make()"
    )
    compare(as_tensor(answer, ()), right, slips, otherwise, rtol=0)
    return f"{weights:,} weights and {right - weights:,} biases"


@exercise("2.3")
def exercise_3(pca_reconstruction: Function) -> str:
    """Reconstruction of the training rows from d principal components."""
    x = randn(40, 6, seed=3) * torch.tensor([3.0, 2.0, 1.2, 0.7, 0.4, 0.2]) + 4
    given, d, mean = x.clone(), 2, x.mean(0)
    answer = as_tensor(pca_reconstruction(given, d))
    if not torch.equal(given, x):
        raise Misconception("x itself has changed: `x -= …` writes into the caller's data; make a new tensor, x - mean")
    answer = as_tensor(
        answer, x.shape, "; that looks like the code, now go back to D dimensions" * (answer.shape == (40, d))
    )
    vectors, raw, overall = (torch.linalg.svd(x - m, full_matrices=False)[2] for m in (mean, 0, x.mean()))

    def projected(centre: Tensor | float, basis: Tensor) -> Tensor:
        return (x - centre) @ basis.T @ basis

    inside, last = projected(mean, vectors[:d]), projected(mean, vectors[-d:])
    slips = {
        projected(mean, vectors[:, :d].T) + mean: "you took columns of Vh: `svd` returns the components as its *rows*, "
        "Vh[:d]",
        projected(x.mean(), overall[:d]) + x.mean(): "you subtracted one number, the mean of all entries; each column "
        "has its own: x.mean(0)",
        inside: "the mean is missing: you subtracted it before projecting, so add it again at the end",
        projected(0, raw[:d]): "the data were not centred: without subtracting the mean the first direction points at "
        "the mean image, see (2.4) and the run 'not centred'",
        (last + mean, last): "these are the directions of least variance; PCA keeps the largest eigenvalues",
    }
    otherwise = "not PCA's reconstruction: centre, project on the first d rows of Vh, go back, add the mean; see (2.4)"
    compare(answer, inside + mean, slips, otherwise)
    return "no other reconstruction of that rank has a smaller error"


@exercise("2.4")
def exercise_4(best_sigma: Function) -> str:
    """Maximum-likelihood width of Gaussian pixels."""
    slips = {
        lambda e, n: e / n: "that is σ², the variance; the question asks for σ, so take the root",
        lambda e, n: math.sqrt(e): "the error is a sum over D pixels, and σ² is the error of one: divide by D",
        lambda e, n: math.sqrt(e) / n: "the root is over the quotient: σ² = error / D, so D stands under it too",
        lambda e, n: math.sqrt(e / 784): "784 is fixed in your answer; divide by D",
        lambda e, n: math.sqrt(e / (2 * n)): "the 2 of 1/(2σ²) cancels against the ½ of (D/2)·log σ² when you "
        "differentiate; do both terms of (2.1)",
        lambda e, n: math.sqrt(2 * e / n): "the ½ of (D/2)·log σ² cancels against the 2 of 1/(2σ²) when you "
        "differentiate; do both terms of (2.1)",
    }
    otherwise = (
        "for error {0} and {1} pixels the best σ is {right:.4f}, yours {value:.4f}; "
        "set the derivative of (2.1) by σ² to zero"
    )
    compare_all(best_sigma, [(19.6, 784), (5.0, 20)], lambda e, n: math.sqrt(e / n), slips, otherwise)
    return "the best σ² is the squared error of one pixel"


@exercise("2.5")
def exercise_5(test_error: Function) -> str:
    """Mean error over unequal batches, nothing changed."""
    inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    model = nn.Sequential(nn.Linear(5, 4), inner, nn.Linear(4, 5))
    batches = [torch.randn(n, 5) * k for n, k in ((8, 1.0), (8, 1.5), (2, 4.0))]
    value, modes, graphs = _watched(test_error, model, batches)
    _judge_modes(model, True)
    if any(p.grad is not None for p in model.parameters()):
        raise Misconception("gradients were left behind, and the next step would use them: no backward when testing")
    if isinstance(value, Tensor):
        graph = "still carries its graph: compute under torch.no_grad() and" if value.requires_grad else "is a tensor:"
        raise Misconception(f"the result {graph} return a float")
    _judge_mean(as_tensor(value, ()), model, batches, dropout=any(modes))
    if any(graphs):
        raise Misconception(
            "the value is right, but a graph was built for every batch, which costs memory: compute under "
            "torch.no_grad()"
        )
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    _watched(test_error, model.eval(), batches)
    _judge_modes(model, False)
    if any(p.grad is None or not torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters()):
        raise Misconception(
            "the gradients from before the test are gone or different: no zero_grad, no backward when testing"
        )
    return "and it left no trace"


def _watched(test_error: Function, model: nn.Module, batches: list[Tensor]) -> tuple[Any, list[bool], list[bool]]:
    """Call the answer; return its value, and for every pass the training mode and whether gradients were on."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes: list[bool] = []
    graphs: list[bool] = []

    def watch(module: nn.Module, inputs: Any, output: Any) -> None:
        modes.append(module.training)
        graphs.append(torch.is_grad_enabled())

    handle = model.register_forward_hook(watch)
    try:
        value = test_error(model, [b.clone() for b in batches])
    finally:
        handle.remove()
    if any(not torch.equal(before[name], now) for name, now in model.state_dict().items()):
        raise Misconception("the weights have changed: testing must not step the optimiser (patient 1 of the clinic)")
    return value, modes, graphs


def _judge_modes(model: nn.Module, before: bool) -> None:
    if all(module.training == before for module in model.modules()):
        return
    words = ("training", "any more") if before else ("evaluation", "any more; do not switch training on unasked")
    raise Misconception(
        f"the model was in {words[0]} mode and is not (in all its parts) {words[1]}: put it back with "
        "model.train(before)"
    )


def _judge_mean(value: Tensor, model: nn.Module, batches: list[Tensor], *, dropout: bool) -> None:
    model.eval()
    with torch.no_grad():
        each = [(b - model(b)).square().sum(1) for b in batches]
    model.train()
    right, unweighted = torch.cat(each).mean(), torch.stack([e.mean() for e in each]).mean()
    slips = {
        unweighted: "the mean of batch means counts the small last batch too much: weight by size, see (2.3)",
        right / 5: "you averaged over the D values of an image as well: sum over these, mean over images",
        unweighted / 5: "two slips: you averaged over the D values of an image as well, and then took the mean of "
        "batch means, which counts the small last batch too much, see (2.3)",
        right * 18: "that is the sum over all images; divide by their number",
    }
    otherwise = f"the error is {right:.4f}, yours {value:.4f}; compare with the loop of section 2 and (2.3)"
    if dropout:
        slips, otherwise = {}, "dropout is on, so the error differs from call to call: model.eval() while testing"
    compare(value, right, slips, otherwise)


@exercise("2.6")
def exercise_6(straight_path: Function) -> str:
    """Evenly spaced codes between two codes, both ends included."""
    z_a, z_b, count = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([4.0, 2.0, -1.5]), 7
    result = straight_path(z_a, z_b, count)
    if isinstance(result, list | tuple):
        raise Misconception("that is a list of codes: stack them into one tensor, (count, d), with torch.stack")
    answer = as_tensor(result, (count, 3), ": one code in each row")
    t, open_end = torch.linspace(0, 1, count)[:, None], torch.arange(count)[:, None] / count
    slips = {
        t * z_a + (1 - t) * z_b: "that walks from z_b to z_a: at t = 0 the weight of z_a is 1, see (2.8)",
        z_a + open_end * (z_b - z_a): "the last row stops short of z_b: count points have count − 1 gaps "
        "(torch.linspace)",
        z_a + t * z_b: "you add z_b without letting z_a fade: the weights are 1 − t and t, and add up to 1",
    }
    otherwise = "not the even points of the straight line; compare with the left side of (2.8)"
    compare(answer, (1 - t) * z_a + t * z_b, slips, otherwise)
    return "decode them to see the walk"
