"""Numbers that judge a model or a data set: errors, similarity, probes, dimension, two sets of samples compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.linalg import subspace_angles
from scipy.stats import binom
from skimage.metrics import structural_similarity
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from course_utils import kept


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Squared error of every image, summed over its pixels.

    Parameters
    ----------
    x, x_hat
        (B, …) of the same shape, in [0, 1].

    Returns
    -------
    Tensor
        (B,) Σ_d (x_d − x̂_d)², in squared units of the pixels.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if x.shape != x_hat.shape:
        raise ValueError(f"x_hat has shape {tuple(x_hat.shape)}, expected {tuple(x.shape)}")
    return (x - x_hat).square().flatten(1).sum(1)


def relative_error(x: Tensor, x_hat: Tensor, mean: Tensor | None = None) -> float:
    """Squared error as a share of that of answering the mean image every time.

    Parameters
    ----------
    x, x_hat
        (B, …) of the same shape.
    mean
        The constant answer to compare with, (…); the mean of x if not given.

    Returns
    -------
    float
        0 is perfect, 1 is as good as the constant mean, more is worse than it.

    Raises
    ------
    ValueError
        If the shapes differ, or x does not vary about the mean.
    """
    mean = x.mean(0) if mean is None else mean
    if mean.shape != x.shape[1:]:
        raise ValueError(f"mean has shape {tuple(mean.shape)}, expected that of one image, {tuple(x.shape[1:])}")
    baseline = squared_error(x, mean.expand_as(x)).sum()
    if baseline == 0:
        raise ValueError("every x equals the mean: there is no error to be relative to; use squared_error instead")
    return float(squared_error(x, x_hat).sum() / baseline)


def psnr(x: Tensor, x_hat: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio of every image, 10 log₁₀(range² / mean squared error).

    Parameters
    ----------
    x, x_hat
        (B, …) of the same shape.
    data_range
        Largest minus smallest value that a pixel can take: 1 for pixels in [0, 1].

    Returns
    -------
    Tensor
        (B,) decibels, of the dtype of x; infinite where x_hat equals x. Ten times the squared error is 10 dB less.
        The course averages these over images, which is not the PSNR of the average error.

    Raises
    ------
    ValueError
        If the shapes differ, or the range is not positive.
    """
    _check_range(data_range)
    mean_squared = squared_error(x, x_hat) / x[0].numel()
    return 10 * torch.log10(data_range**2 / mean_squared)


