"""Every check of chapter 02 passes its solution and names the misconception behind each wrong answer."""

import math

import torch
from helpers.answers import Answers

from course_utils.checks import chapter_02 as check


def squares(x, x_hat):
    return (x - x_hat).square()


def pca(x, d, *, centre=True, add=True, last=False):
    mean = x.mean(0) if centre else torch.zeros_like(x[0])
    vectors = torch.linalg.svd(x - mean, full_matrices=False)[2]
    basis = vectors[-d:] if last else vectors[:d]
    return (x - mean) @ basis.T @ basis + (mean if add else 0)


def errors_of(model, batches):
    mode = model.training
    model.eval()
    with torch.no_grad():
        errors = [(x - model(x)).square().sum(1) for x in batches]
    model.train(mode)
    return errors


def steps(model, batches):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for x in batches:
        optimizer.zero_grad()
        (x - model(x)).square().sum(1).mean().backward()
        optimizer.step()
    optimizer.zero_grad()
    return 1.0


def backward_only(model, batches):
    value = torch.cat([(x - model(x)).square().sum(1) for x in batches]).mean()
    value.backward()
    return float(value.detach())


def left_in_eval(model, batches):
    value = float(torch.cat(errors_of(model, batches)).mean())
    model.eval()
    return value


def with_graph(model, batches):
    return torch.cat([(x - model(x)).square().sum(1) for x in batches]).mean()


def graph_built(model, batches):
    mode = model.training
    model.eval()
    value = sum((x - model(x)).square().sum().item() for x in batches) / sum(map(len, batches))
    model.train(mode)
    return value


def always_train(model, batches):
    value = float(torch.cat(errors_of(model, batches)).mean())
    model.train()
    return value


def clears_gradients(model, batches):
    model.zero_grad()
    return float(torch.cat(errors_of(model, batches)).mean())


def only_top_restored(model, batches):
    mode = model.training
    value = left_in_eval(model, batches)
    model.training = mode
    return value


def in_place(x, d):
    x -= x.mean(0)
    return pca(x, d)


def scalar_mean(x, d):
    basis = torch.linalg.svd(x - x.mean(), full_matrices=False)[2][:d]
    return (x - x.mean()) @ basis.T @ basis + x.mean()


def columns_of_vh(x, d):
    basis = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][:, :d]
    return (x - x.mean(0)) @ basis @ basis.T + x.mean(0)


def dropout_on(model, batches):
    with torch.no_grad():
        return float(torch.cat([(x - model(x)).square().sum(1) for x in batches]).mean())


def line(z_a, z_b, t):
    return (1 - t) * z_a + t * z_b


WEIGHTS = 784 * 128 + 128 * 16 + 16 * 128 + 128 * 784
ENCODER = 784 * 128 + 128 + 128 * 16 + 16

SOLUTIONS = {
    "exercise_1": lambda x, x_hat: squares(x, x_hat).flatten(1).sum(1).mean(),
    "exercise_2": WEIGHTS + 128 + 16 + 128 + 784,
    "exercise_3": pca,
    "exercise_4": lambda error, D: math.sqrt(error / D),
    "exercise_5": lambda model, batches: float(torch.cat(errors_of(model, batches)).mean()),
    "exercise_6": lambda a, b, n: line(a, b, torch.linspace(0, 1, n)[:, None]),
}

