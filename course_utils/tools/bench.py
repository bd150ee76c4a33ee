"""Measurements of the course's own code, each beside what it is compared with: the training loop, Parzen windows.

Every round runs every loop once, each in a process of its own, on one thread; reported are medians over the rounds with
the least and the largest value. Seconds depend on the machine and on who else uses it; ratios within a round hardly do.
"""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import json
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import ToTensor

from course_utils import datasets
from course_utils.batches import as_float
from course_utils.capture import WARM_UP, adam, record, warm
from course_utils.densities import bernoulli_log_prob, gaussian_kl, reparameterize
from course_utils.fit import fit
from course_utils.metrics import psnr
from course_utils.runtime import describe_machine, pick_device, replacing
from course_utils.samples import parzen_log_likelihood
from course_utils.tools.tables import as_text

BATCH_SIZE, BANDWIDTH = 128, 0.17
#: What ``fit`` is given in the loops that go through it.
FIT: dict[str, dict[str, Any]] = {
    "fit": {},
    "fit, bf16": {"bf16": True},
    "fit, bf16, channels last": {"bf16": True, "channels_last": True},
}
#: For each network: its words, images per epoch, and the bounds: loop, the one that it is divided by, sign, bound.
NETWORKS: dict[str, tuple[str, int, list[tuple[str, str, str, float]]]] = {
    "mlp": ("VAE 784-400-20", 60_000, [("fit", "floor", "≤", 1.10), ("DataLoader", "fit", "≥", 2.0)]),
    "conv": (
        "convolutional autoencoder 3×32×32, channels 32-64-128",
        8_000,
        [("fit", "floor", "≤", 1.10), *((name, "fit", "≤", 0.65) for name in list(FIT)[1:])],
    ),
}
#: On a card, where a step takes microseconds: batch sizes, epochs per measurement, and the share of the floor to reach.
CARD_BATCHES, CARD_EPOCHS, CARD_SHARE = (128, 1024), 20, 0.80
Times = dict[str, dict[str, list[float]]]


