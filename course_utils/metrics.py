"""Numbers that judge a model or one set of points: errors, similarity, subspaces, dimension, probes.

What compares two sets of samples stands in ``samples``. Shapes that do not fit are a ``ValueError`` that names them:
broadcasting here is a bug, not a convenience.
"""

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
    """Squared error of every image: x, x_hat (B, …) of one shape → (B,) Σ_d (x_d − x̂_d)², summed over pixels.

    Floats only, here and in what builds on it: the difference of bytes wraps around, so they are a ``ValueError``.
    """
    _floats(x, x_hat)
    if x.shape != x_hat.shape:
        raise ValueError(f"x_hat has shape {tuple(x_hat.shape)}, expected {tuple(x.shape)}")
    return (x - x_hat).square().flatten(1).sum(1)


def relative_error(x: Tensor, x_hat: Tensor, mean: Tensor | None = None) -> float:
    """Squared error of x_hat for x, (B, …) both, as a share of that of answering ``mean`` (…) every time.

    0 is perfect, 1 as good as the constant answer (the mean of x if none is given). An x that does not vary about the
    mean is a ``ValueError``.
    """
    _floats(x, x_hat)
    mean = x.mean(0) if mean is None else mean
    if mean.shape != x.shape[1:]:
        raise ValueError(f"mean has shape {tuple(mean.shape)}, expected that of one image, {tuple(x.shape[1:])}")
    baseline = squared_error(x, mean.expand_as(x)).sum()
    if baseline == 0:
        raise ValueError("every x equals the mean: there is no error to be relative to; use squared_error instead")
    return float(squared_error(x, x_hat).sum() / baseline)


def psnr(x: Tensor, x_hat: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of every image: (B, …) in [0, 1] → (B,) decibels, −10 log₁₀(mean squared error).

    Infinite where x_hat equals x. The course averages these over images, which is not the PSNR of the average error.
    """
    return 10 * torch.log10(1 / (squared_error(x, x_hat) / x[0].numel()))


def ssim(x: Tensor, x_hat: Tensor) -> Tensor:
    """Structural similarity of every image: (B, C, H, W) in [0, 1], H and W from 11 → (B,) in [−1, 1], on the CPU.

    1 only for identical images. Wang, Bovik, Sheikh & Simoncelli 2004, IEEE Transactions on Image Processing
    13:600–612, with their window (Gaussian, σ = 1.5 pixels), through scikit-image.
    """
    _floats(x, x_hat)
    if x.shape != x_hat.shape or x.ndim != 4:
        raise ValueError(f"x {tuple(x.shape)} and x_hat {tuple(x_hat.shape)}: expected the same (B, C, H, W)")
    if min(x.shape[2:]) < 11:
        raise ValueError(f"images of {x.shape[2]} × {x.shape[3]} pixels; the window of SSIM needs at least 11 × 11")
    pairs = zip(*(images.detach().cpu().double().numpy() for images in (x, x_hat)), strict=True)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    values = [structural_similarity(a, b, channel_axis=0, **wang) for a, b in pairs]
    return torch.tensor(values, dtype=torch.float32)


def _floats(*images: Tensor) -> None:
    kinds = [each.dtype if isinstance(each, Tensor) else type(each).__name__ for each in images]
    if other := [kind for kind in kinds if not getattr(kind, "is_floating_point", False)]:
        raise ValueError(f"images of {other[0]}: give a tensor of floats in [0, 1], such as batches.as_float(images)")


def principal_angles(first: Tensor, second: Tensor) -> np.ndarray:
    """Angles between the subspaces that the columns of (D, k) and (D, m) span → (min(k, m),) degrees, largest first.

    0 is a shared direction; the columns need not be orthogonal. Björck & Golub 1973, through SciPy.
    """
    if first.shape[0] != second.shape[0]:
        raise ValueError(f"subspaces of different spaces: {tuple(first.shape)} and {tuple(second.shape)}")
    return np.rad2deg(subspace_angles(*(np.asarray(m.detach().cpu(), dtype=np.float64) for m in (first, second))))


def two_nn_dimension(points: Tensor) -> float:
    """Intrinsic dimension of points (N, D) from the ratio μ = r₂/r₁ of the distances to the two nearest neighbours.

    For points spread evenly enough on that scale F(μ) = 1 − μ^(−d), so d is the slope of −log(1 − F) over log μ
    through the origin; the largest tenth of the ratios is left out, as are exact duplicates. Fewer than ten different
    points are a ``ValueError``. Too small when the true dimension is large and N is not. Facco, d'Errico, Rodriguez &
    Laio 2017, Scientific Reports 7:12140.
    """
    points = torch.unique(points.flatten(1).float(), dim=0).cpu().double()  # not every device has float64
    if len(points) < 10:
        raise ValueError(f"only {len(points)} different points; at least ten are needed")
    centred = np.asarray(points - points.mean(0))
    distances, _ = NearestNeighbors(n_neighbors=2).fit(centred).kneighbors()  # without X no point is its own neighbour
    log_ratio = torch.from_numpy(distances).log().diff(dim=1).flatten().sort().values
    share = torch.arange(1, len(log_ratio) + 1, dtype=torch.float64) / len(log_ratio)
    keep = int(0.9 * len(log_ratio))
    log_ratio, target = log_ratio[:keep], -torch.log1p(-share[:keep])
    return float((log_ratio * target).sum() / log_ratio.square().sum())


def draw_per_class(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Draw ``per_class`` examples of every class of labels (N,), or ``ValueError`` → (classes · per_class,) indices."""
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
    """Test accuracy of a linear classifier that sees few labels: what a code is worth → (len(seeds),) in [0, 1].

    Codes (N, d) and (M, d) with labels (N,) and (M,) int64. Each of ``seeds`` draws ``per_class`` labelled examples
    of every class; ``None`` uses all. ``C``, the inverse regularisation of scikit-learn's ``LogisticRegression``, means
    the same for every code, for codes are centred and divided by one number that gives the training codes mean squared
    norm 1. Codes all alike, or a class of too few examples, are a ``ValueError``.
    """
    sizes = len(train_codes), len(train_labels), len(test_codes), len(test_labels)
    if sizes[0] != sizes[1] or sizes[2] != sizes[3]:
        raise ValueError("{} training codes with {} labels, {} test codes with {}".format(*sizes))
    if train_labels.ndim != 1 or test_labels.ndim != 1:
        shapes = f"{tuple(train_labels.shape)} and {tuple(test_labels.shape)}"
        raise ValueError(f"labels {shapes}; give labels (N,) and (M,)")
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
