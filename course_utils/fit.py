"""The training loop of the course: ``fit``, ``trained``, ``evaluate``, and checkpoints that survive an interruption.

An *objective* is a function ``objective(model, x) -> {"loss": …, "other term": …}`` in a notebook cell; ``"loss"`` is
minimised and every term is averaged over the epoch. Several players share a model as ``{"discriminator": d_objective,
"generator": g_objective}``: each steps the parameters of its own submodule, in this order, on every batch.
"""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from course_utils import checkpoint as files
from course_utils.batches import Batches, Data
from course_utils.capture import Steps, adam, obstacle
from course_utils.progress import Line, in_words
from course_utils.runtime import set_seed, whole

Objective: TypeAlias = Callable[..., dict[str, Tensor]]
Objectives: TypeAlias = Objective | dict[str, Objective]
History: TypeAlias = list[dict[str, Any]]
Betas: TypeAlias = tuple[float, float]
Hook: TypeAlias = Callable[[nn.Module, History], Any]
OWN = ("epoch", "seconds", "images_per_second")  # what the history says beside the terms


class TrainingDiverged(ArithmeticError):
    """A term of the objective became NaN or infinite; the message names epoch, batch and term."""


def fit(
    model: nn.Module,
    objective: Objectives,
    train: Data,
    valid: Data | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    lr: float | dict[str, float] = 1e-3,
    betas: Betas | dict[str, Betas] = (0.9, 0.999),
    cosine: bool = False,
    seed: int = 0,
    device: str | torch.device | None = None,
    bf16: bool = False,
    channels_last: bool = False,
    with_labels: bool = False,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    on_epoch_end: Hook | None = None,
    progress: bool | str = True,
) -> History:
    """Minimise ``objective(model, x)``, or with labels ``objective(model, x, y)``, over batches of the training data.

    The objective returns named scalar terms, among them "loss"; or give a dict submodule path → objective, see above.
    The model is moved to the device and trained in place. ``train`` and ``valid``: as in ``batches.Batches``.

    - ``epochs``, ``batch_size``: passes over the data, images per step; ``seed``: of the order of the batches alone
    - ``lr``, ``betas``: of Adam, for all or by the objectives' names, each with an Adam of its own (β₁ is how much of
      the last step the next one keeps); ``cosine``: the rate falls to zero along half a cosine
    - ``device``: None lets ``runtime.pick_device`` choose; ``bf16``: the forward pass under bfloat16 autocast
    - ``channels_last``: pictures, and weights of convolutions, with the channels of a pixel side by side in memory:
      faster, above all with ``bf16``; the objective must flatten with ``flatten``, for ``view`` refuses it
    - ``with_labels``: hand the labels (B,) to the objective as a third argument
    - ``checkpoint``: folder for ``last.pt`` and ``best.pt`` (least loss on ``valid``, without it on ``train``);
      ``resume`` goes on from ``last.pt`` to the same numbers as a run that was never interrupted
    - ``on_epoch_end``: called with the model and the history; ``progress``: show a line, a string is put before it

    Returns a row per finished epoch: "epoch", every term, every term on ``valid`` as ``valid_…``, "seconds",
    "images_per_second". Ctrl-C and ``TrainingDiverged`` leave the weights of the last finished epoch.
    ``FileExistsError`` if the folder holds another run and ``resume`` is false; ``ValueError`` for an objective that
    returns no scalars with "loss" among them, or names of the history's own; for images of another dtype than the
    weights'; for a last batch of one before batch normalisation; for a checkpoint that does not fit.
    """
    epochs = whole("epochs", epochs, 1)
    form: dict[str, Any] = {"device": device, "with_labels": with_labels, "channels_last": channels_last}
    batches = Batches(train, batch_size, seed=seed, **form)
    _refuse_other_kind(model, batches)
    _refuse_batch_of_one(model, batches)
    model.to(batches.device)
    model.to(memory_format=torch.channels_last if channels_last else torch.preserve_format)
    held_out = None if valid is None else Batches(valid, 500, shuffle=False, **form)
    if held_out is not None:
        _refuse_other_kind(model, held_out)
    players = _players(model, objective, lr, betas, batches.device)
    rates = {player.prefix: (player.rate, *player.betas) for player in players}
    settings: dict[str, Any] = {"batch_size": batches.batch_size, "seed": batches.seed, "images": batches.size}
    settings |= {"bf16": bf16, "players": rates, "channels_last": channels_last}
    settings |= {"cosine_epochs": epochs if cosine else 0}
    settings |= {} if checkpoint is None else {"checksum": batches.checksum()}
    folder = files.Folder(checkpoint, model, [player.optimizer for player in players], settings)
    run = _Run(model, players, batches, held_out, epochs, cosine, bf16, batches.seed, Line(progress))
    return run.train(folder.last(resume), folder, on_epoch_end)


