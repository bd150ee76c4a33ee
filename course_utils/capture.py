"""A training step of fixed shape, captured once as a CUDA graph and replayed: then the card is the limit, not the host.

Python hands the kernels of a small network over more slowly than the card computes them; a graph hands them over at
once. It reads and writes the same memory at every replay, so what changes from step to step stands in tensors that are
filled before: the indices of the batch, the learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.batches import Batches

#: Full batches that run as they are before one is captured: libraries choose kernels and take memory meanwhile.
WARM_UP = 3


def warm(step: Callable[[], None], device: torch.device) -> None:
    """Carry out a step as it is, on a stream beside the usual one, as torch asks for before a capture."""
    beside = torch.cuda.Stream(device)
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):
        step()
    torch.cuda.current_stream(device).wait_stream(beside)


def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Capture a step as a CUDA graph, without carrying it out; return its replay. ``RuntimeError``: it cannot be."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        step()
    return graph.replay


def obstacle(resident: bool, device: torch.device) -> str:
    """Return why a step cannot be captured, in words; "" if nothing is known to stand in the way."""
    if device.type != "cuda":
        return f"{device.type} has no graphs"
    return "" if resident else "the data do not lie on the device"


def adam(
    parameters: list[nn.Parameter], lr: float, device: torch.device, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Optimizer:
    """Return Adam in its fastest form; on a CUDA device its step can be captured and reads its rate from there."""
    if device.type == "cuda":
        rate = torch.tensor(lr, device=device)
        return torch.optim.Adam(parameters, lr=rate, betas=betas, fused=True, capturable=True)
    return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=device.type == "cpu" or None)


class Steps:
    """The steps of a training: ``train`` carries out one, ``terms`` returns what they gave since the epoch began.

    ``step(inputs)`` trains on a batch and returns named terms. Without an ``obstacle`` the step on full batches is
    captured after a few that run as they are; the smaller last batch of an epoch always runs as it is.
    """

    def __init__(self, step: Callable[..., dict[str, Tensor]], batches: Batches, obstacle: str) -> None:
        self.step, self.batches, self.device, self.obstacle = step, batches, batches.device, obstacle
        self.names: list[str] = []
        self.done, self.seen, self.replay = 0, 0, None  # type: int, int, Callable[[], None] | None
        # what a recorded step reads and writes
        self.index = torch.zeros(batches.batch_size, dtype=torch.int64, device=self.device)
        self.place = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.table = torch.zeros(len(batches), 0, device=self.device)

    def epoch(self, number: int) -> Iterator[tuple[int, Any]]:
        """Begin an epoch; yield the size of each of its batches, and what ``train`` takes of it."""
        self.done = 0
        self.place.zero_()
        if self.obstacle:
            yield from ((len(inputs[0]), inputs) for inputs in self.batches.tuples(number))
        else:
            order = self.batches.order(number).to(self.device)
            yield from ((len(index), index) for index in order.split(self.batches.batch_size))

    def train(self, batch: Any) -> None:
        """Carry out the step on a batch, from the recording if there is one."""
        self.done += 1
        if self.obstacle:
            self._write(batch)
        elif len(batch) < self.batches.batch_size:
            self._write(self.batches.at(batch))
        else:
            self.index.copy_(batch)
            self._full()

    def terms(self) -> tuple[list[str], Tensor]:
        """Return names and table (batches, terms) of this epoch, still on the device."""
        return self.names, self.table[: self.done]

    def _full(self) -> None:
        """Train on the images of ``index``."""
        self.seen += 1
        if self.seen == WARM_UP + 1:
            try:
                self.replay = record(self._indexed, self.device)
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:200]
                print(f"training step by step, because the step cannot be captured: {reason}")
        if self.replay is not None:
            self.replay()
        elif self.seen <= WARM_UP:
            warm(self._indexed, self.device)
        else:
            self._indexed()

    def _indexed(self) -> None:
        self._write(self.batches.at(self.index))

    def _write(self, inputs: tuple[Tensor, ...]) -> None:
        """Train on a batch; the terms go into the next row of the table."""
        terms = self.step(inputs)
        self.names = self.names or list(terms)
        if set(terms) != set(self.names):
            found, before = sorted(terms), sorted(self.names)
            raise ValueError(f"the objective returned {found}, before {before}: always give the same")
        if self.table.shape[1] == 0:
            self.table = torch.zeros(len(self.table), len(terms), device=self.device)
        row = torch.stack([terms[name].float() for name in self.names])
        self.table.index_copy_(0, self.place, row[None])
        self.place.add_(1)
