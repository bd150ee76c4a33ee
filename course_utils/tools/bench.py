"""Measurements of the course's own code; everything is compared within one run on one machine.

``bench_fit`` answers one question: what does the training loop cost beyond the arithmetic it cannot
avoid? Absolute seconds depend on the machine and on who else uses it; the ratios hardly do.
"""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import json
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

BATCH_SIZE = 128
LATENT_DIM = 20

#: What is measured, in the words of the table.
LOOPS = {
    "floor": "floor: one fixed batch, fused Adam, nothing else",
    "fit": "fit: resident uint8 images, fused Adam",
    "fit_bf16": "fit, bf16=True: the same under bfloat16 autocast",
    "fit_bf16_last": "fit, bf16=True, channels_last=True: and the layout of convolutions",
    "dataloader": "usual example: PIL + ToTensor DataLoader, Adam, sigmoid + BCE, .item()",
}

#: What ``fit`` is given in the loops that go through it.
FIT = {
    "fit": {},
    "fit_bf16": {"bf16": True},
    "fit_bf16_last": {"bf16": True, "channels_last": True},
}

#: For each network: its words, images per epoch, and the loops that are compared.
NETWORKS = {
    "mlp": (f"VAE 784-400-{LATENT_DIM}", 60_000, ("floor", "fit", "dataloader")),
    "conv": ("convolutional autoencoder 3×32×32, channels 32-64-128", 8_000, ("floor", *FIT)),
}

#: To reach: name → (what it bounds, the bound in words, test of the value).
TARGETS: dict[str, tuple[str, str, Callable[[float], bool]]] = {
    "fit_over_floor": ("time of fit / floor", "≤ 1.10", lambda value: value <= 1.10),
    "dataloader_over_fit": ("time of DataLoader loop / fit", "≥ 2.0", lambda value: value >= 2.0),
    "fit_bf16_over_fit": ("time of fit with bf16 alone / fit", "≤ 0.65", lambda value: value <= 0.65),
    "fit_bf16_last_over_fit": ("time of fit with bf16 and channels_last / fit", "≤ 0.65", lambda value: value <= 0.65),
    "bf16_psnr_loss_db": ("PSNR lost by both after equal steps, dB", "≤ 0.10", lambda value: value <= 0.10),
    "peak_memory_mb": ("peak memory of the process, MB", "< 1000", lambda value: value < 1000),
}