def trained(
    build: Callable[[], nn.Module], objective: Objectives, train: Data, *, seed: int = 0, **options: Any
) -> nn.Module:
    """Return ``build()`` after ``fit(…, **options)``; ``seed`` decides weights, order of the batches and noise.

    It is set anew once the weights are drawn, so that networks of different sizes meet the same noise.
    """
    set_seed(seed)
    model = build()
    set_seed(seed)
    fit(model, objective, train, **{"seed": seed, "progress": False} | options)
    return model


def evaluate(
    model: nn.Module,
    objective: Objectives,
    data: Data,
    *,
    batch_size: int = 500,
    seed: int = 0,
    with_labels: bool = False,
) -> dict[str, float]:
    """Return every term of an objective, averaged over the images of ``data`` (not over the batches), as in ``fit``.

    The model is moved to the device, put in evaluation mode and back; random draws come from their own generator
    started at ``seed``, so that evaluating neither changes training nor differs between calls.
    """
    batches = Batches(data, batch_size, shuffle=False, seed=seed, with_labels=with_labels)
    _refuse_other_kind(model, batches)
    model.to(batches.device)
    return _evaluate(model, [*_named(objective).values()], batches, False, batches.seed)


@dataclass
class _Player:
    """One objective with the parameters it may change."""

    prefix: str
    objective: Objective
    optimizer: torch.optim.Optimizer
    rate: float  # as the training begins
    betas: Betas

    def decay(self, share: float) -> None:
        """Set the learning rate for a step at this share of the training, along half a cosine."""
        now = self.rate * (0.5 * (1 + math.cos(math.pi * share)))
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"].fill_(now) if isinstance(group["lr"], Tensor) else now


@dataclass
class _Run:
    """What all epochs of one training share."""

    model: nn.Module
    players: list[_Player]
    batches: Batches
    held_out: Batches | None
    epochs: int
    cosine: bool
    bf16: bool
    seed: int
    line: Line

    def __post_init__(self) -> None:
        self.steps = Steps(self.step, self.batches, obstacle(self.batches.resident, self.batches.device))

    def train(self, history: History, folder: files.Folder, on_epoch_end: Hook | None) -> History:
        """Train the epochs that the history lacks; what stops it leaves the weights of the last finished one."""
        last = files.copy_weights(self.model)
        try:
            for epoch in range(len(history), self.epochs):
                history.append({"epoch": epoch + 1, **self.epoch(epoch)})
                last = files.copy_weights(self.model)
                if on_epoch_end is not None:
                    on_epoch_end(self.model, history)
                folder.save(history)
        except (KeyboardInterrupt, TrainingDiverged) as stop:
            self.model.load_state_dict(last)
            if isinstance(stop, TrainingDiverged):
                raise
            print(f"stopped by hand: kept the weights after epoch {len(history)} of {self.epochs}")
        if history:
            speed = f"{history[-1]['images_per_second']:,.0f} images/s · {self.line.seconds():.0f} s"
            self.line.show(f"{in_words(history[-1], self.epochs)} · {speed}", last=True)
        return history

    def epoch(self, number: int) -> dict[str, float]:
        """Train one epoch; return the mean of every term, the speed, and the terms on held-out data."""
        self.model.train()
        started, sizes, total = time.perf_counter(), [], len(self.batches)
        for k, (size, batch) in enumerate(self.steps.epoch(number)):
            for player in self.players if self.cosine else ():
                player.decay((number * total + k) / (self.epochs * total))
            self.steps.train(batch)
            sizes.append(size)
            if self.line.due():
                loss = float(self.steps.terms()[1][-1, 0])  # the only wait for the device within an epoch
                if not math.isfinite(loss):
                    break
                share, elapsed = (k + 1) / total, time.perf_counter() - started
                left = elapsed / share * (self.epochs - number - share)
                speed = f"{sum(sizes) / elapsed:,.0f} images/s · {left:.0f} s left"
                self.line.show(f"epoch {number + 1}/{self.epochs} · loss {loss:.4g} · {speed}")
        row = _means(*self.steps.terms(), sizes, f"epoch {number + 1}", total)
        seconds = time.perf_counter() - started
        row |= {"seconds": seconds, "images_per_second": sum(sizes) / seconds}
        if self.held_out is None:
            return row
        pairs = [(f"valid_{player.prefix}", player.objective) for player in self.players]
        where = f"the validation of epoch {number + 1}"
        return row | _evaluate(self.model, pairs, self.held_out, self.bf16, self.seed, where)

    def step(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Let every player change its parameters once; return their terms, detached and still on the device."""
        found: dict[str, Tensor] = {}
        kind, kept = self.batches.device.type, bool(self.steps.obstacle)
        for player in self.players:
            player.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(kind, torch.bfloat16, enabled=self.bf16, cache_enabled=kept):
                terms = _checked(player.objective(self.model, *inputs))
            terms["loss"].backward()
            player.optimizer.step()
            found |= {player.prefix + name: term.detach() for name, term in terms.items()}
        return found


def _refuse_other_kind(model: nn.Module, batches: Batches) -> None:
    """Refuse images whose dtype the first layer would refuse, with a message that names neither."""
    kinds = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
    kind = batches.parts[0].dtype if batches.parts else torch.uint8
    if kind == torch.bool or (kind.is_floating_point and kinds and kind not in kinds):
        weights = " and ".join(map(str, kinds)) or "float32"
        raise ValueError(f"the images are {kind}, the weights {weights}: give images.float(), or bytes")


def _refuse_batch_of_one(model: nn.Module, batches: Batches) -> None:
    if batches.size % batches.batch_size == 1 and any(isinstance(part, _BatchNorm) for part in model.modules()):
        sizes = f"{batches.size} images in batches of {batches.batch_size}"
        raise ValueError(f"{sizes}: the last batch holds one, and batch normalisation needs two; change batch_size")


def _named(objective: Objectives) -> dict[str, tuple[str, Objective]]:
    """Return path of a submodule → what its terms' names begin with, and its objective."""
    parts = objective if isinstance(objective, dict) else {"": objective}
    return {path: (path and f"{path.replace('.', '_')}_", each) for path, each in parts.items()}


def _players(model: nn.Module, objective: Objectives, lr: Any, betas: Any, device: torch.device) -> list[_Player]:
    objectives, players = _named(objective), []
    for word, given in (("lr", lr), ("betas", betas)):
        if isinstance(given, dict) and set(given) != set(objectives):
            raise ValueError(f"{word} names {sorted(given)}, the objectives are {sorted(objectives)}")
    for path, (prefix, function) in objectives.items():
        try:
            parameters = [p for p in model.get_submodule(path).parameters() if p.requires_grad]
        except AttributeError as error:
            names = [name for name, _ in model.named_children()]
            raise ValueError(f"the model has no submodule {path!r}; it has {names}") from error
        if not parameters:
            raise ValueError(f"there is nothing to train in {path or 'the model'!r}: no parameter requires a gradient")
        rate, pair = (given[path] if isinstance(given, dict) else given for given in (lr, betas))
        if not isinstance(rate, numbers.Real) or isinstance(rate, bool) or not 0 <= float(rate) < math.inf:
            raise ValueError(f"lr = {rate!r}; give the learning rate as a number, such as 1e-3")
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(0 <= beta < 1 for beta in pair)):
            raise ValueError(f"betas = {pair!r}; give Adam's pair (β₁, β₂), each from 0 to below 1: (0.5, 0.999)")
        optimizer = adam(parameters, float(rate), device, tuple(pair))
        players.append(_Player(prefix, function, optimizer, float(rate), tuple(pair)))
    return players


