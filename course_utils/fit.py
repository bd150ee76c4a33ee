"""The training loop of the course: ``fit``, ``evaluate``, and checkpoints that survive an interruption.

An *objective* is a function ``objective(model, x) -> {"loss": …, "other term": …}`` in a
notebook cell; ``"loss"`` is minimised and every term is averaged over the epoch. Several
players share a model as ``{"discriminator": d_objective, "generator": g_objective}``: each
steps the parameters of its own submodule, in this order, on every batch.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from course_utils import kept
from course_utils.batches import Batches
from course_utils.fingerprint import Unkeepable, fingerprint
from course_utils.progress import Line
from course_utils.runtime import pick_device

Objective = Callable[..., dict[str, Tensor]]
History = list[dict[str, float]]


class TrainingDiverged(ArithmeticError):
    """A term of the objective became NaN or infinite; the message names epoch, batch and term."""


@dataclass
class _Player:
    """One objective with the parameters it may change."""

    prefix: str
    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    compiled: Objective | None = None  # for batches of the full size


@dataclass
class _Report:
    """Puts the state of a run into words for the line of progress."""

    line: Line
    progress: bool | str
    epochs: int

    def show(self, epoch: int, share: float, loss: float, images: int, elapsed: float) -> None:
        left = elapsed / share * (self.epochs - epoch - share)
        speed = f"{images / elapsed:,.0f} images/s"
        self.line.show(
            f"{self._label()}epoch {epoch + 1}/{self.epochs} · loss {loss:.4g} · {speed} · {left:.0f} s left"
        )

    def finish(self, history: History, loaded: bool = False) -> None:
        if not history:
            return
        row, seconds = history[-1], time.monotonic() - self.line.started
        beside = ("epoch", "seconds", "images_per_second")
        numbers = {name: value for name, value in row.items() if isinstance(value, (int, float)) and name not in beside}
        terms = [f"{name} {value:.4g}" for name, value in numbers.items()]
        speed = f"{row['images_per_second']:,.0f} images/s"
        ending = [f"loaded: trained before in {sum(r['seconds'] for r in history):.0f} s"]
        ending = ending if loaded else [speed, f"{seconds:.0f} s"]
        words = " · ".join([f"epoch {row['epoch']}/{self.epochs}", *terms, *ending])
        self.line.finish(self._label() + words)

    def _label(self) -> str:
        return f"{self.progress}: " if isinstance(self.progress, str) else ""


def fit(
    model: nn.Module,
    objective: Objective | dict[str, Objective],
    train,
    valid=None,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    lr: float | dict[str, float] = 1e-3,
    optimizer: Callable | None = None,
    cosine: bool = False,
    seed: int = 0,
    device: str | torch.device | None = None,
    bf16: bool = False,
    channels_last: bool = False,
    compile: bool = False,
    with_labels: bool = False,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    on_epoch_end: Callable[[nn.Module, History], None] | None = None,
    progress: bool | str = True,
) -> History:
    """Minimise an objective over batches of the training data.

    Parameters
    ----------
    model
        Moved to the device; trained in place.
    objective
        ``objective(model, x)`` or, with labels, ``objective(model, x, y)``; returns named scalar
        terms, among them ``"loss"``. Or a dict submodule path → objective, see above.
    train, valid
        ``datasets.Split``, tensor (N, …) or ``torch.utils.data.Dataset``. A Split or a tensor
        stays on the device as uint8 if it fits (see ``batches``).
    epochs, batch_size
        Passes over the training data, and images per step.
    lr, optimizer, cosine
        Adam with this learning rate, or ``optimizer(parameters)`` of your own; ``cosine`` lets
        the rate fall to zero along half a cosine over all batches.
    seed
        Order of the batches. The noise that a model draws comes from the global seed.
    device
        Where to compute; ``None`` lets ``runtime.pick_device`` choose.
    bf16
        Compute the forward pass under bfloat16 autocast.
    channels_last
        Keep pictures, and the weights of convolutions, with the channels of a pixel side by side in memory
        (``torch.channels_last``): convolutions then save rearranging, above all with ``bf16``. The numbers change by
        rounding only. The objective must flatten with ``flatten`` or ``reshape``; ``view`` refuses this layout.
    compile
        Let ``torch.compile`` translate the objective, on a CUDA device with its graphs recorded and replayed
        (``mode="reduce-overhead"``). The first batch then takes half a minute or more. All full batches have one
        shape, so there is one translation; a smaller last batch of an epoch, and validation, run as they are. Noise
        that the model draws is another than without it.
    with_labels
        Hand the labels (B,) to the objective as a third argument.
    checkpoint, resume
        A folder for ``last.pt`` and ``best.pt`` (least validation loss, or training loss without
        validation); ``resume`` goes on from ``last.pt`` and gives the same numbers as a run
        that was never interrupted.
    on_epoch_end
        Called with the model and the history so far.
    progress
        Show a line of progress; a string is put before it.

    Returns
    -------
    list of dict
        One row per finished epoch: ``epoch``, every term, every term on the validation data as
        ``valid_…``, ``seconds``, ``images_per_second``. On Ctrl-C the rows and the weights of the
        last finished epoch.

    Raises
    ------
    TrainingDiverged
        If a term becomes NaN or infinite; the weights are those of the last finished epoch.
    FileExistsError
        If the checkpoint folder holds another run and ``resume`` is false.
    RuntimeError
        If ``compile`` is asked for and there is no compiler, or it cannot translate the objective.
    ValueError
        For an objective without ``"loss"`` or that returns no scalars, or a checkpoint that does not fit.
    """
    if epochs < 1:
        raise ValueError(f"epochs = {epochs}; train for at least one")
    device = pick_device(device)
    model.to(device, memory_format=torch.channels_last if channels_last else torch.preserve_format)
    form = {"device": device, "with_labels": with_labels, "channels_last": channels_last}
    batches = Batches(train, batch_size, seed=seed, **form)
    held_out = None if valid is None else Batches(valid, 500, shuffle=False, **form)
    players = _players(model, objective, lr, optimizer, epochs * len(batches) if cosine else 0)
    for player in players if compile else ():
        player.compiled = _compiled(player.objective, device)
    settings = {"batch_size": batch_size, "seed": seed, "images": batches.size, "bf16": bf16}
    settings |= {"cosine_epochs": epochs if cosine else 0, "channels_last": channels_last, "players": _rates(players)}
    folder = None if checkpoint is None else Path(checkpoint)
    history = _start(folder, resume, model, players, settings)
    report, last = _Report(Line(bool(progress)), progress, epochs), _snapshot(model)
    options = settings | {"epochs": epochs, "lr": lr, "device": device, "compile": compile, "labels": with_labels}
    place = kept.folder() if folder is None else None
    training = _Kept(place, model, (objective, optimizer, on_epoch_end), (train, valid), options)
    if training.load(history):
        report.finish(history, loaded=True)
        return history
    try:
        for epoch in range(len(history), epochs):
            row = {"epoch": epoch + 1, **_train(model, players, batches, epoch, bf16, report)}
            if held_out is not None:
                means = _evaluate(model, players, held_out, bf16, seed, f"the validation of epoch {epoch + 1}")
                row |= {f"valid_{name}": mean for name, mean in means.items()}
            history.append(row)
            last = _snapshot(model)
            training.remember(last)
            if on_epoch_end is not None:
                on_epoch_end(model, history)
            if folder is not None:
                _save(folder, model, players, history, settings)
    except KeyboardInterrupt:
        model.load_state_dict(last)
        print(f"stopped by hand: kept the weights after epoch {len(history)} of {epochs}")
    except TrainingDiverged:
        model.load_state_dict(last)
        raise
    if len(history) == epochs:  # else it was stopped by hand
        training.keep(history)
    report.finish(history)
    return history


def evaluate(
    model: nn.Module,
    objective: Objective | dict[str, Objective],
    data,
    *,
    batch_size: int = 500,
    device: str | torch.device | None = None,
    seed: int = 0,
    bf16: bool = False,
    with_labels: bool = False,
) -> dict[str, float]:
    """Average every term of an objective over a data set, without changing weights or training.

    The model is moved to the device, put in evaluation mode and back; random draws come from
    their own generator started at ``seed``, so that evaluating neither changes training nor differs
    between calls.

    Parameters
    ----------
    model, objective, data
        As in ``fit``.
    batch_size
        Images at once; the result does not depend on it, but for rounding.
    device, bf16, with_labels
        As in ``fit``.
    seed
        Of the noise that the model draws.

    Returns
    -------
    dict
        The terms' means over the images (not over the batches).

    Raises
    ------
    TrainingDiverged
        If a term is NaN or infinite.
    ValueError
        As ``fit``.
    """
    device = pick_device(device)
    model.to(device)
    batches = Batches(data, batch_size, shuffle=False, device=device, with_labels=with_labels)
    objectives = objective if isinstance(objective, dict) else {"": objective}
    players = [_Player(_prefix(path), function, None, None) for path, function in objectives.items()]
    return _evaluate(model, players, batches, bf16, seed)


def save_checkpoint(path: str | Path, model: nn.Module, **extra) -> None:
    """Write the weights of a model, and anything else of tensors, numbers, strings, lists and dicts.

    The file is written under a temporary name and then renamed: an interruption leaves the old
    file whole.

    Parameters
    ----------
    path
        Of the file; missing folders are made.
    model
        Whose ``state_dict`` is written.
    extra
        Saved beside it, by name.

    Raises
    ------
    OSError
        If the file cannot be written; an older one is still whole then.
    """
    kept.write(Path(path), {"model": model.state_dict(), **_plain(extra)})


def load_checkpoint(path: str | Path, model: nn.Module | None = None) -> dict:
    """Read a checkpoint (``weights_only=True``: data, never code) and put its weights into the model.

    Returns
    -------
    dict
        All that was saved, on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no checkpoint, or its weights are not those of this model.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights = state["model"]
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ValueError(f"{path} is not a checkpoint of this course, or is damaged") from error
    if model is not None:
        _put(weights, model, path)
    return state


