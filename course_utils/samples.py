"""A set of samples against another: Parzen windows, MMD, Fréchet, precision, recall, coverage, two-sample tests.

Every function takes points (N, …) of one size, as rows; other sizes, too few points, bytes beside floats, and values
that are not finite are a ``ValueError`` that names the set and the row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import psutil
import torch
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor


def parzen_log_likelihood(samples: Tensor, test: Tensor, bandwidth: float, *, chunk: int = 500) -> Tensor:
    """Log-density of held-out points (M, …) under a Gaussian window on each of N samples (N, …) → (M,) nats, float64.

    log p(t) = log (1/N) Σ_i N(t; s_i, σ² I), σ in units of the data, never chosen on the test data. ``chunk`` test
    points at a time (memory for chunk · N numbers), on centred data with ‖t − s‖² as one matrix product: in float32, on
    digits within 0.001 nats of a float64 sum at σ = 0.17; where σ is too small for that, in float64. Breuleux, Bengio &
    Vincent 2011, as in Goodfellow et al. 2014, arXiv 1406.2661; its worth: Theis et al. 2015, arXiv 1511.01844.
    """
    return _parzen(samples, test, [bandwidth], chunk)[0]


def select_bandwidth(
    samples: Tensor, valid: Tensor, bandwidths: Sequence[float] | None = None, *, chunk: int = 500
) -> tuple[float, np.ndarray]:
    """Choose the window that gives validation data, not the test data, the greatest mean log-likelihood.

    Returns the best σ of ``bandwidths``, ascending (25 from 0.05 to 1, evenly spaced in their logarithm, if not given),
    and the means (len(bandwidths),) of all, in nats. The first or last of several as the best is a ``ValueError``.
    """
    bandwidths = np.geomspace(0.05, 1, 25).tolist() if bandwidths is None else [float(b) for b in bandwidths]
    if bandwidths != sorted(bandwidths):
        raise ValueError(f"bandwidths must ascend, got {bandwidths}")
    means = _parzen(samples, valid, bandwidths, chunk).mean(1).numpy()
    best = int(means.argmax())
    if len(bandwidths) > 1 and best in (0, len(bandwidths) - 1):
        ends = f"they ran from {bandwidths[0]:.4g} to {bandwidths[-1]:.4g}"
        raise ValueError(f"the best bandwidth is at the edge, {bandwidths[best]:.4g}: try values beyond it, {ends}")
    return bandwidths[best], means


def _parzen(samples: Tensor, test: Tensor, bandwidths: Sequence[float], chunk: int) -> Tensor:
    """Log-likelihoods (bandwidths, M); distances are computed once for all bandwidths."""
    for bandwidth in bandwidths:
        if not (0 < bandwidth < math.inf):
            raise ValueError(f"bandwidth = {bandwidth} must be positive and finite, in units of the data")
    if not bandwidths or chunk < 1:
        raise ValueError(f"{len(bandwidths)} bandwidths, chunk = {chunk}: both must be at least 1")
    samples, test = _two_sets(samples, test, least=(2, 1), names=("samples", "test"))
    centre = samples.cpu().double().mean(0)  # on the CPU: not every device has float64
    moved = [rows.cpu().double() - centre for rows in (samples, test)]
    largest = max(float(rows.square().sum(1).max()) for rows in moved)
    if 1e-7 * largest < 0.01 * min(bandwidths) ** 2:  # float32 is exact to about 0.01 nats
        moved = [rows.float().to(samples.device) for rows in moved]
    samples, test = moved
    squares, dim = samples.square().sum(1), samples.shape[1]
    values = torch.empty(len(bandwidths), len(test), dtype=torch.float64)
    for start in range(0, len(test), chunk):
        part = test[start : start + chunk]
        distances = torch.addmm(squares + part.square().sum(1, keepdim=True), part, samples.T, alpha=-2).clamp_min_(0)
        for row, bandwidth in zip(values, bandwidths, strict=True):
            scaled = distances * (-0.5 / float(bandwidth) ** 2)
            row[start : start + chunk] = torch.logsumexp(scaled, dim=1).cpu().double()
    sigma = torch.tensor(bandwidths, dtype=torch.float64)[:, None]
    return values - math.log(len(samples)) - 0.5 * dim * (math.log(2 * math.pi) + 2 * sigma.log())


def mmd(x: Tensor, y: Tensor, *, widths: Sequence[float] | None = None) -> float:
    """Squared maximum mean discrepancy of two samples, unbiased: about 0 if both come from one distribution, at most 2.

    E[k(x, x') + k(y, y') − 2 k(x, y)] with k the mean of Gaussian kernels exp(−‖a − b‖² / 2w²) over the ``widths`` w,
    in units of the data; the median distance of all pairs times ½, 1 and 2 if not given. Not clipped at 0, which would
    bias it. Memory for four matrices of (N + M)² float64: where that is not free, ``ValueError``.
    Gretton et al. 2012, JMLR 13:723–773, equation 3.
    """
    kernel = _kernel(*_two_sets(x, y, least=(2, 2)), widths)
    return float(_unbiased(kernel, torch.arange(len(kernel)) < len(x)))


def mmd_test(x: Tensor, y: Tensor, *, permutations: int = 500, seed: int = 0) -> tuple[float, float]:
    """Test by permutation whether two samples come from one distribution → (statistic of ``mmd``, p-value).

    The points are divided anew at random, ``permutations`` times, as ``seed`` decides; the p-value is the share of
    divisions, the true one among them, whose statistic is at least as large: uniform if the distribution is the same.
    """
    if permutations < 1:
        raise ValueError(f"permutations = {permutations}; at least one is needed, some hundreds for a small p-value")
    kernel = _kernel(*_two_sets(x, y, least=(2, 2)))
    generator, first = torch.Generator().manual_seed(seed), torch.arange(len(kernel)) < len(x)
    order = torch.rand(permutations, len(kernel), generator=generator).argsort(1)
    values = _unbiased(kernel, torch.cat([first[None], first[order]]))  # the true division is the first row
    as_large = values[1:] >= values[0] - 1e-12 * values[0].abs()
    return float(values[0]), float((1 + as_large.sum()) / (1 + permutations))


def _kernel(x: Tensor, y: Tensor, widths: Sequence[float] | None = None) -> Tensor:
    """Kernel matrix (N + M, N + M) of all points, float64, with a diagonal of zeros."""
    points = torch.cat([x, y]).cpu().double()
    needed, free = 32 * len(points) ** 2, psutil.virtual_memory().available
    if needed > free:
        raise ValueError(f"{len(points)} points need {needed / 1e9:.0f} GB, {free / 1e9:.0f} are free: give fewer")
    distances = torch.cdist(points, points)
    if widths is None:
        upper = distances[torch.triu(torch.ones_like(distances, dtype=torch.bool), 1)]
        widths = [factor * float(upper.median()) for factor in (0.5, 1, 2)]
        if not widths[0] > 0:
            raise ValueError("most points coincide, so the median distance is 0: give the widths of the kernels")
    if not len(widths) or not all(0 < width < math.inf for width in widths):
        raise ValueError(f"widths = {list(widths)} must be positive and finite, in units of the data")
    kernel = torch.zeros_like(distances)
    for width in widths:
        kernel += torch.exp(-0.5 * (distances / float(width)).square())
    return (kernel / len(widths)).fill_diagonal_(0)


def _unbiased(kernel: Tensor, first: Tensor) -> Tensor:
    """Unbiased MMD² for masks (…, N + M) of which points are the first set."""
    a = first.to(kernel.dtype)
    b = 1 - a
    n, m = a.sum(-1), b.sum(-1)
    within_a, within_b = ((mask @ kernel * mask).sum(-1) for mask in (a, b))
    between = (a @ kernel * b).sum(-1)
    return within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2 * between / (n * m)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Fréchet distance of features (N, d) and (M, d), each taken as a Gaussian, in squared units of the features.

    ‖μ_x − μ_y‖² + tr(C_x + C_y − 2 (C_x^½ C_y C_x^½)^½), the squared 2-Wasserstein distance of the Gaussians; too large
    with few points for the d² numbers of a covariance. Dowson & Landau 1982, Journal of Multivariate Analysis
    12:450–455; for pictures Heusel et al. 2017, arXiv 1706.08500.
    """
    x, y = (rows.cpu().double() for rows in _two_sets(x, y, least=(2, 2)))
    first, second = (torch.cov(rows.T).reshape(rows.shape[1], -1) for rows in (x, y))
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    distance = (x.mean(0) - y.mean(0)).square().sum() + first.trace() + second.trace() - 2 * cross
    return float(distance.clamp_min(0))


