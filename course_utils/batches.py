"""Seeded, shuffled batches: uint8 images that stay on the device, converted to float batch by batch.

A data set of 60,000 small images takes 47 MB as uint8, so it is moved to the device once.
Each epoch gathers it once in a fresh order; a batch is then a slice, and the conversion to
float in [0, 1] happens on the device. What does not fit on the device, or is a
``torch.utils.data.Dataset``, comes through a ``DataLoader`` with the same interface.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from course_utils.runtime import pick_device

#: A CUDA device keeps a data set resident only if it fills at most this share of its free memory.
RESIDENT_SHARE = 0.5


class Batches:
    """Iterate over a data set in batches, in an order fixed by seed and epoch.

    Parameters
    ----------
    data
        A ``datasets.Split``, a tensor (N, …), or a map-style ``Dataset`` of tensors or
        (tensor, label) pairs. uint8 is divided by 255; floats pass unchanged.
    batch_size
        Images per batch; the last batch of an epoch may be smaller.
    shuffle
        A new order every epoch, or the order of the data.
    seed
        With the number of the epoch, decides the order: epoch 7 is shuffled alike
        whether or not epochs 0–6 ran before it.
    device
        Where batches are delivered; ``None`` lets the course choose.
    with_labels
        Yield (x, y) instead of x.
    resident
        Keep the data on the device. ``None`` decides by the free memory.
    channels_last
        Deliver pictures (B, C, H, W) with the C values of a pixel side by side in memory; shape and values
        are the same. Anything else than four dimensions passes unchanged.

    Raises
    ------
    ValueError
        For an empty data set, a batch size below 1, or labels that are not there.
    """

    def __init__(
        self,
        data,
        batch_size=128,
        *,
        shuffle=True,
        seed=0,
        device=None,
        with_labels=False,
        resident=None,
        channels_last=False,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size = {batch_size}; a batch holds at least one image")
        self.device, self.batch_size, self.shuffle = pick_device(device), int(batch_size), shuffle
        self.seed, self.with_labels, self.channels_last = seed, with_labels, channels_last
        self.images, self.labels, self.dataset = _unpack(data, with_labels)
        self.size = len(self.dataset) if self.dataset is not None else len(self.images)
        if self.size == 0:
            raise ValueError("the data set is empty: there is nothing to take batches of")
        self.resident = self.dataset is None and (_fits(self.images, self.device) if resident is None else resident)
        if self.resident:
            self.images = self.images.to(self.device)
            self.labels = None if self.labels is None else self.labels.to(self.device)

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.size // self.batch_size)

    def order(self, epoch: int) -> torch.Tensor:
        """Return the permutation (N,) of this epoch, on the CPU."""
        if not self.shuffle:
            return torch.arange(self.size)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(self.size, generator=generator)

    def epoch(self, number: int = 0) -> Iterator:
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

    def _from_loader(self, number: int) -> Iterator:
        dataset = self.dataset
        if dataset is None:
            dataset = TensorDataset(self.images, self.labels) if self.with_labels else TensorDataset(self.images)
        pinned = self.device.type == "cuda"
        loader = DataLoader(
            dataset,
            self.batch_size,
            sampler=self.order(number).tolist(),
            num_workers=2 if pinned else 0,
            pin_memory=pinned,
            generator=torch.Generator(),  # else it draws from the global one, and the model's noise would change
        )
        for item in loader:
            item = item if isinstance(item, (list, tuple)) else [item]
            if self.with_labels and len(item) < 2:
                raise ValueError("with_labels=True, but the items of this Dataset have no labels; give pairs")
            x = self._laid_out(as_float(item[0].to(self.device, non_blocking=True)))
            yield (x, item[1].to(self.device, non_blocking=True)) if self.with_labels else x

    def _laid_out(self, x: torch.Tensor) -> torch.Tensor:
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last and x.ndim == 4 else x


def as_float(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 images (0 … 255) to float32 in [0, 1]; floats pass unchanged."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def _unpack(data, with_labels: bool):
    if isinstance(data, torch.Tensor):
        images, labels, dataset = data, None, None
    elif hasattr(data, "images"):
        images, labels, dataset = data.images, data.labels, None
    elif isinstance(data, Dataset):
        return None, None, data
    else:
        raise ValueError(f"cannot take batches of a {type(data).__name__}; give a Split, a tensor or a Dataset")
    if with_labels and labels is None:
        raise ValueError("with_labels=True, but these data have no labels; give a Split or a Dataset of pairs")
    return images, labels if with_labels else None, dataset


def _fits(images: torch.Tensor, device: torch.device) -> bool:
    if device.type != "cuda" or images.device == device:
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * images.nbytes <= RESIDENT_SHARE * free  # twice: the data, and one epoch in its order