def bench_fit(
    rounds: int = 5,
    images: int | None = None,
    json_path: Path | None = None,
    *,
    network: str = "mlp",
    device: str = "cpu",
) -> dict:
    """Time one epoch through ``fit`` against a floor: with a small VAE, or a convolutional autoencoder and bf16.

    One CPU thread. Every round runs all loops once, each in a process of its own and each round starting with
    another one, and gives one ratio; reported are medians over the rounds with the least and the largest value.
    On the CPU ratios are of CPU time; on a CUDA device, whose work the CPU's clock does not see, of wall time up
    to a synchronisation.

    Parameters
    ----------
    rounds
        At least five for a result; fewer only try the code out.
    images
        Images per epoch; as ``NETWORKS`` says if not given. For the VAE: MNIST if it is on this machine, else
        the embedded digits repeated; for the convolutional network: street-digits.
    json_path
        Write the result there too, under a temporary name first.
    network
        ``"mlp"`` or ``"conv"``.
    device
        ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    dict
        ``data``, ``machine``, ``loops`` and ``ratios`` (each with ``cpu`` and ``wall``: ``median``,
        ``min``, ``max``, ``all``; seconds), ``peak_memory_mb`` and ``targets``; with the convolutional network
        also ``psnr``, in dB, of each way through ``fit`` after five epochs on all but the last 1,000 images, on those.

    Raises
    ------
    ValueError
        For less than one round, less than one batch of images, another network, or a device that is not there.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; there are {', '.join(NETWORKS)}")
    words, default, names = NETWORKS[network]
    images = default if images is None else images
    if rounds < 1 or images < BATCH_SIZE:
        raise ValueError(f"rounds = {rounds}, images = {images}; at least one round and {BATCH_SIZE} images")
    from course_utils.runtime import describe_machine, pick_device

    device = pick_device(device).type
    with _one_thread():
        pixels, source = _images(images) if network == "mlp" else _crops(images)
        every = {"floor": _floor, "dataloader": _usual_example}
        every |= {name: partial(_through_fit, **options) for name, options in FIT.items()}
        loops = {name: partial(every[name], network=network, device=device) for name in names}
        times = _interleaved(loops, pixels, rounds, device)
        quality = {} if network == "mlp" else {name: _quality(pixels, device, FIT[name]) for name in FIT}
    result = {
        "benchmark": "fit",
        "data": source,
        "network": f"{words}, batch {BATCH_SIZE}, {-(-images // BATCH_SIZE)} steps, one thread, {device}",
        "device": device,
        "rounds": rounds,
        "machine": describe_machine(),
        "loops": {name: {clock: _spread(t[clock]) for clock in ("cpu", "wall")} for name, t in times.items()},
        "ratios": {"fit_over_floor": _ratios(times["fit"], times["floor"])},
        "psnr": quality,
        "peak_memory_mb": round(max(times["fit"]["peak_memory_mb"])),
    }
    if network == "mlp":
        result["ratios"]["dataloader_over_fit"] = _ratios(times["dataloader"], times["fit"])
    else:
        for name in ("fit_bf16", "fit_bf16_last"):
            result["ratios"][f"{name}_over_fit"] = _ratios(times[name], times["fit"])
    result["targets"] = _judge(result)
    print(as_table(result))
    if json_path is not None:
        _write_json(Path(json_path), result)
    return result


def as_table(result: dict) -> str:
    """Return what ``bench_fit`` measured as lines of text."""
    machine, clock = result["machine"], _clock(result)
    lines = [
        f"{result['network']}; {result['data']}",
        f"{machine['processor']}, torch {machine['torch']}; {result['rounds']} rounds, median (least – largest)",
        "",
        f"{'loop':<72} {'CPU s':>24} {'wall s':>24}",
    ]
    for name, spreads in result["loops"].items():
        cpu, wall = (_words(spreads[clock], ".2f") for clock in ("cpu", "wall"))
        lines.append(f"{LOOPS[name]:<72} {cpu:>24} {wall:>24}")
    lines += [f"{'PSNR after five epochs, ' + name:<72} {value:>21.2f} dB" for name, value in result["psnr"].items()]
    lines += ["", f"{'to reach (' + clock + ' time)':<72} {'measured':>24} {'bound':>24}"]
    for name, target in result["targets"].items():
        spread = result["ratios"].get(name, {}).get(clock)
        measured = _words(spread, ".3f") if spread else f"{target['value']:.3g}"
        lines.append(
            f"{TARGETS[name][0]:<72} {measured:>24} {target['bound']:>17} {'met' if target['met'] else 'MISSED':>6}"
        )
    if result["rounds"] < 5:
        lines.append(f"only {result['rounds']} rounds: enough to try the code, not for a result (at least 5)")
    return "\n".join(lines)


def _floor(pixels, network: str, device: str) -> None:
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


def _through_fit(pixels, network: str, device: str, *, epochs: int = 1, **options):
    """Train as a chapter does, with the line of progress, which goes nowhere; return the network."""
    from course_utils.fit import fit

    model, objective = _model(network)
    with contextlib.redirect_stdout(io.StringIO()):
        fit(model, objective, pixels, epochs=epochs, batch_size=BATCH_SIZE, device=device, **options)
    return model


def _quality(pixels, device: str, options: dict) -> float:
    """PSNR, in dB, of the convolutional autoencoder after five epochs, on images it has not seen if there are any."""
    import torch

    from course_utils.batches import as_float
    from course_utils.metrics import psnr

    cut = max(BATCH_SIZE, len(pixels) - 1000)
    model = _through_fit(pixels[:cut], "conv", device, epochs=5, **options)
    x = as_float(pixels[-min(1000, len(pixels)) :])
    with torch.no_grad():
        return float(psnr(x, model(x.to(device)).clamp(0, 1).cpu()).mean())


def _usual_example(pixels, network: str, device: str) -> None:
    """Train one epoch the way most public examples do."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader

    model = _vae().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(_Pictures(pixels), batch_size=BATCH_SIZE, shuffle=True)
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

    def __init__(self, pixels):
        from torchvision.transforms import ToTensor

        self.pixels, self.transform = pixels[:, 0], ToTensor()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int):
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index].numpy())), 0


def _model(network: str):
    """Return the network of all loops and its objective."""
    return (_vae(), _negative_elbo) if network == "mlp" else (_conv(), _squared_error)


def _conv():
    """Return the convolutional autoencoder: three convolutions of stride 2, and their mirror image."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    sizes = (3, 32, 64, 128)
    down = [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(sizes)]
    up = [nn.ConvTranspose2d(b, a, 4, stride=2, padding=1) for a, b in itertools.pairwise(sizes)][::-1]
    layers = [layer for pair in zip(down + up, [nn.ReLU() for _ in range(6)], strict=True) for layer in pair]
    return nn.Sequential(*layers[:-1])  # no ReLU on the picture


def _squared_error(model, x) -> dict:
    return {"loss": (x - model(x)).square().flatten(1).sum(1).mean()}


def _vae():
    """Return the small VAE 784-400-20; the decoder gives logits."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * LATENT_DIM))
    decoder = nn.Sequential(nn.Linear(LATENT_DIM, 400), nn.ReLU(), nn.Linear(400, 784), nn.Unflatten(1, (1, 28, 28)))
    return nn.ModuleDict({"encoder": encoder, "decoder": decoder})


