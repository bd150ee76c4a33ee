"""Seeded, shuffled batches: uint8 images that stay on the device, converted to float batch by batch.

A data set of 60,000 small images takes 47 MB as uint8, so it is moved to the device once. Each epoch gathers it once
in a fresh order; a batch is then a slice, and the conversion to float in [0, 1] happens on the device. What does not
fit on the device, or is a ``torch.utils.data.Dataset``, comes through a ``DataLoader`` with the same interface.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from course_utils.runtime import pick_device

#: A CUDA device keeps a data set resident only if it fills at most this share of its free memory.
RESIDENT_SHARE = 0.5


class Labelled(Protocol):
    """Images (N, …) with their labels (N,), such as a ``datasets.Split``."""

    @property
    def images(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor: ...


Data: TypeAlias = Labelled | Tensor | Dataset
Batch: TypeAlias = Tensor | tuple[Tensor, Tensor]


class Batches:
    """Iterate over a data set in batches, in an order fixed by seed and epoch.

    ``data`` is a ``datasets.Split``, a tensor (N, …), or a map-style ``Dataset`` of tensors or (tensor, label) pairs;
    uint8 is divided by 255, floats pass unchanged. ``shuffle`` gives a new order every epoch, decided by ``seed`` and
    the number of the epoch alone: epoch 7 is shuffled alike whether or not epochs 0–6 ran before it. Batches hold
    ``batch_size`` images, the last of an epoch perhaps fewer, and come on ``device`` (None: the course chooses), as x
    or, ``with_labels``, as (x, y). ``resident`` keeps the data on the device (None: if they fill at most half of its
    free memory). ``channels_last`` delivers pictures (B, C, H, W) with the C values of a pixel side by side in memory:
    the same shape and values; anything else than four dimensions passes unchanged.

    ``ValueError`` for an empty data set, a batch size below 1, or labels that are not there.
    """

    def __init__(
        self,
        data: Data,
        batch_size: int = 128,
        *,
        shuffle: bool = True,
        seed: int = 0,
        device: str | torch.device | None = None,
        with_labels: bool = False,
        resident: bool | None = None,
        channels_last: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size = {batch_size}; a batch holds at least one image")
        self.device, self.batch_size, self.shuffle = pick_device(device), int(batch_size), shuffle
        self.seed, self.with_labels, self.channels_last = seed, with_labels, channels_last
        self.images, self.labels, self.dataset = _unpack(data, with_labels)
        self.size = len(self.dataset) if self.images is None else len(self.images)
        if self.size == 0:
            raise ValueError("the data set is empty: there is nothing to take batches of")
        self.resident = self.images is not None and (_fits(self.images, self.device) if resident is None else resident)
        if self.resident:
            self.images = self.images.to(self.device)
            self.labels = None if self.labels is None else self.labels.to(self.device)

    def __len__(self) -> int:
        """Batches per epoch."""
        return math.ceil(self.size / self.batch_size)

    def order(self, epoch: int) -> Tensor:
        """Return the permutation (N,) of this epoch, on the CPU."""
        if not self.shuffle:
            return torch.arange(self.size)
        # seed + epoch would give epoch 1 of seed 0 the order of epoch 0 of seed 1, and tie repetitions together
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(self.size, generator=generator)

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch: x (B, …) float, or (x, y) with labels."""
        if not self.resident:
            yield from self._from_loader(number)
            return
        images, labels = self.images, self.labels
        if self.shuffle:
            order = self.order(number).to(self.device)
            images = images[order]  # one gather for the whole epoch
            labels = labels[order] if self.with_labels else None
        for start in range(0, self.size, self.batch_size):
            x = self._laid_out(as_float(images[start : start + self.batch_size]))
            yield (x, labels[start : start + self.batch_size]) if self.with_labels else x

    __iter__ = epoch

    def at(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return resident images of these numbers (B,) as a batch, and their labels if they were asked for."""
        x = self._laid_out(as_float(self.images[index]))
        return (x, self.labels[index]) if self.with_labels else (x,)

    def _from_loader(self, number: int) -> Iterator[Batch]:
        dataset = self.dataset
        if dataset is None:
            dataset = TensorDataset(self.images, self.labels) if self.with_labels else TensorDataset(self.images)
        pinned = self.device.type == "cuda"
        loader: DataLoader = DataLoader(
            dataset,
            self.batch_size,
            sampler=self.order(number).tolist(),
            num_workers=2 if pinned else 0,
            pin_memory=pinned,
            generator=torch.Generator(),  # else it draws from the global one, and the model's noise would change
        )
        for loaded in loader:
            item = loaded if isinstance(loaded, (list, tuple)) else [loaded]
            if self.with_labels and len(item) < 2:
                raise ValueError("with_labels=True, but the items of this Dataset have no labels; give pairs")
            x = self._laid_out(as_float(item[0].to(self.device, non_blocking=True)))
            yield (x, item[1].to(self.device, non_blocking=True)) if self.with_labels else x

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last and x.ndim == 4 else x


def as_float(images: Tensor) -> Tensor:
    """Convert uint8 images (0 … 255) to float32 in [0, 1]; floats pass unchanged."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def _unpack(data: Any, with_labels: bool) -> tuple[Any, Any, Any]:
    """Return images and labels, or else the Dataset; the labels only if they are asked for."""
    if isinstance(data, Tensor):
        images, labels = data, None
    elif hasattr(data, "images"):
        images, labels = data.images, data.labels
    elif isinstance(data, Dataset):
        return None, None, data
    else:
        raise ValueError(f"cannot take batches of a {type(data).__name__}; give a Split, a tensor or a Dataset")
    if with_labels and labels is None:
        raise ValueError("with_labels=True, but these data have no labels; give a Split or a Dataset of pairs")
    return images, labels if with_labels else None, None


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda" or images.device == device:
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * images.nbytes <= RESIDENT_SHARE * free  # twice: the data, and one epoch in its order