def ssim(x: Tensor, x_hat: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Structural similarity of every image: local means, contrasts and correlations compared.

    Parameters
    ----------
    x, x_hat
        (B, C, H, W) of the same shape, height and width at least 11.
    data_range
        Largest minus smallest value that a pixel can take: 1 for pixels in [0, 1].

    Returns
    -------
    Tensor
        (B,) float32 in [−1, 1] on the CPU; 1 only for identical images.

    Raises
    ------
    ValueError
        If the shapes differ or are not (B, C, H, W), the images are smaller than the window, or the range is not
        positive.

    References
    ----------
    Wang, Bovik, Sheikh & Simoncelli 2004, IEEE Transactions on Image Processing 13:600–612, with their settings
    (Gaussian window of σ = 1.5 pixels), through ``skimage.metrics.structural_similarity``.
    """
    _check_range(data_range)
    if x.shape != x_hat.shape or x.ndim != 4:
        raise ValueError(f"x {tuple(x.shape)} and x_hat {tuple(x_hat.shape)}: expected the same (B, C, H, W)")
    if min(x.shape[2:]) < 11:
        raise ValueError(f"images of {x.shape[2]} × {x.shape[3]} pixels; the window of SSIM needs at least 11 × 11")
    pairs = zip(*(images.detach().cpu().double().numpy() for images in (x, x_hat)), strict=True)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    values = [structural_similarity(a, b, data_range=data_range, channel_axis=0, **wang) for a, b in pairs]
    return torch.tensor(values, dtype=torch.float32)


def _check_range(data_range: float) -> None:
    if not data_range > 0:
        raise ValueError(f"data_range = {data_range} must be positive: 1 for pixels in [0, 1], 255 for bytes")


def principal_angles(first: Tensor, second: Tensor) -> np.ndarray:
    """Angles between two linear subspaces, largest first.

    Parameters
    ----------
    first, second
        (D, k) and (D, m): the columns span the subspaces; they need not be orthogonal.

    Returns
    -------
    array
        (min(k, m),) degrees from 0 (shared direction) to 90.

    Raises
    ------
    ValueError
        If the columns have different lengths D.

    References
    ----------
    Björck & Golub 1973, through ``scipy.linalg.subspace_angles``.
    """
    if first.shape[0] != second.shape[0]:
        raise ValueError(f"subspaces of different spaces: {tuple(first.shape)} and {tuple(second.shape)}")
    return np.rad2deg(subspace_angles(*(np.asarray(m.detach().cpu(), dtype=np.float64) for m in (first, second))))


@kept.result
def two_nn_dimension(points: Tensor, *, discard: float = 0.1) -> float:
    """Intrinsic dimension from the ratio of the distances to the two nearest neighbours.

    For points spread evenly enough on the scale of two neighbours, μ = r₂/r₁ has the distribution
    function F(μ) = 1 − μ^(−d). The slope of −log(1 − F) over log μ through the origin is d.

    Parameters
    ----------
    points
        (N, D). Exact duplicates are removed first.
    discard
        Share of the largest ratios that the fit leaves out.

    Returns
    -------
    float
        Estimated dimension; too small when the true one is large and N is not.

    Raises
    ------
    ValueError
        For fewer than ten different points, or a share outside [0, 1).

    References
    ----------
    Facco, d'Errico, Rodriguez & Laio 2017, Scientific Reports 7:12140.
    """
    if not 0 <= discard < 1:
        raise ValueError(f"discard = {discard} is not a share in [0, 1)")
    points = torch.unique(points.flatten(1).float(), dim=0)
    if len(points) < 10:
        raise ValueError(f"only {len(points)} different points; at least ten are needed")
    log_ratio = _two_nearest(points).log().diff(dim=1).flatten().double().sort().values
    share = torch.arange(1, len(log_ratio) + 1, dtype=torch.float64) / len(log_ratio)
    keep = int(len(log_ratio) * (1 - discard))
    log_ratio, target = log_ratio[:keep], -torch.log1p(-share[:keep].clamp(max=1 - 1e-12))
    return float((log_ratio * target).sum() / log_ratio.square().sum())


def _two_nearest(points: Tensor) -> Tensor:
    """Distances (N, 2), float64, to the nearest and second-nearest other point."""
    centred = np.asarray((points.double() - points.double().mean(0)).cpu())
    distances, _ = NearestNeighbors(n_neighbors=2).fit(centred).kneighbors()  # without X no point is its own neighbour
    return torch.from_numpy(distances)


def draw_per_class(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Draw the same number of examples of every class.

    Parameters
    ----------
    labels
        (N,) int64.
    per_class
        Examples of each class; all of a class that has fewer is an error, not a smaller draw.
    seed
        Decides the draw.

    Returns
    -------
    Tensor
        (classes · per_class,) indices.

    Raises
    ------
    ValueError
        If a class has fewer examples than asked for, or fewer than one is.
    """
    if per_class < 1:
        raise ValueError(f"per_class = {per_class}; draw at least one example of each class")
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        if len(members) < per_class:
            raise ValueError(f"class {int(label)} has {len(members)} examples, {per_class} were asked for")
        drawn.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
    return torch.cat(drawn)


@kept.result
def probe_accuracy(
    train_codes: Tensor,
    train_labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
    *,
    per_class: int | None,
    seeds: Sequence[int] = (0,),
    C: float = 1.0,
) -> np.ndarray:
    """Test accuracy of a linear classifier that sees few labels: what a code is worth.

    Codes are centred and divided by one number, so that the training codes have mean squared norm
    1 and the regularisation strength means the same for every code.

    Parameters
    ----------
    train_codes, test_codes
        (N, d) and (M, d) features.
    train_labels, test_labels
        (N,) and (M,) int64.
    per_class
        Labelled examples of each class; ``None`` uses all.
    seeds
        One draw of the labelled examples for each.
    C
        Inverse regularisation of ``sklearn.linear_model.LogisticRegression``.

    Returns
    -------
    array
        (len(seeds),) accuracies in [0, 1].

    Raises
    ------
    ValueError
        If codes and labels differ in length, all codes are alike, or a class has too few examples.
    """
    if len(train_codes) != len(train_labels) or len(test_codes) != len(test_labels):
        raise ValueError(
            f"{len(train_codes)} training codes with {len(train_labels)} labels, "
            f"{len(test_codes)} test codes with {len(test_labels)}"
        )
    mean = train_codes.mean(0)
    scale = (train_codes - mean).square().sum(1).mean().sqrt()
    if not scale > 0:
        raise ValueError(f"the {len(train_codes)} training codes are all alike: a classifier cannot tell them apart")
    train, test = ((np.asarray(((c - mean) / scale).cpu(), dtype=np.float64)) for c in (train_codes, test_codes))
    accuracies = []
    for seed in seeds:
        index = torch.arange(len(train)) if per_class is None else draw_per_class(train_labels, per_class, seed)
        probe = LogisticRegression(C=C, max_iter=2000).fit(train[index], np.asarray(train_labels[index]))
        accuracies.append(probe.score(test, np.asarray(test_labels)))
    return np.array(accuracies)


# ------------------------------------------------------------------------- a set of samples against another


@kept.result
def parzen_log_likelihood(samples: Tensor, test: Tensor, bandwidth: float, *, chunk: int = 500) -> Tensor:
    """Log-density of test points under a Gaussian window on every sample.

    log p(t) = log (1/N) Σ_i N(t; s_i, σ² I). The pairs are visited chunk by chunk in float32 on centred data, with
    ‖t − s‖² as one matrix product: on digits within 0.001 nats of a float64 sum at σ = 0.17, the error growing as 1/σ².

    Parameters
    ----------
    samples
        (N, …) what the model drew.
    test
        (M, …) held-out data, each of the same size as a sample.
    bandwidth
        σ, in units of the data; choose it with ``select_bandwidth``, never on the test data.
    chunk
        Test points at a time: memory (chunk · N numbers) against calls.

    Returns
    -------
    Tensor
        (M,) nats, float64; its mean is the published quantity, its standard error std / √M.

    Raises
    ------
    ValueError
        If σ is not positive and finite, sizes differ, there are fewer than two samples or no test points, or a
        value is not finite.

    References
    ----------
    Breuleux, Bengio & Vincent 2011; the protocol of Goodfellow et al. 2014, arXiv 1406.2661. What it is worth:
    Theis, van den Oord & Bethge 2015, arXiv 1511.01844.
    """
    return _parzen(samples, test, [bandwidth], chunk)[0]


@kept.result
def select_bandwidth(
    samples: Tensor, valid: Tensor, bandwidths: Sequence[float] | None = None, *, chunk: int = 500
) -> tuple[float, np.ndarray]:
    """Choose the window that gives validation data the greatest mean log-likelihood.

    Parameters
    ----------
    samples, valid, chunk
        As in ``parzen_log_likelihood``; ``valid`` must not be the test data.
    bandwidths
        The σ to try, ascending; 25 from 0.05 to 1, evenly spaced in their logarithm, if not given.

    Returns
    -------
    tuple
        The best σ, and the mean log-likelihood (len(bandwidths),) of all, in nats.

    Raises
    ------
    ValueError
        As ``parzen_log_likelihood``; or if the best σ is the first or the last of several, for then a better one
        lies outside.
    """
    bandwidths = np.geomspace(0.05, 1, 25).tolist() if bandwidths is None else [float(b) for b in bandwidths]
    if bandwidths != sorted(bandwidths):
        raise ValueError(f"bandwidths must ascend, got {bandwidths}")
    means = _parzen(samples, valid, bandwidths, chunk).mean(1).numpy()
    best = int(means.argmax())
    if len(bandwidths) > 1 and best in (0, len(bandwidths) - 1):
        raise ValueError(
            f"the best of the bandwidths is at the edge, {bandwidths[best]:.4g}: try values beyond it, "
            f"they ran from {bandwidths[0]:.4g} to {bandwidths[-1]:.4g}"
        )
    return bandwidths[best], means


def _parzen(samples: Tensor, test: Tensor, bandwidths: Sequence[float], chunk: int) -> Tensor:
    """Log-likelihoods (bandwidths, M); distances are computed once for all bandwidths."""
    for bandwidth in bandwidths:
        if not (0 < bandwidth < math.inf):
            raise ValueError(f"bandwidth = {bandwidth} must be positive and finite, in units of the data")
    if not bandwidths or chunk < 1:
        raise ValueError(f"{len(bandwidths)} bandwidths, chunk = {chunk}: both must be at least 1")
    samples, test = _two_sets(samples, test, names=("samples", "test"), least=(2, 1))
    centre = samples.double().mean(0)
    samples, test = ((rows.double() - centre).float() for rows in (samples, test))
    squares, dim = samples.square().sum(1), samples.shape[1]
    found = torch.empty(len(bandwidths), len(test), dtype=torch.float64)
    for start in range(0, len(test), chunk):
        part = test[start : start + chunk]
        distances = torch.addmm(squares + part.square().sum(1, keepdim=True), part, samples.T, alpha=-2).clamp_min_(0)
        for row, bandwidth in zip(found, bandwidths, strict=True):
            scaled = distances * (-0.5 / float(bandwidth) ** 2)
            row[start : start + chunk] = torch.logsumexp(scaled, dim=1).double().cpu()
    sigma = torch.tensor(bandwidths, dtype=torch.float64)[:, None]
    return found - math.log(len(samples)) - 0.5 * dim * (math.log(2 * math.pi) + 2 * sigma.log())


def mmd(x: Tensor, y: Tensor, *, widths: Sequence[float] | None = None) -> float:
    """Squared maximum mean discrepancy of two samples, unbiased: it may be negative.

    E[k(x, x') + k(y, y') − 2 k(x, y)] with k the mean of Gaussian kernels exp(−‖a − b‖² / 2w²) over the widths w.

    Parameters
    ----------
    x, y
        (N, …) and (M, …) points of the same size.
    widths
        Of the kernels, in units of the data; the median distance of all pairs times ½, 1 and 2 if not given.

    Returns
    -------
    float
        About 0 if both come from one distribution, at most 2. Not clipped at 0: that would bias it.

    Raises
    ------
    ValueError
        If a set has fewer than two points, sizes differ, a value is not finite, or a width is not positive.

    References
    ----------
    Gretton et al. 2012, JMLR 13:723–773, equation 3.
    """
    kernel = _kernel(*_two_sets(x, y, names=("x", "y"), least=(2, 2)), widths)
    return float(_unbiased(kernel, torch.arange(len(kernel)) < len(x)))


@kept.result
def mmd_test(
    x: Tensor, y: Tensor, *, permutations: int = 500, seed: int = 0, widths: Sequence[float] | None = None
) -> tuple[float, float]:
    """Test by permutation whether two samples come from one distribution.

    Parameters
    ----------
    x, y, widths
        As in ``mmd``.
    permutations
        How often the points are divided anew at random; the smallest possible p-value is 1 / (permutations + 1).
    seed
        Of the permutations.

    Returns
    -------
    tuple
        The statistic of ``mmd`` and the p-value: the share of divisions, the true one among them, whose statistic is
        at least as large. Uniform if both come from one distribution.

    Raises
    ------
    ValueError
        As ``mmd``; or for fewer than one permutation.
    """
    if permutations < 1:
        raise ValueError(f"permutations = {permutations}; at least one is needed, some hundreds for a small p-value")
    kernel = _kernel(*_two_sets(x, y, names=("x", "y"), least=(2, 2)), widths)
    generator, first = torch.Generator().manual_seed(seed), torch.arange(len(kernel)) < len(x)
    order = torch.rand(permutations, len(kernel), generator=generator).argsort(1)
    values = _unbiased(kernel, torch.cat([first[None], first[order]]))  # the true division is the first row
    as_large = values[1:] >= values[0] - 1e-12 * values[0].abs()
    return float(values[0]), float((1 + as_large.sum()) / (1 + permutations))


def _kernel(x: Tensor, y: Tensor, widths: Sequence[float] | None) -> Tensor:
    """Kernel matrix (N + M, N + M) of all points, float64, with a diagonal of zeros."""
    points = torch.cat([x, y]).double().cpu()
    distances = torch.cdist(points, points)
    if widths is None:
        upper = distances[torch.triu(torch.ones_like(distances, dtype=torch.bool), 1)]
        widths = [factor * float(upper.median()) for factor in (0.5, 1, 2)]
        if not widths[0] > 0:
            raise ValueError("most points coincide, so the median distance is 0: give the widths of the kernels")
    if not len(widths) or not all(0 < width < math.inf for width in widths):
        raise ValueError(f"widths = {list(widths)} must be positive and finite, in units of the data")
    kernel = sum(torch.exp(-0.5 * (distances / float(width)).square()) for width in widths) / len(widths)
    return kernel.fill_diagonal_(0)


def _unbiased(kernel: Tensor, first: Tensor) -> Tensor:
    """Unbiased MMD² for masks (…, N + M) of which points are the first set."""
    a = first.to(kernel.dtype)
    b = 1 - a
    n, m = a.sum(-1), b.sum(-1)
    within_a, within_b = ((mask @ kernel * mask).sum(-1) for mask in (a, b))
    between = (a @ kernel * b).sum(-1)
    return within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2 * between / (n * m)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Fréchet distance of two samples, each taken as a Gaussian.

    ‖μ_x − μ_y‖² + tr(C_x + C_y − 2 (C_x^½ C_y C_x^½)^½), the squared 2-Wasserstein distance of the Gaussians.

    Parameters
    ----------
    x, y
        (N, d) and (M, d) features, e.g. of a classifier; d² numbers must be known well, so take many more points
        than d. With few points the value is too large.

    Returns
    -------
    float
        In squared units of the features; 0 for equal means and covariances.

    Raises
    ------
    ValueError
        If a set has fewer than two points, sizes differ, or a value is not finite.

    References
    ----------
    Dowson & Landau 1982, Journal of Multivariate Analysis 12:450–455; for pictures Heusel et al. 2017, arXiv
    1706.08500.
    """
    x, y = (rows.double().cpu() for rows in _two_sets(x, y, names=("x", "y"), least=(2, 2)))
    first, second = (torch.cov(rows.T).reshape(rows.shape[1], -1) for rows in (x, y))
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    distance = (x.mean(0) - y.mean(0)).square().sum() + first.trace() + second.trace() - 2 * cross
    return float(distance.clamp_min(0))


@kept.result
def precision_recall(real: Tensor, generated: Tensor, *, k: int = 3, chunk: int = 1000) -> tuple[float, float]:
    """Share of generated points inside the real set, and of real points inside the generated set.

    A point is inside a set if it lies no farther from at least one of its members than that member's k-th nearest
    neighbour in the set.

    Parameters
    ----------
    real, generated
        (N, d) and (M, d) features; take N = M, for both numbers depend on the sizes.
    k
        Which neighbour gives a member its radius.
    chunk
        Points at a time: memory against calls.

    Returns
    -------
    tuple
        (precision, recall), both in [0, 1].

    Raises
    ------
    ValueError
        If a set has at most k points, sizes differ, or a value is not finite.

    References
    ----------
    Kynkäänniemi et al. 2019, arXiv 1904.06991, with their k = 3.
    """
    if k < 1:
        raise ValueError(f"k = {k}; the radius is the distance to the k-th neighbour, k ≥ 1")
    real, generated = _two_sets(real, generated, names=("real", "generated"), least=(k + 1, k + 1))
    return _inside(real, generated, k, chunk), _inside(generated, real, k, chunk)


def _inside(members: Tensor, points: Tensor, k: int, chunk: int) -> float:
    """Share of points that lie within the radius of at least one member."""
    members, points = members.double(), points.double()
    radii = torch.cat([torch.cdist(part, members).kthvalue(k + 1, dim=1).values for part in members.split(chunk)])
    found = [(torch.cdist(part, members) <= radii).any(1) for part in points.split(chunk)]
    return float(torch.cat(found).double().mean())


@kept.result
def classifier_two_sample(x: Tensor, y: Tensor, *, classifier=None, seed: int = 0) -> tuple[float, float]:
    """Test whether a classifier, trained on half of the points, can tell the other halves of two samples apart.

    Parameters
    ----------
    x, y
        (N, d) and (N, d) features, equally many, so that guessing is right half the time.
    classifier
        With ``fit`` and ``predict`` as in scikit-learn; logistic regression on standardised features if not given.
    seed
        Decides the halves.

    Returns
    -------
    tuple
        The accuracy on the held-out halves, and the probability of at least as many right answers by guessing
        (binomial with ½).

    Raises
    ------
    ValueError
        If the sets differ in number or size, have fewer than four points, or a value is not finite.

    References
    ----------
    Lopez-Paz & Oquab 2017, arXiv 1610.06545.
    """
    x, y = _two_sets(x, y, names=("x", "y"), least=(4, 4))
    if len(x) != len(y):
        raise ValueError(f"{len(x)} points against {len(y)}: give equally many, or guessing is better than one half")
    generator = torch.Generator().manual_seed(seed)
    halves = [rows.double().cpu()[torch.randperm(len(rows), generator=generator)].chunk(2) for rows in (x, y)]
    (train, labels), (test, truth) = (
        (torch.cat(parts).numpy(), np.repeat([0, 1], [len(part) for part in parts]))
        for parts in zip(*halves, strict=True)
    )
    classifier = classifier or make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    right = int((classifier.fit(train, labels).predict(test) == truth).sum())
    return right / len(truth), float(binom.sf(right - 1, len(truth), 0.5))


def _two_sets(first: Tensor, second: Tensor, *, names: tuple[str, str], least: tuple[int, int]) -> list[Tensor]:
    """Return both sets as rows (N, D) of floats, after checking them."""
    rows = []
    for points, name, count in zip((first, second), names, least, strict=True):
        if len(points) < count:
            raise ValueError(f"{name} has {len(points)} points; at least {count} are needed")
        points = points.flatten(1) if points.ndim > 1 else points[:, None]
        points = points if points.is_floating_point() else points.float()
        if not bool(torch.isfinite(points).all()):
            bad = int((~torch.isfinite(points)).any(1).nonzero()[0])
            raise ValueError(f"{name} holds a value that is not finite, first in row {bad}")
        rows.append(points.detach())
    if rows[0].shape[1] != rows[1].shape[1]:
        sizes = f"{rows[0].shape[1]} and {rows[1].shape[1]}"
        raise ValueError(f"{names[0]} and {names[1]} have points of different dimension: {sizes}")
    return rows
