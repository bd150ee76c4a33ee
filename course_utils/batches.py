"""Seeded, shuffled batches: uint8 images that stay on the device, converted to float batch by batch.

A data set of 60,000 small images takes 47 MB as uint8, so it is moved to the device once; batches are gathered and made
float in [0, 1] there. What does not fit is gathered where it lies; a ``torch.utils.data.Dataset`` comes through a
``DataLoader``, with the same interface.
"""

from __future__ import annotations

import math
import multiprocessing
import zlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from course_utils.runtime import pick_device, whole

Data: TypeAlias = Any  # a datasets.Split, a tensor (N, …), or a map-style Dataset of tensors or (tensor, label) pairs


class Batches:
    """Iterate over a data set in batches, in an order fixed by seed and epoch.

    ``data`` is a ``datasets.Split``, a tensor (N, …), or a map-style ``Dataset`` of tensors or (tensor, label) pairs;
    uint8 is divided by 255, floats pass unchanged. ``shuffle`` gives a new order every epoch, decided by ``seed`` and
    the number of the epoch alone. Batches of ``batch_size`` images, the last of an epoch perhaps fewer, come on
    ``device`` (None: the course chooses) as x or, ``with_labels``, as (x, y). ``channels_last`` lays the C values of a
    pixel of pictures (B, C, H, W) side by side in memory, with the same shape and values.

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
        channels_last: bool = False,
    ) -> None:
        batch_size, seed = whole("batch_size", batch_size, 1), whole("seed", seed, 0)
        if not (isinstance(data, (Tensor, Dataset)) or hasattr(data, "images")) or not hasattr(data, "__len__"):
            kinds = "give a Split, a tensor, or a Dataset that has a length"
            raise ValueError(f"cannot take batches of a {type(data).__name__}; {kinds}")
        self.device, self.batch_size, self.shuffle = pick_device(device), batch_size, shuffle
        self.data, self.seed, self.with_labels, self.channels_last = data, seed, with_labels, channels_last
        self.size, self.parts = len(data), ()  # type: int, tuple[Tensor, ...]
        if self.size == 0:
            raise ValueError("the data set is empty: there is nothing to take batches of")
        if not isinstance(data, Dataset):
            self.parts = self._asked_for((data,) if isinstance(data, Tensor) else (data.images, data.labels))
        self.resident = bool(self.parts) and _fits(self.parts[0], self.device)
        if self.resident:
            self.parts = tuple(part.to(self.device) for part in self.parts)

    def __len__(self) -> int:
        """Batches per epoch."""
        return math.ceil(self.size / self.batch_size)

    def order(self, epoch: int) -> Tensor:
        """Return the permutation (N,) of this epoch, on the CPU."""
        if not self.shuffle:
            return torch.arange(self.size)
        return torch.randperm(self.size, generator=self._generator(epoch))

    def checksum(self) -> int | None:
        """Return a number that other images hardly ever have; None for a ``Dataset``, whose images are not at hand."""
        if not self.parts:
            return None
        return zlib.crc32(self.parts[0].cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())

    def _generator(self, epoch: int) -> torch.Generator:
        # seed + epoch would give epoch 1 of seed 0 the order of epoch 0 of seed 1, and tie repetitions together
        return torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)

    def epoch(self, number: int = 0) -> Iterator[Tensor | tuple[Tensor, ...]]:
        """Yield the batches of one epoch: x (B, …) float, or (x, y) with labels."""
        return (batch if self.with_labels else batch[0] for batch in self.tuples(number))

    __iter__ = epoch

    def tuples(self, number: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Yield the batches of one epoch as (x,), or as (x, y) with labels."""
        if self.parts:
            yield from map(self.at, self.order(number).to(self.parts[0].device).split(self.batch_size))
            return
        pinned = self.device.type == "cuda"
        # a class of the notebook itself is not found by a worker that starts anew, as on Windows and macOS
        here = type(self.data).__module__ == "__main__" and multiprocessing.get_start_method() != "fork"
        loader: DataLoader = DataLoader(
            self.data,
            self.batch_size,
            sampler=self.order(number).tolist(),
            num_workers=2 if pinned and not here else 0,
            pin_memory=pinned,
            # else it draws from the global one, and the model's noise would change; workers begin from it
            generator=self._generator(number),
        )
        for loaded in loader:
            yield self._ready(self._asked_for(loaded if isinstance(loaded, (list, tuple)) else (loaded,)))

    def at(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the images of these numbers (B,), and their labels if they were asked for, as a batch."""
        return self._ready(tuple(part[index] for part in self.parts))

    def _asked_for(self, parts: Any) -> tuple[Tensor, ...]:
        """Images, and labels if they are asked for."""
        if self.with_labels and (len(parts) < 2 or parts[1] is None):
            raise ValueError("with_labels=True, but these data have no labels; give a Split or a Dataset of pairs")
        return tuple(parts[: 1 + self.with_labels])

    def _ready(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The same on the device, images as float in the layout asked for."""
        if other := [type(part).__name__ for part in parts if not isinstance(part, Tensor)]:
            raise ValueError(f"a Dataset gives tensors or (tensor, label) pairs; this one gives a {other[0]}")
        x, *labels = (part.to(self.device, non_blocking=True) for part in parts)
        x = as_float(x)
        if self.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return (x, *labels)


def as_float(images: Tensor) -> Tensor:
    """Convert uint8 images (0 … 255) to float32 in [0, 1]; floats pass unchanged."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def _fits(images: Tensor, device: torch.device) -> bool:
    """Data may fill half of the free memory of a CUDA device."""
    if device.type != "cuda" or images.device == device:
        return True
    return 2 * images.nbytes <= torch.cuda.mem_get_info(device)[0]