def _plain(value):
    """Turn NumPy's numbers and arrays, which ``weights_only`` refuses to read back, into Python's and torch's."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _put(weights: dict[str, Tensor], model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"the weights in {path} are not those of this model: {error}") from error


def _players(model, objective, lr, optimizer, total_steps) -> list[_Player]:
    objectives = objective if isinstance(objective, dict) else {"": objective}
    if isinstance(lr, dict) and set(lr) != set(objectives):
        raise ValueError(f"lr names {sorted(lr)}, the objectives are {sorted(objectives)}")
    players = []
    for path, function in objectives.items():
        try:
            parameters = [p for p in model.get_submodule(path).parameters() if p.requires_grad]
        except AttributeError as error:
            names = [name for name, _ in model.named_children()]
            raise ValueError(f"the model has no submodule {path!r}; it has {names}") from error
        if not parameters:
            raise ValueError(f"there is nothing to train in {path or 'the model'!r}: no parameter requires a gradient")
        rate = lr[path] if isinstance(lr, dict) else lr
        steps = _adam(parameters, rate) if optimizer is None else optimizer(parameters)
        schedule = torch.optim.lr_scheduler.LambdaLR(steps, _half_cosine(total_steps)) if total_steps else None
        players.append(_Player(_prefix(path), function, steps, schedule))
    return players


def _rates(players: list[_Player]) -> dict[str, float]:
    return {player.prefix: float(player.optimizer.defaults.get("lr", math.nan)) for player in players}


def _prefix(path: str) -> str:
    return f"{path.replace('.', '_')}_" if path else ""


def _adam(parameters, lr: float) -> torch.optim.Optimizer:
    try:
        return torch.optim.Adam(parameters, lr=lr, fused=True)
    except RuntimeError:  # a device without fused kernels
        return torch.optim.Adam(parameters, lr=lr)


def _half_cosine(total: int) -> Callable[[int], float]:
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step, total) / total))


def _train(model, players, batches, epoch, bf16, report) -> dict[str, float]:
    """Train one epoch; return the mean of every term, and the speed."""
    model.train()
    started, rows, sizes = time.perf_counter(), [], []
    for batch in batches.epoch(epoch):
        inputs = batch if isinstance(batch, tuple) else (batch,)
        terms = {}
        for player in players:
            terms |= _step(player, model, inputs, batches.device.type, bf16, len(inputs[0]) == batches.batch_size)
        rows.append(terms)
        sizes.append(len(inputs[0]))
        if report.line.due():
            now = float(next(iter(terms.values())))  # the only wait for the device within an epoch
            if not math.isfinite(now):
                break
            report.show(epoch, len(rows) / len(batches), now, sum(sizes), time.perf_counter() - started)
    means = _means(rows, sizes, f"epoch {epoch + 1}", len(batches))
    seconds = time.perf_counter() - started
    return means | {"seconds": seconds, "images_per_second": sum(sizes) / seconds}


def _step(player: _Player, model, inputs, device_type: str, bf16: bool, full: bool) -> dict[str, Tensor]:
    """Change this player's parameters once; return its terms, detached and still on the device."""
    player.optimizer.zero_grad(set_to_none=True)
    objective = player.compiled if player.compiled is not None and full else player.objective
    with torch.autocast(device_type, torch.bfloat16, enabled=bf16):
        terms = _checked(objective(model, *inputs))
    terms["loss"].backward()
    player.optimizer.step()
    if player.schedule is not None:
        player.schedule.step()
    return {player.prefix + name: term.detach() for name, term in terms.items()}


