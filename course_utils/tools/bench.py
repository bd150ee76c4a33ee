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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH_SIZE, LATENT_DIM, BANDWIDTH = 128, 20, 0.17
#: What is measured, in the words of the table.
LOOPS = {
    "floor": "floor: one fixed batch, fused Adam, nothing else",
    "fit": "fit: resident uint8 images, fused Adam",
    "fit_bf16": "fit, bf16=True: the same under bfloat16 autocast",
    "fit_bf16_last": "fit, bf16=True, channels_last=True: and the layout of convolutions",
    "dataloader": "usual example: PIL + ToTensor DataLoader, Adam, sigmoid + BCE, .item()",
}
#: What ``fit`` is given in the loops that go through it.
FIT: dict[str, dict[str, bool]] = {
    "fit": {},
    "fit_bf16": {"bf16": True},
    "fit_bf16_last": {"bf16": True, "channels_last": True},
}
#: For each network: its words, images per epoch, the loops, and the ratios that are formed.
NETWORKS: dict[str, tuple[str, int, tuple[str, ...], tuple[tuple[str, str], ...]]] = {
    "mlp": (
        f"VAE 784-400-{LATENT_DIM}",
        60_000,
        ("floor", "fit", "dataloader"),
        (("fit", "floor"), ("dataloader", "fit")),
    ),
    "conv": (
        "convolutional autoencoder 3×32×32, channels 32-64-128",
        8_000,
        ("floor", *FIT),
        (("fit", "floor"), ("fit_bf16", "fit"), ("fit_bf16_last", "fit")),
    ),
}
#: To reach: name → (what it bounds, "≤" or "≥", the bound).
TARGETS: dict[str, tuple[str, str, float]] = {
    "fit_over_floor": ("time of fit / floor", "≤", 1.10),
    "dataloader_over_fit": ("time of DataLoader loop / fit", "≥", 2.0),
    "fit_bf16_over_fit": ("time of fit with bf16 alone / fit", "≤", 0.65),
    "fit_bf16_last_over_fit": ("time of fit with bf16 and channels_last / fit", "≤", 0.65),
    "bf16_psnr_loss_db": ("PSNR lost by both after equal steps, dB", "≤", 0.10),
    "peak_memory_mb": ("peak memory of the process, MB", "≤", 1000),
    "cpu_seconds": ("CPU seconds, one thread", "≤", 10),
    "memory_mb": ("peak memory above the inputs, MB", "≤", 500),
    "error_nats": ("error of the mean against the naive form in float64, nats", "≤", 1e-3),
}