def _negative_elbo(vae, x) -> dict:
    from course_utils.densities import bernoulli_log_prob, gaussian_kl, reparameterize

    mu, logvar = vae["encoder"](x).chunk(2, dim=-1)  # (B, d) each
    reconstruction = -bernoulli_log_prob(x, vae["decoder"](reparameterize(mu, logvar)))  # (B,)
    kl = gaussian_kl(mu, logvar)  # (B,)
    return {"loss": (reconstruction + kl).mean(), "reconstruction": reconstruction.mean(), "kl": kl.mean()}


def _images(count: int):
    """Return (count, 1, 28, 28) uint8 and where they come from."""
    import torch

    from course_utils import datasets

    name = "mnist" if datasets.present()["mnist"] != "missing" else datasets.EMBEDDED
    with contextlib.redirect_stdout(io.StringIO()):
        splits = datasets.load(name)
    parts = [splits.train.images, splits.valid.images]  # of MNIST, the 60,000 official training images
    pixels = torch.cat(parts if len(parts[0]) + len(parts[1]) >= count else [*parts, splits.test.images])
    del splits, parts
    times = -(-count // len(pixels))
    words = f"{len(pixels):,} images repeated to {count:,}" if times > 1 else f"{count:,} images"
    return (pixels.repeat(times, 1, 1, 1) if times > 1 else pixels)[:count], f"{name}, {words}"


def _crops(count: int):
    """Return (count, 3, 32, 32) uint8 house-number crops and where they come from."""
    from course_utils import datasets

    with contextlib.redirect_stdout(io.StringIO()):
        splits = datasets.load(datasets.DRAWN)
    pixels = splits.train.images
    return pixels.repeat(-(-count // len(pixels)), 1, 1, 1)[:count], f"{datasets.DRAWN}, {count:,} images"


def _interleaved(
    loops: dict[str, Callable], pixels, rounds: int, device: str = "cpu", once: Callable | None = None
) -> dict[str, dict[str, list[float]]]:
    """Run every loop once per round, beginning each round with another one; return what ``once`` measures of each."""
    once = _in_own_process if once is None else once
    names, times = list(loops), {name: [] for name in loops}
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            times[name].append(once(loops[name], pixels, device))
        print(f"round {k + 1} of {rounds}: " + ", ".join(f"{n} {times[n][-1]['cpu']:.2f} s" for n in names), flush=True)
    return {name: {key: [row[key] for row in rows] for key in rows[0]} for name, rows in times.items()}


def _in_own_process(loop: Callable, pixels, device: str) -> dict[str, float]:
    """Time a loop as someone meets it who starts Python and trains.

    In one process the loops would disturb each other: what one has allocated and freed decides how often the
    next asks the operating system for memory, which can cost a sixth of a step.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_timed, loop, pixels, device).result()


def _timed(loop: Callable, pixels, device: str) -> dict[str, float]:
    """Return seconds of one epoch by both clocks, and the largest memory of this process."""
    with _one_thread():
        loop(pixels[: 2 * BATCH_SIZE])  # imports, first allocations
        gc.collect()
        _wait_for(device)
        cpu, wall = time.process_time(), time.perf_counter()
        loop(pixels)
        _wait_for(device)
        seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return seconds | {"peak_memory_mb": _peak_memory_mb()}


def _wait_for(device: str) -> None:
    """Let the device finish: it works behind the program's back, and a clock read before that measures nothing."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def _clock(result: dict) -> str:
    """Say which clock counts: on a CUDA device the CPU's does not see the work."""
    return "wall" if result["device"] == "cuda" else "cpu"


def _spread(values: Sequence[float]) -> dict:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "all": list(values)}


def _ratios(upper: dict[str, list[float]], lower: dict[str, list[float]]) -> dict[str, dict]:
    """Divide round by round, then take the median: what slows a whole round down cancels."""
    return {clock: _spread([a / b for a, b in zip(upper[clock], lower[clock], strict=True)]) for clock in upper}


def _judge(result: dict) -> dict[str, dict]:
    values = {name: spreads[_clock(result)]["median"] for name, spreads in result["ratios"].items()}
    if result["psnr"]:
        values["bf16_psnr_loss_db"] = result["psnr"]["fit"] - result["psnr"]["fit_bf16_last"]
    else:
        values["peak_memory_mb"] = result["peak_memory_mb"]
    judged = {}
    for name, value in values.items():
        _, bound, test = TARGETS[name]
        judged[name] = {"value": value, "bound": bound, "met": test(value)}
    return judged


def _words(spread: dict, form: str) -> str:
    return f"{spread['median']:{form}} ({spread['min']:{form}} – {spread['max']:{form}})"


def _peak_memory_mb() -> float:
    """Return the largest resident memory this process has had, interpreter and PyTorch included (10⁶ bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage counts the parent's memory from before exec as well
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


@contextlib.contextmanager
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write_json(path: Path, result: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as file:
        json.dump(result, file, indent=1, ensure_ascii=False)
    os.replace(file.name, path)
