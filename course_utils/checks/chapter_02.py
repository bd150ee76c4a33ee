"""Checks of chapter 02, the autoencoder."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.checks import Function, Misconception, as_tensor, compare, compare_all, exercise, expect_graph, near
from course_utils.checks.inputs import rand, randn


@exercise("2.1")
def exercise_1(best_sigma: Function) -> str:
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
        lambda e, n: math.sqrt(n / e): "the quotient is upside down: a larger error needs a wider Gaussian",
    }
    otherwise = (
        "for error {0} and {1} pixels the best σ is {right:.4f}, yours {value:.4f}; "
        "set the derivative of (2.1) by σ² to zero"
    )
    drawn = round(1 + 40 * rand(1, seed=21).item(), 3)
    cases = [(19.6, 784), (5.0, 20), (drawn, 3072), (3 * drawn, 7)]
    compare_all(best_sigma, cases, lambda e, n: math.sqrt(e / n), slips, otherwise)
    return "the best σ² is the squared error of one pixel"


@exercise("2.2")
def exercise_2(test_error: Function) -> str:
    """Mean error over unequal batches, nothing changed."""
    for size, frozen in ((5, False), (9, True)):
        inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        model = nn.Sequential(nn.Linear(size, 4), inner, nn.Linear(4, size))
        inner.train(not frozen)
        batches = [torch.randn(n, size) * k for n, k in ((8, 1.0), (size + 3, 1.5), (2, 4.0))]
        value, modes, graphs = _watched(test_error, model, batches)
        if any(p.grad is not None for p in model.parameters()):
            raise Misconception("gradients were left behind, and a later step may use them: no backward in a test")
        if isinstance(value, Tensor):
            graph = "still carries its graph: compute under torch.no_grad() and" * value.requires_grad or "is a tensor:"
            raise Misconception(f"the result {graph} return a float")
        _judge_mean(as_tensor(value, ()), model, batches, dropout=any(modes))
        if any(graphs):
            raise Misconception("the value is right, but a graph was built for every batch: use torch.no_grad()")
    for p in model.train().parameters():
        p.grad = torch.ones_like(p)
    _watched(test_error, model.eval(), batches)
    if any(p.grad is None or not torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters()):
        raise Misconception(
            "the gradients from before the test are gone or different: no zero_grad, no backward when testing"
        )
    return "and it left no trace"


def _watched(test_error: Function, model: nn.Module, batches: list[Tensor]) -> tuple[Any, list[bool], list[bool]]:
    """Call the answer; return its value, and for every pass whether dropout was on and whether a graph was built."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    own, asked = [(m, m.training) for m in model.modules()], [p.requires_grad for p in model.parameters()]
    modes: list[bool] = []
    graphs: list[bool] = []

    def watch(module: nn.Module, inputs: Any, output: Any) -> None:
        modes.append(any(part.training for part in module.modules()))
        graphs.append(output.requires_grad)

    handle = model.register_forward_hook(watch)
    enabled = torch.is_grad_enabled()
    try:
        value = test_error(model, [b.clone() for b in batches])
        left_off = torch.is_grad_enabled() != enabled
    finally:
        handle.remove()
        torch.set_grad_enabled(enabled)
    if value is None:
        raise Misconception("your function returned nothing: it ends without a return")
    now = [module.training for module, _ in own]
    for module, mode in own:
        module.training = mode
    changed = [name for name, value in model.state_dict().items() if not torch.equal(before[name], value)]
    if changed:
        raise Misconception("the weights have changed: testing must not step the optimiser (patient 1 of the clinic)")
    _judge_modes([mode for _, mode in own], now)
    if left_off or asked != [p.requires_grad for p in model.parameters()]:
        raise Misconception("gradients were left switched off for all that follows: use `with torch.no_grad():`")
    return value, modes, graphs


def _judge_modes(before: list[bool], now: list[bool]) -> None:
    if before == now:
        return
    if len(set(before)) > 1 and len(set(now)) == 1:
        raise Misconception(
            "one part of the model was frozen in evaluation mode and is in training mode now: model.train() sets all "
            "parts alike. Remember `training` of every module in model.modules() and put each back"
        )
    words = ("training", "any more") if before[0] else ("evaluation", "any more; do not switch training on unasked")
    raise Misconception(
        f"the model was in {words[0]} mode and is not (in all its parts) {words[1]}: remember the mode of each of "
        "model.modules() and put it back"
    )