def bench_fit(
    rounds: int = 5,
    images: int | None = None,
    json_path: Path | None = None,
    *,
    network: str = "mlp",
    device: str = "cpu",
) -> dict[str, Any]:
    """Time one epoch through ``fit`` against a floor and the usual loop ("mlp"), or bf16 against float32 ("conv").

    On the CPU ratios are of CPU time, on a CUDA device, whose work the CPU's clock does not see, of wall time up to a
    synchronisation. ``json_path`` gets the result as well. Less than one round or batch, another network or a device
    that is not there is a ``ValueError``.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; there are {', '.join(NETWORKS)}")
    words, default, names, pairs = NETWORKS[network]
    images = default if images is None else images
    if rounds < 1 or images < BATCH_SIZE:
        raise ValueError(f"rounds = {rounds}, images = {images}; at least one round and {BATCH_SIZE} images")
    from course_utils.runtime import pick_device

    device = pick_device(device).type
    pixels, source = pictures("digits" if network == "mlp" else "crops", images)
    every: dict[str, Callable] = {"floor": _floor, "dataloader": _usual_example}
    every |= {name: partial(_through_fit, **options) for name, options in FIT.items()}
    loops = {name: partial(every[name], network=network, device=device) for name in names}
    times = _interleaved(loops, pixels, rounds, device)
    clock = "wall" if device == "cuda" else "cpu"
    ratios = {f"{a}_over_{b}": _ratio(times[a][clock], times[b][clock]) for a, b in pairs}
    values = {name: spread["median"] for name, spread in ratios.items()}
    rows = _time_rows(LOOPS, times)
    if network == "conv":
        quality = {name: _quality(pixels, device, options) for name, options in FIT.items()}
        values["bf16_psnr_loss_db"] = quality["fit"] - quality["fit_bf16_last"]
        rows += [(f"PSNR after five epochs, {name}", f"{value:.2f} dB", "") for name, value in quality.items()]
    else:
        values["peak_memory_mb"] = max(times["fit"]["peak_memory_mb"])
    title = f"{words}, batch {BATCH_SIZE}, {-(-images // BATCH_SIZE)} steps, one thread, {device}; {source}"
    return _publish("fit", title, rows, times, ratios, values, json_path, enough=rounds >= 5)


def bench_parzen(
    rounds: int = 3, points: int = 10_000, json_path: Path | None = None, *, naive_points: int = 200
) -> dict[str, Any]:
    """Time Parzen windows on digits, ``points`` samples and test points, with the naive form beside them.

    The naive form, all differences to one test point at a time, runs on ``naive_points`` of them; its time is linear
    in them. Less than one round, two points or one naive point, or more naive points than there are, is a
    ``ValueError``.
    """
    if rounds < 1 or points < 2 or not 1 <= naive_points <= points:
        raise ValueError(
            f"rounds = {rounds}, points = {points}, naive_points = {naive_points}: at least 1, 2, 1 … points"
        )
    pixels, source = pictures("digits", 2 * points)
    forms = {"chunked": _chunked_parzen, "naive": partial(_naive_on_some, count=naive_points)}
    times = _interleaved(forms, pixels, rounds, "cpu")
    few = min(50, naive_points)
    error = _chunked_parzen(pixels)[:few] - _naive_on_some(pixels, count=few)
    values = {
        "cpu_seconds": statistics.median(times["chunked"]["cpu"]),
        "memory_mb": max(times["chunked"]["memory_mb"]),
        "error_nats": abs(float(error.mean())),
    }
    slow = statistics.median(times["naive"]["cpu"]) * points / naive_points
    names = {"chunked": "samples.parzen_log_likelihood"}
    names["naive"] = f"naive, {naive_points:,} test points, one at a time"
    rows = _time_rows(names, times)
    rows += [(f"naive, the same scaled to {points:,} test points", f"{slow:.0f}", "")]
    rows += [("memory above the inputs, samples.parzen_log_likelihood", f"{values['memory_mb']:.0f} MB", "")]
    rows += [("all differences at once, float32 (computed, not run)", f"{points**2 * 784 * 4 / 1e6:,.0f} MB", "")]
    title = f"Parzen windows, {points:,} samples and test points, 784 dimensions, one thread; {source}"
    return _publish("parzen", title, rows, times, {}, values, json_path, enough=points == 10_000)


def _publish(name, title, rows, times, ratios, values, path: Path | None, *, enough: bool) -> dict[str, Any]:
    """Print a measurement, write it as JSON, and return it; at another size than asked for, bounds are not judged."""
    from course_utils.runtime import describe_machine, replacing
    from course_utils.tools.tables import as_text

    judged, goals = {}, [("to reach", "measured", "bound", "")]
    for key, value in values.items():
        words, sign, bound = TARGETS[key]
        met = value <= bound if sign == "≤" else value >= bound
        judged[key] = {"value": value, "bound": f"{sign} {bound:g}", "met": met if enough else None}
        verdict = ("met" if met else "MISSED") if enough else "not judged"
        measured = _words(ratios[key], ".3f") if key in ratios else f"{value:.3g}"
        goals.append((words, measured, f"{sign} {bound:g}", verdict))
    loops = {key: {clock: _spread(row) for clock, row in rows_of.items()} for key, rows_of in times.items()}
    rounds, machine = len(next(iter(times.values()))["cpu"]), describe_machine()
    result = {"benchmark": name, "title": title, "rounds": rounds, "machine": machine}
    result |= {"loops": loops, "ratios": ratios, "rows": rows, "targets": judged}
    where = f"{machine['processor']}, torch {machine['torch']}; {rounds} rounds, median (least – largest)"
    print("\n".join([title, where, "", as_text(rows), "", as_text(goals)]))
    if not enough:
        print("enough to try the code, not for a result")
    if path is not None:
        with replacing(path) as file:
            file.write(json.dumps(result, indent=1, ensure_ascii=False).encode())
    return result


def _time_rows(names: dict[str, str], times: dict[str, dict[str, list[float]]]) -> list[tuple[str, ...]]:
    rows = [
        (names[name], *(_words(_spread(row[clock]), ".2f") for clock in ("cpu", "wall"))) for name, row in times.items()
    ]
    return [("", "CPU s", "wall s"), *rows]


def _words(spread: dict[str, Any], form: str) -> str:
    return f"{spread['median']:{form}} ({spread['min']:{form}} – {spread['max']:{form}})"


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "all": list(values)}


def _ratio(upper: list[float], lower: list[float]) -> dict[str, Any]:
    """Divide round by round, then take the median: what slows a whole round down cancels."""
    return _spread([a / b for a, b in zip(upper, lower, strict=True)])


# ---------------------------------------------------------------- loops, networks, data


def _floor(pixels: Tensor, network: str, device: str) -> None:
    """Step on one batch that lies on the device: the arithmetic that no loop can avoid."""
    import torch

    from course_utils.batches import as_float

    model, objective = _model(network)
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x = as_float(pixels[:BATCH_SIZE].to(device))
    for _ in range(-(-len(pixels) // BATCH_SIZE)):
        optimizer.zero_grad(set_to_none=True)
        objective(model, x)["loss"].backward()
        optimizer.step()


def _through_fit(pixels: Tensor, network: str, device: str, *, epochs: int = 1, **options: bool) -> nn.Module:
    """Train as a chapter does, with the line of progress, which goes nowhere; return the network."""
    from course_utils.fit import fit

    model, objective = _model(network)
    with contextlib.redirect_stdout(io.StringIO()):
        fit(model, objective, pixels, epochs=epochs, batch_size=BATCH_SIZE, device=device, **options)
    return model


def _quality(pixels: Tensor, device: str, options: dict[str, bool]) -> float:
    """PSNR, in dB, of the convolutional autoencoder after five epochs, on images it has not seen if there are any."""
    import torch

    from course_utils.batches import as_float
    from course_utils.metrics import psnr

    cut = max(BATCH_SIZE, len(pixels) - 1000)
    model = _through_fit(pixels[:cut], "conv", device, epochs=5, **options)
    x = as_float(pixels[-min(1000, len(pixels)) :])
    with torch.no_grad():
        return float(psnr(x, model(x.to(device)).clamp(0, 1).cpu()).mean())


def _usual_example(pixels: Tensor, network: str, device: str) -> None:
    """Train one epoch the way most public examples do."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader

    model = _vae().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader: DataLoader = DataLoader(_Pictures(pixels), batch_size=BATCH_SIZE, shuffle=True)  # type: ignore[arg-type]
    train_loss = 0.0
    for x, _ in loader:
        x = x.to(device)
        optimizer.zero_grad()
        mu, logvar = model["encoder"](x).chunk(2, dim=-1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        x_hat = torch.sigmoid(model["decoder"](z))
        reconstruction = F.binary_cross_entropy(x_hat, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = (reconstruction + kl) / len(x)
        loss.backward()
        train_loss += loss.item()
        optimizer.step()


class _Pictures:
    """A data set as torchvision makes them: an array in memory, a PIL picture per item, then ToTensor."""

    def __init__(self, pixels: Tensor):
        from torchvision.transforms import ToTensor

        self.pixels, self.transform = pixels[:, 0], ToTensor()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index].numpy())), 0


