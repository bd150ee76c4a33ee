"""Every check of chapter 02 passes its solution and names the misconception behind each wrong answer."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers.answers import Answers

from course_utils.checks import chapter_02 as check


def pca(x, d, *, centre=True, add=True, last=False):
    mean = x.mean(0) if centre else torch.zeros_like(x[0])
    vectors = torch.linalg.svd(x - mean, full_matrices=False)[2]
    basis = vectors[-d:] if last else vectors[:d]
    return (x - mean) @ basis.T @ basis + (mean if add else 0)


def errors_of(model, batches):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        errors = [(x - model(x)).square().sum(1) for x in batches]
    for module, mode in modes:
        module.training = mode
    return errors


def mean_of(model, batches):
    return float(torch.cat(errors_of(model, batches)).mean())


def thaws_parts(model, batches):
    mode = model.training
    value = mean_of(model, batches)
    model.train(mode)
    return value


def grad_left_off(model, batches):
    torch.set_grad_enabled(False)
    return mean_of(model, batches)


def requires_no_grad(model, batches):
    model.requires_grad_(False)
    return mean_of(model, batches)


def nothing(model, batches):
    mean_of(model, batches)


def detached_weights(model, batches):
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    errors = [(x - torch.func.functional_call(model, weights, x)).square().sum(1) for x in batches]
    for module, mode in modes:
        module.training = mode
    return float(torch.cat(errors).mean())


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
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    value = sum((x - model(x)).square().sum().item() for x in batches) / sum(map(len, batches))
    for module, mode in modes:
        module.training = mode
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


def sparse(model, x, weight, *, norm=lambda w: w.norm(dim=0), size=torch.abs, total=lambda a: a.sum(1).mean(), sign=1):
    z = model.encoder(x)
    error = (x - model.decoder(z)).square().sum(1).mean()
    activity = total(size(z) * norm(model.decoder[0].weight))
    return {"loss": error + sign * weight * activity, "reconstruction": error, "activity": activity}


def with_terms(**changes):
    def answer(model, x, weight):
        terms = sparse(model, x, weight)
        return terms | {name: change(terms, weight) for name, change in changes.items()}

    return answer


def draw(weights, means, covariances, count, *, even=False, sort=False, root=torch.linalg.cholesky, turn=False):
    chosen = torch.multinomial(torch.ones_like(weights) if even else weights, count, replacement=True)
    chosen = chosen.sort().values if sort else chosen
    noise = torch.randn(count, means.shape[1], dtype=means.dtype)
    factors = root(covariances)
    factors = factors.mT if turn else factors
    return means[chosen] + torch.einsum("nij,nj->ni", factors[chosen], noise)


def plainly(weights, means, covariances, count):
    chosen = torch.multinomial(weights, count, replacement=True)
    noise = torch.randn(count, means.shape[1])
    return means[chosen] + (torch.linalg.cholesky(covariances)[chosen] @ noise[:, :, None])[:, :, 0]


def fixed_counts(weights, means, covariances, count):
    counts = (weights * count).round().long()
    counts[0] += count - counts.sum()
    chosen = torch.repeat_interleave(torch.arange(len(counts)), counts)[torch.randperm(count)]
    noise = torch.randn(count, means.shape[1])
    return means[chosen] + (torch.linalg.cholesky(covariances)[chosen] @ noise[:, :, None])[:, :, 0]


def averaged(weights, means, covariances, count):
    noise = torch.randn(count, means.shape[1], dtype=means.dtype)
    return weights @ means + noise @ torch.linalg.cholesky((weights[:, None, None] * covariances).sum(0)).T


def one_for_all(weights, means, covariances, count):
    k = int(torch.multinomial(weights, 1))
    noise = torch.randn(count, means.shape[1], dtype=means.dtype)
    return means[k] + noise @ torch.linalg.cholesky(covariances[k]).T


def fixed_seed(*given):
    torch.manual_seed(5)
    return draw(*given)


def by_numpy(weights, means, covariances, count):
    rng = np.random.default_rng()
    chosen = rng.choice(len(weights), count, p=np.asarray(weights) / np.asarray(weights).sum())
    return np.stack([rng.multivariate_normal(means[k].numpy(), covariances[k].numpy()) for k in chosen])


def by_torch(weights, means, covariances, count):
    parts = torch.distributions.MultivariateNormal(means, covariances)
    whole = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(weights), parts)
    return whole.sample((count,))


def honest(valid, test):
    return np.asarray(test)[np.asarray(valid).mean(1).argmax()].mean()


SOLUTIONS = {
    "exercise_1": lambda error, D: math.sqrt(error / D),
    "exercise_2": mean_of,
    "exercise_3": pca,
    "exercise_4": sparse,
    "exercise_5": draw,
    "exercise_6": honest,
}

RIGHT = [
    ("exercise_1", lambda error, D: np.float32(np.sqrt(error / D))),
    ("exercise_2", detached_weights),
    ("exercise_3", lambda x, d: pca(x.double(), d).numpy()),
    ("exercise_4", partial(sparse, norm=lambda w: w.square().sum(0).sqrt())),
    ("exercise_5", by_numpy),
    ("exercise_5", by_torch),
    ("exercise_5", plainly),
    ("exercise_6", lambda valid, test: float(test[np.argmax(valid.sum(1))].sum() / test.shape[1])),
    ("exercise_6", lambda valid, test: torch.tensor(test)[torch.tensor(valid).mean(1).argmax()].mean()),
]

WRONG = [
    ("exercise_3", lambda x, d: pca(x, d, add=False), "mean is missing"),
    ("exercise_3", lambda x, d: pca(x, d, centre=False), "not centred"),
    ("exercise_3", lambda x, d: pca(x, d, last=True), "least variance"),
    ("exercise_3", in_place, "x itself has changed"),
    ("exercise_3", scalar_mean, "one number"),
    ("exercise_3", columns_of_vh, "columns of Vh"),
    ("exercise_3", lambda x, d: x[:, :d], "that looks like the code"),
    ("exercise_3", lambda x, d: pca(x, d + 1), "not PCA's reconstruction"),
    ("exercise_3", lambda x, d: x, "not PCA's reconstruction"),
    ("exercise_1", lambda error, D: error / D, "variance"),
    ("exercise_1", lambda error, D: math.sqrt(error), "one: divide by D"),
    ("exercise_1", lambda error, D: math.sqrt(error / (2 * D)), "2σ²) cancels"),
    ("exercise_1", lambda error, D: math.sqrt(2 * error / D), "σ² cancels"),
    ("exercise_1", lambda error, D: math.sqrt(error) / D, "quotient"),
    ("exercise_1", lambda error, D: math.sqrt(error / 784), "784 is fixed"),
    ("exercise_1", lambda error, D: math.sqrt(error / D) + (D == 20), "20 pixels"),
    ("exercise_1", lambda error, D: 1.0, "derivative"),
    ("exercise_2", steps, "weights have changed"),
    ("exercise_2", backward_only, "gradients were left"),
    ("exercise_2", left_in_eval, "training mode"),
    ("exercise_2", with_graph, "graph:"),
    ("exercise_2", dropout_on, "dropout"),
    ("exercise_2", graph_built, "graph was built"),
    ("exercise_2", always_train, "evaluation mode"),
    ("exercise_2", only_top_restored, "training mode"),
    ("exercise_2", clears_gradients, "from before"),
    ("exercise_2", lambda m, b: torch.cat(errors_of(m, b)).mean(), "is a tensor"),
    ("exercise_2", lambda m, b: float(torch.stack([e.mean() for e in errors_of(m, b)]).mean() / 5), "two slips"),
    ("exercise_2", lambda m, b: float(torch.stack([e.mean() for e in errors_of(m, b)]).mean()), "last batch too much:"),
    (
        "exercise_2",
        lambda m, b: float(torch.cat(errors_of(m, b)).mean() / 5),
        "averaged over the D values of an image as well:",
    ),
    ("exercise_2", lambda m, b: float(torch.cat(errors_of(m, b)).sum()), "divide by their number"),
    ("exercise_2", lambda m, b: 0.0, "the error is"),
    ("exercise_1", lambda error, D: math.sqrt(D / error), "upside down"),
    ("exercise_1", lambda error, D: 0.3, "derivative"),
    ("exercise_2", thaws_parts, "frozen"),
    ("exercise_2", grad_left_off, "switched off"),
    ("exercise_2", requires_no_grad, "switched off"),
    ("exercise_2", nothing, "without a return"),
    ("exercise_3", lambda x, d: pca(x, 2), "not PCA's reconstruction"),
    ("exercise_4", partial(sparse, norm=lambda w: torch.ones(w.shape[1])), "lengths are missing"),
    ("exercise_4", partial(sparse, size=lambda z: z), "cancel"),
    ("exercise_4", partial(sparse, total=torch.sum), "summed over the images"),
    ("exercise_4", partial(sparse, total=torch.mean), "averaged over the units"),
    ("exercise_4", partial(sparse, norm=lambda w: w.square().sum(0)), "squared lengths"),
    (
        "exercise_4",
        lambda m, x, b: sparse(m, x, b, size=torch.square, norm=lambda w: w.square().sum(0)),
        "squares make",
    ),
    ("exercise_4", partial(sparse, norm=lambda w: w.abs().sum(0)), "|weights|"),
    ("exercise_4", partial(sparse, norm=lambda w: w.norm(dim=0).detach()), "reach the decoder's"),
    ("exercise_4", partial(sparse, size=lambda z: z.detach().abs()), "reach the encoder's"),
    ("exercise_4", with_terms(activity=lambda t, b: t["activity"].item()), "graph"),
    ("exercise_4", with_terms(reconstruction=lambda t, b: t["reconstruction"].detach()), "graph"),
    (
        "exercise_4",
        with_terms(loss=lambda t, b: t["reconstruction"].detach() + b * t["activity"]),
        "squared error in the loss has no gradient",
    ),
    ("exercise_4", partial(sparse, size=torch.ones_like), "codes are missing"),
    ("exercise_4", partial(sparse, norm=lambda w: w.norm()), "mean over images of"),
    ("exercise_4", partial(sparse, sign=-1), "subtracted"),
    ("exercise_4", with_terms(loss=lambda t, b: t["reconstruction"] + t["activity"]), "weight is missing"),
    ("exercise_4", with_terms(loss=lambda t, b: t["reconstruction"]), "lacks the penalty"),
    ("exercise_4", with_terms(loss=lambda t, b: t["loss"].detach()), "graph"),
    ("exercise_4", with_terms(reconstruction=lambda t, b: t["reconstruction"] / 1000), "squared error summed"),
    ("exercise_4", lambda m, x, b: sparse(m, x, b)["loss"], "returned a Tensor"),
    ("exercise_4", lambda m, x, b: {"loss": sparse(m, x, b)["loss"]}, "asked are"),
    ("exercise_5", averaged, "between the components"),
    ("exercise_5", one_for_all, "one component"),
    ("exercise_5", partial(draw, even=True), "equally often"),
    ("exercise_5", partial(draw, sort=True), "sorted"),
    ("exercise_5", partial(draw, root=lambda c: c), "if it were its root"),
    ("exercise_5", partial(draw, turn=True), "transposed"),
    ("exercise_5", partial(draw, root=lambda c: torch.diag_embed(c.diagonal(dim1=1, dim2=2).sqrt())), "diagonal"),
    ("exercise_5", partial(draw, root=lambda c: torch.eye(c.shape[1]).expand_as(c)), "no spread"),
    ("exercise_5", fixed_seed, "same draws"),
    ("exercise_5", lambda w, m, c, n: draw(w, m, c, n).T, "shape"),
    ("exercise_5", fixed_counts, "same number of times"),
    ("exercise_5", lambda w, m, c, n: draw(w, m, c, n // 2).repeat(2, 1), "repeated"),
    ("exercise_6", lambda valid, test: test[valid.max(1).argmax()].mean(), "best single draw"),
    ("exercise_6", lambda valid, test: test[(valid.mean(1) - valid.std(1)).argmax()].mean(), "to report is"),
    ("exercise_5", lambda w, m, c, n: draw(w, m, c, 1), "shape"),
    ("exercise_6", lambda valid, test: test.mean(1).max(), "*test* table"),
    ("exercise_6", lambda valid, test: test.max(0).mean(), "best test value"),
    ("exercise_6", lambda valid, test: valid.mean(1).max(), "must come from the test"),
    ("exercise_6", lambda valid, test: test[valid.argmax(0), np.arange(test.shape[1])].mean(), "anew for every draw"),
    ("exercise_6", lambda valid, test: test.mean(), "all settings"),
    ("exercise_6", lambda valid, test: test[np.median(valid, 1).argmax()].mean(), "median"),
    ("exercise_6", lambda valid, test: test[valid.mean(1).argmin()].mean(), "worst"),
    ("exercise_6", lambda valid, test: test[-1, 0], "to report is"),
    ("exercise_6", lambda valid, test: test[valid.mean(1).argmax()], "one number"),
]


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_2", "exercise_4", "exercise_5")


@pytest.mark.parametrize("seed", range(8))
def test_a_right_sampler_passes_whatever_it_draws(seed):
    def other_draws(*given):
        torch.manual_seed(int(torch.randint(2**30, ())) + seed)
        return draw(*given)

    assert check.exercise_5.judge(other_draws).status == "passed"