def precision_recall(real: Tensor, generated: Tensor, *, k: int = 3) -> tuple[float, float]:
    """Share of generated points inside the real set, and of real points inside the generated one, both in [0, 1].

    A point is inside a set if it lies no farther from at least one member than that member's ``k``-th nearest
    neighbour in the set. Take equally many of each, features (N, d), for both numbers depend on the sizes.
    Kynkäänniemi et al. 2019, arXiv 1904.06991, with their k = 3.
    """
    if k < 1:
        raise ValueError(f"k = {k}; the radius is the distance to the k-th neighbour, k ≥ 1")
    sets = _two_sets(real, generated, least=(k + 1, k + 1), names=("real", "generated"))
    real, generated = (rows.cpu().double() for rows in sets)
    return _inside(real, generated, k), _inside(generated, real, k)


def coverage(real: Tensor, generated: Tensor, *, k: int = 5) -> float:
    """Share of real points whose neighbourhood holds a generated one, in [0, 1]; about 1 − 2⁻ᵏ if nothing differs.

    The neighbourhood of a real point reaches to its ``k``-th nearest neighbour among the real points, so that neither
    outliers nor repetitions among the generated points change it. Features (N, d) and (M, d); the value depends on
    M / N. Naeem et al. 2020, arXiv 2002.09797, with their k = 5.
    """
    if k < 1:
        raise ValueError(f"k = {k}; the radius is the distance to the k-th neighbour, k ≥ 1")
    sets = _two_sets(real, generated, least=(k + 1, 2), names=("real", "generated"))
    real, generated = (rows.cpu().double() for rows in sets)
    nearest = torch.cat([torch.cdist(part, generated).amin(1) for part in real.split(1000)])
    return float((nearest < _radii(real, k, 1000)).double().mean())