def _evaluate(model, objectives, batches: Batches, bf16: bool, seed: int, where="the evaluation") -> dict[str, float]:
    modes, rows, sizes = [(module, module.training) for module in model.modules()], [], []
    states = files.random_states()
    model.eval()
    torch.manual_seed(seed)
    try:
        with torch.no_grad(), torch.autocast(batches.device.type, torch.bfloat16, enabled=bf16):
            for inputs in batches.tuples():
                terms = [(prefix, _checked(objective(model, *inputs))) for prefix, objective in objectives]
                rows.append({prefix + name: term for prefix, own in terms for name, term in own.items()})
                sizes.append(len(inputs[0]))
    finally:
        files.set_random_states(states)
        for module, training in modes:  # each its own: a part may have been frozen in evaluation mode
            module.training = training
    table = torch.stack([torch.stack([row[name].float() for name in rows[0]]) for row in rows])
    return _means(list(rows[0]), table, sizes, where, len(batches))


def _means(names: list[str], table: Tensor, sizes: list[int], where: str, total: int) -> dict[str, float]:
    """Average terms (batches, terms) over images; here the device is waited for. Refuse NaN and infinity."""
    table = table.cpu().double()
    bad = (~table.isfinite()).nonzero()
    if len(bad):
        batch, term = bad[0].tolist()
        raise TrainingDiverged(
            f"{names[term]!r} became {table[batch, term].item()} in {where}, batch {batch + 1} of {total}. "
            "Usual causes: a learning rate that is too high, a logarithm or division of zero, inputs outside [0, 1]"
        )
    share = torch.tensor(sizes, dtype=torch.float64)
    return dict(zip(names, ((share[:, None] * table).sum(0) / share.sum()).tolist(), strict=True))


def _checked(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    if not isinstance(terms, dict) or "loss" not in terms:
        found = sorted(terms) if isinstance(terms, dict) else type(terms).__name__
        raise ValueError(f"an objective returns a dict of terms with 'loss' among them; this one returned {found}")
    if own := [name for name in terms if name in OWN or name.startswith("valid_")]:
        raise ValueError(f"a term is called {own[0]!r}, which is a name of the history itself: call it something else")
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim:
            what = f"has shape {tuple(term.shape)}" if isinstance(term, Tensor) else f"is a {type(term).__name__}"
            raise ValueError(f"term {name!r} {what}; give a tensor that holds one number, an average over the batch")
    return terms