def bench_fit(
    rounds: int = 5,
    images: int | None = None,
    json_path: Path | None = None,
    *,
    network: str = "mlp",
    device: str = "cpu",
) -> dict[str, Any]:
    """Time one epoch through ``fit`` against a floor and the usual loop ("mlp"), or bf16 against float32 ("conv").

    Ratios are of CPU time. On a CUDA device, whose work the CPU's clock does not see, they are of wall time up to a
    synchronisation, and the floor is a bare step captured as a CUDA graph (see ``_on_card``). ``json_path`` gets the
    result as well. Less than one round or batch, another network or a device that is not there is a ``ValueError``.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; there are {', '.join(NETWORKS)}")
    words, default, bounds = NETWORKS[network]
    images = default if images is None else images
    if rounds < 1 or images < BATCH_SIZE:
        raise ValueError(f"rounds = {rounds}, images = {images}; at least one round and {BATCH_SIZE} images")
    device = pick_device(device).type
    pixels, source = pictures("digits" if network == "mlp" else "crops", images)
    every: dict[str, Callable] = {"floor": _floor, "DataLoader": _usual_example}
    every |= {name: partial(_through_fit, **options) for name, options in FIT.items()}
    names = list(dict.fromkeys(name for bound in bounds for name in bound[1::-1]))
    if device == "cuda":
        every, bounds = _on_card()
        names = list(every)
    loops = {name: partial(every[name], network=network, device=device) for name in names}
    times = _interleaved(loops, pixels, rounds, device)
    clock, rows, goals = "wall" if device == "cuda" else "cpu", _time_rows(times), []
    for upper, lower, sign, bound in bounds:  # round by round: what slows a whole round down cancels
        ratio = _spread([a / b for a, b in zip(times[upper][clock], times[lower][clock], strict=True)])
        goals.append((f"{clock} time of {upper} / {lower}", ratio, sign, bound))
    if network == "conv":
        quality = {name: _quality(pixels, device, options) for name, options in FIT.items()}
        rows += [(f"PSNR after five epochs: {name}", f"{value:.2f} dB", "") for name, value in quality.items()]
        lost = quality["fit"] - quality["fit, bf16, channels last"]
        goals.append(("PSNR lost by bf16 and channels last, dB", _spread([lost]), "≤", 0.10))
    elif device != "cuda":
        goals.append(("peak memory of the process, MB", _spread(times["fit"]["peak_mb"]), "≤", 1000))
    size = f"batch {BATCH_SIZE}, {-(-images // BATCH_SIZE)} steps"
    if device == "cuda":
        size = f"{CARD_EPOCHS} epochs of {images:,} images (DataLoader: one)"
    title = f"{words}, {size}, one thread, {device}; {source}"
    return _publish(title, rows, times, goals, json_path, enough=rounds >= 5)


def bench_parzen(
    rounds: int = 3, points: int = 10_000, json_path: Path | None = None, *, naive_points: int = 200
) -> dict[str, Any]:
    """Time Parzen windows on digits, ``points`` samples and test points, with the naive form beside them.

    The naive form, whose time is linear in them, runs on ``naive_points`` of them. Less than one round, two points or
    one naive point, or more naive points than there are, is a ``ValueError``.
    """
    if rounds < 1 or points < 2 or not 1 <= naive_points <= points:
        raise ValueError(
            f"rounds = {rounds}, points = {points}, naive_points = {naive_points}: at least 1, 2, 1 … points"
        )
    pixels, source = pictures("digits", 2 * points)
    few, slow = f"naive, {naive_points:,} test points", partial(_naive, count=naive_points)
    times = _interleaved({"parzen_log_likelihood": _chunked, few: slow}, pixels, rounds, "cpu")
    compared = min(50, naive_points)
    error = _chunked(pixels)[:compared] - _naive(pixels, compared)
    scaled = statistics.median(times[few]["cpu"]) * points / naive_points
    rows = [*_time_rows(times), (f"naive, the same scaled to {points:,} test points", f"{scaled:.0f}", "")]
    rows += [("all differences at once, float32 (computed, not run)", f"{points**2 * 784 * 4 / 1e6:,.0f} MB", "")]
    chunked = times["parzen_log_likelihood"]
    goals = [
        ("CPU seconds", _spread(chunked["cpu"]), "≤", 10),
        ("peak memory above the inputs, MB", _spread(chunked["above_mb"]), "≤", 500),
        ("error of the mean against the naive form in float64, nats", _spread([abs(float(error.mean()))]), "≤", 1e-3),
    ]
    title = f"Parzen windows, {points:,} samples and test points, 784 dimensions, one thread; {source}"
    return _publish(title, rows, times, goals, json_path, enough=points == 10_000)


def _publish(title: str, rows: list, times: Times, goals: list, path: Path | None, *, enough: bool) -> dict[str, Any]:
    """Print a measurement, write it as JSON, and return it; at another size than it asks for, no bound is judged."""
    rounds, machine, targets = len(next(iter(times.values()))["cpu"]), describe_machine(), {}
    table = [("to reach", "measured", "bound", "")]
    for words, spread, sign, bound in goals:
        met = spread["median"] <= bound if sign == "≤" else spread["median"] >= bound
        verdict = ("met" if met else "MISSED") if enough else "not judged"
        targets[words] = {"spread": spread, "bound": f"{sign} {bound:g}", "met": met if enough else None}
        table.append((words, _words(spread, ".3g"), f"{sign} {bound:g}", verdict))
    where = f"{machine['processor']}, torch {machine['torch']}; {rounds} rounds, median (least – largest)"
    print("\n".join([title, where, "", as_text(rows), "", as_text(table)]))
    if not enough:
        print("enough to try the code, not for a result")
    result = {"title": title, "rounds": rounds, "machine": machine, "times": times, "rows": rows, "targets": targets}
    if path is not None:
        with replacing(path) as file:
            file.write(json.dumps(result, indent=1, ensure_ascii=False).encode())
    return result


def _time_rows(times: Times) -> list[tuple[str, str, str]]:
    rows = [("", "CPU s", "wall s")]
    return rows + [(name, *(_words(_spread(t[c]), ".2f") for c in ("cpu", "wall"))) for name, t in times.items()]  # type: ignore[misc]


def _words(spread: dict[str, Any], form: str) -> str:
    return f"{spread['median']:{form}} ({spread['least']:{form}} – {spread['largest']:{form}})"


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "least": min(values), "largest": max(values), "all": list(values)}


def _floor(pixels: Tensor, network: str, device: str) -> None:
    """Step on one batch that lies on the device: the arithmetic that no loop can avoid."""
    model, objective = _model(network)
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x = as_float(pixels[:BATCH_SIZE].to(device))
    for _ in range(-(-len(pixels) // BATCH_SIZE)):
        optimizer.zero_grad(set_to_none=True)
        objective(model, x)["loss"].backward()
        optimizer.step()


def _on_card() -> tuple[dict[str, Callable], list[tuple[str, str, str, float]]]:
    """Return the loops that are timed on a card, and how much of the floor ``fit`` is to reach at every size."""
    loops: dict[str, Callable] = {}
    bounds = []
    for size, bf16 in itertools.product(CARD_BATCHES, (False, True)):
        words = f"batch {size}, {'bf16' if bf16 else 'float32'}"
        options: dict[str, Any] = {"batch_size": size, "bf16": bf16, "epochs": CARD_EPOCHS}
        loops[f"floor, {words}"] = partial(_captured_floor, **options)
        loops[f"fit, {words}"] = partial(_through_fit, **options)
        bounds.append((f"floor, {words}", f"fit, {words}", "≥", CARD_SHARE))
    for workers in (0, 4):
        loops[f"DataLoader, {workers} workers, batch {BATCH_SIZE}"] = partial(_usual_example, workers=workers)
    return loops, bounds


def _captured_floor(pixels: Tensor, network: str, device: str, *, batch_size: int, bf16: bool, epochs: int) -> None:
    """Replay a captured step on one batch that lies on the card: what no loop can avoid there."""
    model, objective = _model(network)
    model.to(device)
    optimizer = adam(list(model.parameters()), 1e-3, torch.device(device))
    x = as_float(pixels[:batch_size].to(device))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = objective(model, x)["loss"]
        loss.backward()
        optimizer.step()

    for _ in range(WARM_UP):
        warm(step, torch.device(device))
    replay = record(step, torch.device(device))
    for _ in range(epochs * -(-len(pixels) // batch_size)):
        replay()


def _through_fit(
    pixels: Tensor, network: str, device: str, *, epochs: int = 1, batch_size: int = BATCH_SIZE, **options: Any
) -> nn.Module:
    """Train as a chapter does, with the line of progress, which goes nowhere; return the network."""
    model, objective = _model(network)
    with contextlib.redirect_stdout(io.StringIO()):
        fit(model, objective, pixels, epochs=epochs, batch_size=batch_size, device=device, **options)
    return model


def _quality(pixels: Tensor, device: str, options: dict[str, Any]) -> float:
    """PSNR, in dB, of the convolutional autoencoder after five epochs, on images it has not seen if there are any."""
    model = _through_fit(pixels[: max(BATCH_SIZE, len(pixels) - 1000)], "conv", device, epochs=5, **options)
    x = as_float(pixels[-min(1000, len(pixels)) :])
    with torch.no_grad():
        return float(psnr(x, model(x.to(device)).clamp(0, 1).cpu()).mean())


def _usual_example(pixels: Tensor, network: str, device: str, *, workers: int = 0) -> None:
    """Train one epoch the way most public examples do: PIL and ToTensor per picture, plain Adam, ``.item()``."""
    model, objective = _model(network)
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "shuffle": True, "num_workers": workers}
    numbers, train_loss = range(len(pixels)), 0.0
    for x in DataLoader(numbers, collate_fn=partial(_batch, pixels), **options):  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss = objective(model, x.to(device))["loss"]
        loss.backward()
        train_loss += loss.item()
        optimizer.step()


def _batch(pixels: Tensor, indices: list[int]) -> Tensor:
    arrays = [pixels[index].permute(1, 2, 0).squeeze(-1).numpy() for index in indices]
    return torch.stack([ToTensor()(Image.fromarray(array)) for array in arrays])


def _model(network: str) -> tuple[nn.Module, Callable]:
    """Return the network of all loops and its objective: a small VAE, whose decoder gives logits, or convolutions."""
    torch.manual_seed(0)
    if network == "mlp":
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * 20))
        decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), nn.Unflatten(1, (1, 28, 28)))
        return nn.ModuleDict({"encoder": encoder, "decoder": decoder}), _negative_elbo
    sizes = list(itertools.pairwise((3, 32, 64, 128)))
    down = [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in sizes]
    up = [nn.ConvTranspose2d(b, a, 4, stride=2, padding=1) for a, b in reversed(sizes)]
    layers = [layer for each in [*down, *up] for layer in (each, nn.ReLU())]
    return nn.Sequential(*layers[:-1]), _squared_error  # no ReLU on the picture


def _squared_error(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    return {"loss": (x - model(x)).square().flatten(1).sum(1).mean()}


def _negative_elbo(vae: nn.ModuleDict, x: Tensor) -> dict[str, Tensor]:
    mu, logvar = vae["encoder"](x).chunk(2, dim=-1)  # (B, d) each
    reconstruction = -bernoulli_log_prob(x, vae["decoder"](reparameterize(mu, logvar)))  # (B,)
    kl = gaussian_kl(mu, logvar)  # (B,)
    return {"loss": (reconstruction + kl).mean(), "reconstruction": reconstruction.mean(), "kl": kl.mean()}


def _chunked(pixels: Tensor) -> Tensor:
    rows = pixels.flatten(1).float() / 255
    return parzen_log_likelihood(rows[: len(rows) // 2], rows[len(rows) // 2 :], BANDWIDTH)


def _naive(pixels: Tensor, count: int) -> Tensor:
    rows = pixels.flatten(1).double() / 255
    return naive_parzen(rows[: len(rows) // 2], rows[len(rows) // 2 :][:count], BANDWIDTH)


def naive_parzen(samples: Tensor, test: Tensor, bandwidth: float) -> Tensor:
    """Return the definition, (M,) nats, in the type of the inputs: all differences to one test point at a time."""
    scaled = torch.stack([-0.5 * (samples - point).square().sum(1) / bandwidth**2 for point in test])  # (M, N)
    constant = math.log(len(samples)) + 0.5 * samples.shape[1] * math.log(2 * math.pi * bandwidth**2)
    return torch.logsumexp(scaled, 1) - constant


def pictures(kind: str, count: int) -> tuple[Tensor, str]:
    """Return (count, C, H, W) uint8 "digits" (MNIST, else the embedded ones repeated) or "crops", and their source."""
    digits = "mnist" if datasets.present()["mnist"] != "missing" else datasets.EMBEDDED
    name = digits if kind == "digits" else datasets.DRAWN
    with contextlib.redirect_stdout(io.StringIO()):
        splits = datasets.load(name)
    pixels = torch.cat([splits.train.images, splits.valid.images, splits.test.images])
    words = f"{len(pixels):,} images repeated to {count:,}" if len(pixels) < count else f"{count:,} images"
    return pixels.repeat(-(-count // len(pixels)), 1, 1, 1)[:count].clone(), f"{name}, {words}"


def _interleaved(loops: Mapping[str, Callable], pixels: Tensor, rounds: int, device: str) -> Times:
    """Run every loop once per round, beginning each round with another one; return what is measured of each."""
    names, rows = list(loops), {name: [] for name in loops}  # type: tuple[list[str], dict[str, list[dict[str, float]]]]
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            rows[name].append(_in_own_process(loops[name], pixels, device))
        print(f"round {k + 1} of {rounds}: " + ", ".join(f"{n} {rows[n][-1]['cpu']:.2f} s" for n in names), flush=True)
    return {name: {key: [row[key] for row in measured] for key in measured[0]} for name, measured in rows.items()}


def _in_own_process(loop: Callable, pixels: Tensor, device: str) -> dict[str, float]:
    """Time a loop where no other one has decided how often memory must be asked for, which can cost a sixth."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_timed, loop, pixels, device).result()


def _timed(loop: Callable, pixels: Tensor, device: str) -> dict[str, float]:
    """Return seconds by both clocks, after a trial, the most memory of this process, and that above what it held."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    wait = torch.cuda.synchronize if device == "cuda" else gc.collect  # a device works behind the program's back
    loop(pixels[: 2 * BATCH_SIZE])  # imports, first allocations
    gc.collect()
    wait()
    held, cpu, wall = psutil.Process().memory_info().rss / 1e6, time.process_time(), time.perf_counter()
    loop(pixels)
    wait()
    seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    torch.set_num_threads(before)
    peak = _peak_mb()
    return seconds | {"peak_mb": peak, "above_mb": max(0.0, peak - held)}


def _peak_mb() -> float:
    """Return the largest resident memory this process has had (10⁶ bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage counts the parent's memory from before exec as well
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) * 1024 / 1e6
    memory = psutil.Process().memory_info()
    return getattr(memory, "peak_wset", memory.rss) / 1e6  # Windows keeps the peak; macOS gives what is held at the end