def _compiled(objective: Objective, device: torch.device) -> Objective:
    """Return the objective as ``torch.compile`` translates it at its first call, with errors one can act upon."""
    compilers = (os.environ.get("CXX"), "g++", "clang++", "c++", "cl")
    if device.type == "cpu" and not any(name and shutil.which(name) for name in compilers):
        raise RuntimeError("compile=True needs a C++ compiler, and none was found: install g++ or leave compile out")
    cuda = device.type == "cuda"
    translated = torch.compile(objective, mode="reduce-overhead" if cuda else "default", dynamic=False)

    def call(model: nn.Module, *inputs: Tensor) -> dict[str, Tensor]:
        if cuda:
            torch.compiler.cudagraph_mark_step_begin()
        try:
            terms = translated(model, *inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split())[:300]
            raise RuntimeError(
                f"torch.compile cannot translate this objective; leave compile out. It said: {reason}"
            ) from error
        return {name: term.clone() for name, term in terms.items()} if cuda else terms  # a replay writes over them

    return call


def _evaluate(model, players, batches, bf16, seed, where="the evaluation") -> dict[str, float]:
    modes, rows, sizes = [(module, module.training) for module in model.modules()], [], []
    model.eval()
    try:
        with torch.no_grad(), _own_randomness(seed), torch.autocast(batches.device.type, torch.bfloat16, enabled=bf16):
            for batch in batches:
                inputs = batch if isinstance(batch, tuple) else (batch,)
                terms = [(p.prefix, _checked(p.objective(model, *inputs))) for p in players]
                rows.append({prefix + name: term for prefix, own in terms for name, term in own.items()})
                sizes.append(len(inputs[0]))
    finally:
        for module, training in modes:  # each its own: a part may have been frozen in evaluation mode
            module.training = training
    return _means(rows, sizes, where, len(batches))