def _judge_mean(value: Tensor, model: nn.Module, batches: list[Tensor], *, dropout: bool) -> None:
    own, size = [(module, module.training) for module in model.modules()], len(batches[0][0])
    model.eval()
    with torch.no_grad():
        each = [(b - model(b)).square().sum(1) for b in batches]
    for module, mode in own:
        module.training = mode
    right, unweighted = torch.cat(each).mean(), torch.stack([e.mean() for e in each]).mean()
    slips = {
        unweighted: "the mean of batch means counts the small last batch too much: weight by size, see (2.3)",
        right / size: "you averaged over the D values of an image as well: sum over these, mean over images",
        unweighted / size: "two slips: you averaged over the D values of an image as well, and then took the mean "
        "of batch means, which counts the small last batch too much, see (2.3)",
        right * sum(map(len, batches)): "that is the sum over all images; divide by their number",
    }
    otherwise = f"the error is {right:.4f}, yours {value:.4f}; compare with the loop of section 2 and (2.3)"
    if dropout:
        slips, otherwise = {}, "dropout is on, so the error differs from call to call: model.eval() while testing"
    compare(value, right, slips, otherwise)


@exercise("2.3")
def exercise_3(pca_reconstruction: Function) -> str:
    """Reconstruction of the training rows from d principal components."""
    for rows, size, d in ((40, 6, 2), (25, 11, 5), (9, 12, 1)):
        scales = torch.linspace(1.2, -1.5, size).exp()
        _judge_pca(pca_reconstruction, randn(rows, size, seed=rows) * scales + 4 + rand(size, seed=d), d)
    return "no other reconstruction of that rank has a smaller error"


def _judge_pca(pca_reconstruction: Function, x: Tensor, d: int) -> None:
    given, mean = x.clone(), x.mean(0)
    answer = as_tensor(pca_reconstruction(given, d))
    if not torch.equal(given, x):
        raise Misconception("x itself has changed: `x -= …` writes into the caller's data; make a new tensor, x - mean")
    answer = as_tensor(
        answer, x.shape, "; that looks like the code, now go back to D dimensions" * (answer.shape == (len(x), d))
    )
    vectors, raw, overall = (torch.linalg.svd(x - m, full_matrices=False)[2] for m in (mean, 0, x.mean()))

    def projected(centre: Tensor | float, basis: Tensor) -> Tensor:
        return (x - centre) @ basis.T @ basis

    inside, last = projected(mean, vectors[:d]), projected(mean, vectors[-d:])
    columns = projected(mean, vectors[:, :d].T) + mean if vectors.shape[0] == vectors.shape[1] else None
    slips = {
        columns: "you took columns of Vh: `svd` returns the components as its *rows*, Vh[:d]",
        projected(x.mean(), overall[:d]) + x.mean(): "you subtracted one number, the mean of all entries; each column "
        "has its own: x.mean(0)",
        (
            projected(0, vectors[:d]),
            projected(0, vectors[:d]) + mean,
        ): "the directions are right, but x − mean has to be projected, not x",
        inside: "the mean is missing: you subtracted it before projecting, so add it again at the end",
        projected(0, raw[:d]): "the data were not centred: without subtracting the mean the first direction points "
        "roughly at the mean, and not along the largest variance",
        (last + mean, last): "these are the directions of least variance; PCA keeps the largest eigenvalues",
    }
    otherwise = "not PCA's reconstruction: centre, project on the first d rows of Vh, go back, add the mean; see (2.4)"
    compare(answer, inside + mean, slips, otherwise)


@exercise("2.4")
def exercise_4(sparse_objective: Function) -> str:
    """A penalty on activity that no rescaling of the code can dodge."""
    for rows, size, units, weight in ((3, 5, 5, 0.02), (7, 12, 5, 0.3), (4, 6, 9, 1.7)):
        model, x = _Sparse(size, units), rand(rows, size, seed=units).float()
        terms = sparse_objective(model, x, weight)
        if not isinstance(terms, dict) or set(terms) != {"loss", "reconstruction", "activity"}:
            kind = f"a dict with {sorted(terms)}" if isinstance(terms, dict) else f"a {type(terms).__name__}"
            kind = "nothing: it ends without a return" if terms is None else kind
            raise Misconception(f"your function returned {kind}; asked are loss, reconstruction and activity")
        with torch.no_grad():
            z = model.encoder(x)
            errors, lengths = (x - model.decoder(z)).square().sum(1), model.out.weight.norm(dim=0)
        _judge_terms(terms, errors, z, lengths, model.out.weight.detach(), weight)
        for term in terms.values():
            expect_graph(term)
        reached = {"penalty does not reach the decoder's weights": (terms["activity"], model.out.weight)}
        reached["penalty does not reach the encoder's weights"] = terms["activity"], model.into.weight
        reached["squared error in the loss has no gradient"] = terms["loss"], model.out.bias
        for words, (term, part) in reached.items():
            if torch.autograd.grad(term, part, retain_graph=True, allow_unused=True)[0] is None:
                raise Misconception(f"the {words}: something on the way was detached")
    return "a unit pays for what it draws, in whatever unit its code is measured"


