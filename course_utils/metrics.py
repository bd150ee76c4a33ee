"""Numbers that judge a model or a data set: errors, similarity, subspaces, probes, intrinsic dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.linalg import subspace_angles
from skimage.metrics import structural_similarity
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from torch import Tensor


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