def _means(rows: list[dict[str, Tensor]], sizes: list[int], where: str, total: int) -> dict[str, float]:
    """Average terms over images; the one place where the device is waited for. Refuse NaN and infinity."""
    names = list(rows[0])
    table = torch.stack([torch.stack([row[name].float() for name in names]) for row in rows]).cpu().double()
    bad = (~table.isfinite()).nonzero()
    if len(bad):
        batch, term = bad[0].tolist()
        raise TrainingDiverged(
            f"{names[term]!r} became {table[batch, term].item()} in {where}, batch {batch + 1} of {total}. "
            "Usual causes: a learning rate that is too high, a logarithm or division of zero, inputs outside [0, 1]"
        )
    weights = torch.tensor(sizes, dtype=torch.float64)
    return dict(zip(names, ((weights[:, None] * table).sum(0) / weights.sum()).tolist(), strict=True))


def _checked(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    if not isinstance(terms, dict) or "loss" not in terms:
        found = sorted(terms) if isinstance(terms, dict) else type(terms).__name__
        raise ValueError(
            f"an objective returns a dict of named terms with 'loss' among them; this one returned {found}"
        )
    for name, term in terms.items():
        if not isinstance(term, Tensor):
            raise ValueError(f"term {name!r} is a {type(term).__name__}; give a tensor that holds one number")
        if term.ndim != 0:
            raise ValueError(f"term {name!r} has shape {tuple(term.shape)}; average over the batch to get one number")
    return terms


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Draw from a generator of one's own, and leave every global one as it was."""
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            yield
    finally:
        if mps is not None:
            torch.mps.set_rng_state(mps)


class _Kept:
    """A training that a folder may hold: loaded if it was finished before, else kept at its end; see ``kept``.

    Nothing is done without a folder. What is loaded is what training would have given, to the
    last bit: weights, gradients, history, random state, and ``on_epoch_end`` called with the weights of each epoch.
    """

    def __init__(self, folder: Path | None, model: nn.Module, functions: tuple, data: tuple, options: dict):
        self.path, self.model, self.hook, self.epochs = None, model, functions[2], []
        self.changing = functions[:2]  # what training must leave as it was, for nobody would change it on loading
        if folder is None:
            return
        everything = (model, *functions, *data, options, kept.randomness(), kept.surroundings())
        try:
            if any(isinstance(part, Dataset) and not isinstance(part, TensorDataset) for part in data):
                raise Unkeepable("a Dataset, which may read files")
            self.path = folder / f"{fingerprint(*everything)}.pt"
            self.before = self._beside()
        except Unkeepable as reason:
            self._refuse(f"it depends on {reason}")

    def _beside(self) -> tuple[str, str]:
        """Return a name of what loading does not restore: values of the objective and the model, NumPy's dice."""
        values = fingerprint(self.model, self.changing, ignoring_weights_of=self.model)
        return values, kept.other_randomness()

    def _refuse(self, reason: str) -> None:
        self.path = None
        kept.refuse(f"a training of {type(self.model).__name__} is not kept: {reason}")

    def remember(self, weights: dict[str, Tensor]) -> None:
        if self.path is not None and self.hook is not None:
            self.epochs.append({"weights": weights, **kept.randomness()})

    def keep(self, history: History) -> None:
        if self.path is None:
            return
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        try:
            if self._beside() != self.before:
                return self._refuse("training changes more than weights: a value that the objective or model holds")
            extra = {"history": history, "epochs": self.epochs, "gradients": gradients, **kept.randomness()}
            save_checkpoint(self.path, self.model, **extra)
        except (Unkeepable, OSError) as reason:
            self._refuse(str(reason))

    def load(self, history: History) -> bool:
        """Put the finished training into model and history; tell whether there was one."""
        try:
            state = load_checkpoint(self.path) if self.path is not None else None
        except (FileNotFoundError, ValueError):  # none, or damaged: train, and write it anew
            return False
        if state is None:
            return False
        self.model.train()
        rows = state["history"]
        for row, epoch in zip(rows, state["epochs"] if self.hook else [None] * len(rows), strict=True):
            history.append(row)
            if self.hook is not None:
                self.model.load_state_dict(epoch["weights"])
                kept.set_randomness(epoch)
                self.hook(self.model, history)
        _put(state["model"], self.model, self.path)
        for name, p in self.model.named_parameters():
            p.grad = state["gradients"][name].to(p.device) if name in state["gradients"] else None
        kept.set_randomness(state)
        return True


def _snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _save(folder: Path, model, players, history: History, settings: dict) -> None:
    extra = {
        "optimizers": [p.optimizer.state_dict() for p in players],
        "schedules": [p.schedule.state_dict() if p.schedule else {} for p in players],
        "history": history,
        "settings": settings,
        **kept.randomness(),
    }
    save_checkpoint(folder / "last.pt", model, **extra)
    measure = "valid_loss" if "valid_loss" in history[-1] else "loss"
    if measure in history[-1] and history[-1][measure] <= min(row[measure] for row in history):
        save_checkpoint(folder / "best.pt", model, **extra)


def _start(folder: Path | None, resume: bool, model, players, settings: dict) -> History:
    """Return the history to go on from: empty, or that of the checkpoint, with everything restored."""
    if folder is None:
        if resume:
            raise ValueError("resume=True needs checkpoint=FOLDER, the folder with last.pt")
        return []
    last = folder / "last.pt"
    if not last.exists():
        return []
    if not resume:
        raise FileExistsError(f"{last} holds another run; give resume=True to go on with it, or another folder")
    state = load_checkpoint(last)
    then = state.get("settings")
    if then is None:
        raise ValueError(f"{last} holds weights, but no run of fit to go on with")
    then = {"channels_last": False} | then  # checkpoints from before there was this setting
    differing = {k: (then.get(k), now) for k, now in settings.items() if then.get(k) != now}
    if differing:
        raise ValueError(f"{last} was made with other settings (then, now): {differing}; use these, or another folder")
    _put(state["model"], model, last)
    for player, steps, schedule in zip(players, state["optimizers"], state["schedules"], strict=True):
        player.optimizer.load_state_dict(steps)
        if player.schedule is not None:
            player.schedule.load_state_dict(schedule)
    kept.set_randomness(state)
    return state["history"]