def _radii(members: Tensor, k: int, chunk: int) -> Tensor:
    """Distance of each member to its ``k``-th nearest other member."""
    return torch.cat([torch.cdist(part, members).kthvalue(k + 1, dim=1).values for part in members.split(chunk)])


def _inside(members: Tensor, points: Tensor, k: int, chunk: int = 1000) -> float:
    """Share of points that lie within the radius of at least one member, ``chunk`` at a time to save memory."""
    radii = _radii(members, k, chunk)
    inside = [(torch.cdist(part, members) <= radii).any(1) for part in points.split(chunk)]
    return float(torch.cat(inside).double().mean())


def classifier_two_sample(x: Tensor, y: Tensor, *, seed: int = 0, kernel: bool = False) -> tuple[float, float]:
    """Test whether a classifier, trained on half of the points, can tell the other halves of two samples apart.

    Features (N, d) and (N, d), equally many (else ``ValueError``); the classifier is a logistic regression on
    standardised features, which sees little but the means; with ``kernel``, a support vector machine with a Gaussian
    kernel, which sees shapes as well. ``seed`` decides the halves. Returns the accuracy on the held-out halves and the
    probability of at least as many right answers by guessing (binomial with ½). Lopez-Paz & Oquab 2017, arXiv
    1610.06545.
    """
    x, y = _two_sets(x, y, least=(4, 4))
    if len(x) != len(y):
        raise ValueError(f"{len(x)} points against {len(y)}: give equally many, or guessing is better than one half")
    generator, machine = torch.Generator().manual_seed(seed), SVC() if kernel else LogisticRegression(max_iter=2000)
    halves = [rows.cpu().double()[torch.randperm(len(rows), generator=generator)].chunk(2) for rows in (x, y)]
    train, test = (torch.cat(parts).numpy() for parts in zip(*halves, strict=True))
    labels, truth = (np.repeat([0, 1], len(half) // 2) for half in (train, test))
    classifier = make_pipeline(StandardScaler(), machine).fit(train, labels)
    right = int((classifier.predict(test) == truth).sum())
    return right / len(truth), float(binom.sf(right - 1, len(truth), 0.5))


def _two_sets(*sets: Tensor, least: tuple[int, int], names: tuple[str, str] = ("x", "y")) -> tuple[Tensor, Tensor]:
    """Return both sets as rows (N, D) of floats, after checking them."""
    for points, name in zip(sets, names, strict=True):
        if not isinstance(points, Tensor):
            raise ValueError(f"{name} is a {type(points).__name__}; give a tensor, such as split.flat()")
    kinds = [points.dtype for points in sets]
    if kinds[0].is_floating_point != kinds[1].is_floating_point:
        raise ValueError(f"{names[0]} is {kinds[0]} and {names[1]} is {kinds[1]}: divide bytes by 255 first")
    rows = []
    for points, name, count in zip(sets, names, least, strict=True):
        if len(points) < count:
            raise ValueError(f"{name} has {len(points)} points; at least {count} are needed")
        flat = points.flatten(1) if points.ndim > 1 else points[:, None]
        flat = flat if flat.is_floating_point() else flat.float()
        if not bool(torch.isfinite(flat).all()):
            bad = int((~torch.isfinite(flat)).any(1).nonzero()[0])
            raise ValueError(f"{name} holds a value that is not finite, first in row {bad}")
        rows.append(flat.detach())
    if rows[0].shape[1] != rows[1].shape[1]:
        sizes = f"{rows[0].shape[1]} and {rows[1].shape[1]}"
        raise ValueError(f"{' and '.join(names)} have points of different dimension: {sizes}")
    return rows[0], rows[1]