class _Sparse(nn.Module):
    def __init__(self, size: int, units: int):  # codes of both signs, strokes of different lengths
        super().__init__()
        self.into, self.out = nn.Linear(size, units), nn.Linear(units, size)
        self.encoder, self.decoder = nn.Sequential(self.into), nn.Sequential(self.out)
        with torch.no_grad():
            self.out.weight.mul_(torch.linspace(0.5, 3, units))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def _judge_terms(terms: Any, errors: Tensor, z: Tensor, lengths: Tensor, strokes: Tensor, weight: float) -> None:
    right = (z.abs() * lengths).sum(1).mean()
    rows = strokes.norm(dim=1)
    slips = {
        z.abs().sum(1).mean(): "the lengths are missing: halving the codes and doubling the decoder's weights changes "
        "no drawing, but your penalty; multiply |z_k| by the length of column k",
        (z * lengths).sum(1).mean(): "codes of both signs cancel: the penalty counts |z|, how much is drawn",
        (z.abs() * lengths).sum(): "you summed over the images as well: average over the batch",
        (z.abs() * lengths).mean(): "you averaged over the units; sum over them, average over images",
        (z.abs() * lengths**2).sum(1).mean(): "you took squared lengths: a penalty that rescaling can still dodge",
        (z.square() * lengths.square()).sum(1).mean(): "squares make a small activity cost nearly "
        "nothing; asked is |z_k| times the length",
        (z.abs() * rows).sum(1).mean() if len(rows) == len(lengths) else None: "these are the lengths of the rows, one "
        "for each pixel; unit k draws with column k",
        (z.abs() @ strokes.abs().T).sum(1).mean(): "you summed |weights|; the length of a column is the root of its "
        "summed squares",
        weight * right: "the weight belongs into the loss only: return the activity itself",
        lengths.sum(): "the codes are missing: that penalises weights, not activity",
    }
    otherwise = "the activity is the mean over images of the sum over units of |z_k| times the length of column k"
    compare(as_tensor(terms["activity"], ()), right, {k: m for k, m in slips.items() if k is not None}, otherwise)
    slips = {
        errors.sum(): "the squared error is summed over the images as well: average over the batch",
        errors.mean() / strokes.shape[0]: "the squared error is averaged over the pixels: sum over them",
    }
    compare(
        as_tensor(terms["reconstruction"], ()),
        errors.mean(),
        slips,
        "the reconstruction is the squared error summed over the pixels",
    )
    slips = {
        errors.mean() + right: "the weight is missing before the penalty",
        errors.mean(): "the loss lacks the penalty",
        errors.mean() - weight * right: "the penalty is subtracted: that rewards activity",
    }
    whole = errors.mean() + weight * right
    compare(as_tensor(terms["loss"], ()), whole, slips, "the loss is not reconstruction + weight · activity")


@exercise("2.5")
def exercise_5(draw: Function) -> str:
    """Draws from a mixture of Gaussians: ``draw(weights, means, covariances, count)`` → (count, d)."""
    for d, parts in ((2, 3), (5, 2)):
        factors = torch.tril(randn(parts, d, d, seed=d)) + 2 * torch.eye(d)
        means = 60 * torch.eye(d, dtype=torch.float64)[torch.arange(parts) % d] * torch.arange(1, parts + 1)[:, None]
        weights = torch.tensor([0.6, 0.3, 0.1][:parts]) / sum([0.6, 0.3, 0.1][:parts])
        covariances, count = factors @ factors.mT, 20_000
        given = weights.float(), means.float(), covariances.float(), count  # the type that torch.randn has
        x = as_tensor(draw(*given), (count, d), ": one code in each row")
        first, again = (as_tensor(draw(*given[:3], 40), (40, d)) for _ in range(2))
        if torch.equal(first, again):
            raise Misconception("two calls give the same draws: do not fix the seed inside the function")
        _judge_draws(x, weights.double(), means, covariances)
        few = [as_tensor(draw(*given[:3], 40), (40, d)) for _ in range(6)]
        counts = {tuple(torch.bincount(torch.cdist(c, means).argmin(1), minlength=parts).tolist()) for c in few}
        if len(counts) == 1:
            raise Misconception("every call draws each component the same number of times: choose anew, by chance")
    return "first a component by its weight, then a draw of this component"