WRONG = [
    ("exercise_1", lambda x, x_hat: squares(x, x_hat).mean(), "averaged over the pixels"),
    ("exercise_1", lambda x, x_hat: squares(x, x_hat).sum(), "summed over the images"),
    ("exercise_1", lambda x, x_hat: squares(x, x_hat).flatten(1).sum(1), "one value per image"),
    ("exercise_1", lambda x, x_hat: (x - x_hat).abs().flatten(1).sum(1).mean(), "absolute"),
    ("exercise_1", lambda x, x_hat: squares(x, x_hat).flatten(1).sum(1).sqrt().mean(), "root"),
    ("exercise_1", lambda x, x_hat: squares(x, x_hat).mean() * 3, "on a random batch"),
    ("exercise_1", squares, "shape"),
    ("exercise_1", lambda x, x_hat: squares(x, x_hat).flatten(1).sum(1).mean().item(), "graph"),
    ("exercise_1", lambda x, x_hat: squares(x, x_hat.detach()).flatten(1).sum(1).mean(), "graph"),
    ("exercise_1", lambda x, x_hat: squares(x, x_hat).flatten(1).sum(1).mean() / 2, "½"),
    ("exercise_1", lambda x, x_hat: (x - x_hat).flatten(1).sum(1).mean(), "nothing is squared"),
    ("exercise_1", lambda x, x_hat: (x_hat - x).flatten(1).sum(1).mean(), "nothing is squared"),
    ("exercise_2", WEIGHTS, "biases are missing"),
    ("exercise_2", WEIGHTS + 784 + 128 + 16 + 128 + 784, "input is data"),
    ("exercise_2", ENCODER, "encoder alone"),
    ("exercise_2", 2 * ENCODER, "belong to its outputs"),
    ("exercise_2", ENCODER + 128 + 784, "tied"),
    ("exercise_2", 12345, "four layers of"),
    ("exercise_2", True, "four layers of"),
    ("exercise_3", lambda x, d: pca(x, d, add=False), "mean is missing"),
    ("exercise_3", lambda x, d: pca(x, d, centre=False), "not centred"),
    ("exercise_3", lambda x, d: pca(x, d, last=True), "least variance"),
    ("exercise_3", in_place, "x itself has changed"),
    ("exercise_3", scalar_mean, "one number"),
    ("exercise_3", columns_of_vh, "columns of Vh"),
    ("exercise_3", lambda x, d: x[:, :d], "that looks like the code"),
    ("exercise_3", lambda x, d: pca(x, d + 1), "not PCA's reconstruction"),
    ("exercise_3", lambda x, d: x, "not PCA's reconstruction"),
    ("exercise_4", lambda error, D: error / D, "variance"),
    ("exercise_4", lambda error, D: math.sqrt(error), "one: divide by D"),
    ("exercise_4", lambda error, D: math.sqrt(error / (2 * D)), "2σ²) cancels"),
    ("exercise_4", lambda error, D: math.sqrt(2 * error / D), "σ² cancels"),
    ("exercise_4", lambda error, D: math.sqrt(error) / D, "quotient"),
    ("exercise_4", lambda error, D: math.sqrt(error / 784), "784 is fixed"),
    ("exercise_4", lambda error, D: math.sqrt(error / D) + (D == 20), "20 pixels"),
    ("exercise_4", lambda error, D: 1.0, "derivative"),
    ("exercise_5", steps, "weights have changed"),
    ("exercise_5", backward_only, "gradients were left"),
    ("exercise_5", left_in_eval, "training mode"),
    ("exercise_5", with_graph, "graph:"),
    ("exercise_5", dropout_on, "dropout"),
    ("exercise_5", graph_built, "graph was built"),
    ("exercise_5", always_train, "evaluation mode"),
    ("exercise_5", only_top_restored, "training mode"),
    ("exercise_5", clears_gradients, "from before"),
    ("exercise_5", lambda m, b: torch.cat(errors_of(m, b)).mean(), "is a tensor"),
    ("exercise_5", lambda m, b: float(torch.stack([e.mean() for e in errors_of(m, b)]).mean() / 5), "two slips"),
    ("exercise_5", lambda m, b: float(torch.stack([e.mean() for e in errors_of(m, b)]).mean()), "last batch too much:"),
    (
        "exercise_5",
        lambda m, b: float(torch.cat(errors_of(m, b)).mean() / 5),
        "averaged over the D values of an image as well:",
    ),
    ("exercise_5", lambda m, b: float(torch.cat(errors_of(m, b)).sum()), "divide by their number"),
    ("exercise_5", lambda m, b: 0.0, "the error is"),
    ("exercise_6", lambda a, b, n: line(b, a, torch.linspace(0, 1, n)[:, None]), "from z_b to z_a"),
    ("exercise_6", lambda a, b, n: line(a, b, torch.arange(n)[:, None] / n), "stops short"),
    ("exercise_6", lambda a, b, n: a + torch.linspace(0, 1, n)[:, None] * b, "fade"),
    ("exercise_6", lambda a, b, n: line(a, b, torch.linspace(0, 1, n)[:, None]).T, "shape"),
    ("exercise_6", lambda a, b, n: [line(a, b, k / (n - 1)) for k in range(n)], "stack"),
    ("exercise_6", lambda a, b, n: line(a, b, torch.linspace(0, 1, n)[:, None] ** 2), "not the even points"),
]


class TestAnswers(Answers):
    check, solutions, wrong = check, SOLUTIONS, WRONG
    as_it_is = ("exercise_1", "exercise_5", "exercise_6")