def _chunked_parzen(pixels: Tensor) -> Tensor:
    from course_utils.samples import parzen_log_likelihood

    rows = pixels.flatten(1).float() / 255
    return parzen_log_likelihood(rows[: len(rows) // 2], rows[len(rows) // 2 :], BANDWIDTH)


def _naive_on_some(pixels: Tensor, count: int) -> Tensor:
    rows = pixels.flatten(1).double() / 255
    return naive_parzen(rows[: len(rows) // 2], rows[len(rows) // 2 :][:count], BANDWIDTH)


def naive_parzen(samples: Tensor, test: Tensor, bandwidth: float) -> Tensor:
    """Return the definition, (M,) nats, in the type of the inputs: all differences to one test point at a time."""
    import torch

    scaled = torch.stack([-0.5 * (samples - point).square().sum(1) / bandwidth**2 for point in test])  # (M, N)
    constant = math.log(len(samples)) + 0.5 * samples.shape[1] * math.log(2 * math.pi * bandwidth**2)
    return torch.logsumexp(scaled, 1) - constant


def _model(network: str) -> tuple[nn.Module, Callable]:
    """Return the network of all loops and its objective."""
    return (_vae(), _negative_elbo) if network == "mlp" else (_conv(), _squared_error)


def _conv() -> nn.Module:
    """Return the convolutional autoencoder: three convolutions of stride 2, and their mirror image."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    sizes = (3, 32, 64, 128)
    down = [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(sizes)]
    up = [nn.ConvTranspose2d(b, a, 4, stride=2, padding=1) for a, b in itertools.pairwise(sizes)][::-1]
    layers = [layer for pair in zip([*down, *up], [nn.ReLU() for _ in range(6)], strict=True) for layer in pair]
    return nn.Sequential(*layers[:-1])  # no ReLU on the picture


def _squared_error(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    return {"loss": (x - model(x)).square().flatten(1).sum(1).mean()}


def _vae() -> nn.ModuleDict:
    """Return the small VAE 784-400-20; the decoder gives logits."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * LATENT_DIM))
    decoder = nn.Sequential(nn.Linear(LATENT_DIM, 400), nn.ReLU(), nn.Linear(400, 784), nn.Unflatten(1, (1, 28, 28)))
    return nn.ModuleDict({"encoder": encoder, "decoder": decoder})


def _negative_elbo(vae: nn.ModuleDict, x: Tensor) -> dict[str, Tensor]:
    from course_utils.densities import bernoulli_log_prob, gaussian_kl, reparameterize

    mu, logvar = vae["encoder"](x).chunk(2, dim=-1)  # (B, d) each
    reconstruction = -bernoulli_log_prob(x, vae["decoder"](reparameterize(mu, logvar)))  # (B,)
    kl = gaussian_kl(mu, logvar)  # (B,)
    return {"loss": (reconstruction + kl).mean(), "reconstruction": reconstruction.mean(), "kl": kl.mean()}


def pictures(kind: str, count: int) -> tuple[Tensor, str]:
    """Return (count, C, H, W) uint8 "digits" (MNIST, else the embedded ones repeated) or "crops", and their source."""
    import torch

    from course_utils import datasets

    name = datasets.DRAWN
    if kind == "digits":
        name = "mnist" if datasets.present()["mnist"] != "missing" else datasets.EMBEDDED
    with contextlib.redirect_stdout(io.StringIO()):
        splits = datasets.load(name)
    parts = [splits.train.images, splits.valid.images]  # of MNIST, the 60,000 official training images
    pixels = torch.cat(parts if len(parts[0]) + len(parts[1]) >= count else [*parts, splits.test.images])
    words = f"{len(pixels):,} images repeated to {count:,}" if len(pixels) < count else f"{count:,} images"
    return pixels.repeat(-(-count // len(pixels)), 1, 1, 1)[:count].clone(), f"{name}, {words}"


# ---------------------------------------------------------------- clocks and memory


def _interleaved(
    loops: dict[str, Callable], pixels: Tensor, rounds: int, device: str, once: Callable | None = None
) -> dict[str, dict[str, list[float]]]:
    """Run every loop once per round, beginning each round with another one; return what ``once`` measures of each."""
    names, times = list(loops), {name: [] for name in loops}  # type: tuple[list[str], dict[str, list]]
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            times[name].append((once or _in_own_process)(loops[name], pixels, device))
        print(f"round {k + 1} of {rounds}: " + ", ".join(f"{n} {times[n][-1]['cpu']:.2f} s" for n in names), flush=True)
    return {name: {key: [row[key] for row in rows] for key in rows[0]} for name, rows in times.items()}


def _in_own_process(loop: Callable, pixels: Tensor, device: str) -> dict[str, float]:
    """Time a loop as someone meets it who starts Python and trains.

    In one process the loops would disturb each other: what one has allocated and freed decides how often the
    next asks the operating system for memory, which can cost a sixth of a step.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_timed, loop, pixels, device).result()


def _timed(loop: Callable, pixels: Tensor, device: str) -> dict[str, float]:
    """Return seconds by both clocks, after a trial, the most memory of this process, and that above what it held."""
    import psutil
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else gc.collect  # a device works behind the program's back
    with _one_thread():
        loop(pixels[: 2 * BATCH_SIZE])  # imports, first allocations
        gc.collect()
        wait()
        held, cpu, wall = psutil.Process().memory_info().rss / 1e6, time.process_time(), time.perf_counter()
        loop(pixels)
        wait()
        seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    peak = _peak_memory_mb()
    return seconds | {"peak_memory_mb": peak, "memory_mb": max(0.0, peak - held)}


def _peak_memory_mb() -> float:
    """Return the largest resident memory this process has had, interpreter and PyTorch included (10⁶ bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage counts the parent's memory from before exec as well
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 / 1e6
    import psutil

    memory = psutil.Process().memory_info()
    return getattr(memory, "peak_wset", memory.rss) / 1e6  # Windows keeps the peak; macOS gives what is held at the end


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