def _judge_draws(x: Tensor, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
    if len(x.unique(dim=0)) < 0.9 * len(x):
        raise Misconception("draws are repeated: each row needs a draw of its own")
    distance, owner = torch.cdist(x, means).min(1)
    shares = torch.bincount(owner, minlength=len(means)) / len(x)
    reach = 6 * max(float(torch.linalg.eigvalsh(c)[-1]) for c in covariances) ** 0.5
    if near(x.mean(0), weights @ means, rtol=0.1, atol=1.5) and (distance > reach).float().mean() > 0.5:
        raise Misconception(
            "the draws lie between the components: you averaged means (or added draws of all components) by weight. "
            "A mixture chooses ONE component for each draw"
        )
    if (distance > reach).float().mean() > 0.01:
        raise Misconception("many draws lie far from every component: is a covariance used as if it were its root?")
    if shares.max() > 0.999:
        raise Misconception("all draws come from one component: choose anew for every draw")
    if (shares - weights).abs().max() > 0.03:
        even = (shares - 1 / len(means)).abs().max() < 0.03
        words = "equally often: choose by `weights`" if even else f"with shares {shares.numpy().round(2)}"
        raise Misconception(f"the components are drawn {words}; their weights are {weights.numpy().round(2)}")
    order = torch.unique_consecutive(owner)
    if len(order) <= len(means):
        raise Misconception("the draws are sorted by component; each row should be chosen independently of the others")
    for k, right in enumerate(covariances):
        found = torch.cov(x[owner == k].T)
        size, factor = right.diagonal().mean(), torch.linalg.cholesky(right)
        known = {
            "the Cholesky factor is transposed: rows are ε Lᵀ": factor.mT @ factor,
            "only the diagonal is used: the coordinates of a component hang together": torch.diag(right.diagonal()),
            "there is no spread as the covariances say": torch.eye(len(right)).double(),
        }
        off = float((found - right).abs().max() / size)
        if off > 0.25:
            nearest = min(known, key=lambda words: float((found - known[words]).abs().max()))
            close = float((found - known[nearest]).abs().max() / known[nearest].diagonal().mean()) < 0.25
            words = nearest if close else "compare torch.cov of the draws near one mean with its covariance"
            raise Misconception(f"the spread within component {k} is not that of its covariance; {words}")


@exercise("2.6")
def exercise_6(honest_accuracy: Function) -> str:
    """Accuracy on test data of the setting that validation data choose."""
    for settings, draws, seed in ((12, 4, 216), (12, 4, 57), (8, 4, 155)):
        valid, test = rand(settings, draws, seed=seed), rand(settings, draws, seed=seed + 50)
        chosen = valid.mean(1).argmax()
        right, best_test = test[chosen].mean(), test.mean(1).max()
        by_median, by_draw = (test[v.argmax()].mean() for v in (valid.quantile(0.5, dim=1), valid.amax(1)))
        slips = {
            by_median: "that is the setting with the best *median*; asked is the best mean over the draws",
            by_draw: "that is the setting with the best single draw; asked is the best mean",
            best_test: "that is the best setting of the *test* table: a number chosen "
            "on test data is no fair estimate any more; choose on `valid`",
            test.amax(0).mean(): "that takes for every draw the best test value; choose one setting, on `valid`",
            valid[chosen].mean(): "the setting is chosen well, but its accuracy must come from the test table",
            test.gather(0, valid.argmax(0)[None]).mean(): "that chooses a setting anew for every draw; the question "
            "asks for one setting, by its mean over the draws",
            test.mean(): "that is the mean over all settings; report the chosen one",
            test[valid.mean(1).argmin()].mean(): "that is the worst setting on validation data",
        }
        answer = as_tensor(honest_accuracy(valid.numpy().copy(), test.numpy().copy()), ())
        otherwise = f"to report is {right:.4f}, yours is {answer:.4f}: choose by valid.mean(1), report from test"
        compare(answer, right, slips, otherwise)
    return "chosen on one half, reported from the other"
