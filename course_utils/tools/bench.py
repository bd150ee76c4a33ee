"""Measurements of the course's own code; everything is compared within one run on one machine.

``bench_fit`` answers one question: what does the training loop cost beyond the arithmetic it cannot
avoid? Absolute seconds depend on the machine and on who else uses it; the ratios hardly do.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

BATCH_SIZE = 128
LATENT_DIM = 20

#: What is measured, in the words of the table.
LOOPS = {
    "floor": "floor: one fixed batch, fused Adam, logits, nothing else",
    "fit": "fit: resident uint8 images, fused Adam, logits",
    "dataloader": "usual example: PIL + ToTensor DataLoader, Adam, sigmoid + BCE, .item()",
}

#: To reach: name → (what it bounds, the bound in words, test of the value).
TARGETS: dict[str, tuple[str, str, Callable[[float], bool]]] = {
    "fit_over_floor": ("CPU time of fit / floor", "≤ 1.10", lambda value: value <= 1.10),
    "dataloader_over_fit": ("CPU time of DataLoader loop / fit", "≥ 2.0", lambda value: value >= 2.0),
    "peak_memory_mb": ("peak memory of the process, MB", "< 1000", lambda value: value < 1000),
}


def bench_fit(rounds: int = 5, images: int = 60_000, json_path: Path | None = None) -> dict:
    """Time one VAE epoch (784-400-20, batch 128) through ``fit``, against a floor and the usual example.

    One thread. Every round runs all loops once, each round starting with another one, and gives one
    ratio; reported are medians over the rounds with the least and the largest value.

    Parameters
    ----------
    rounds
        At least five for a result; fewer only try the code out.
    images
        Images per epoch: MNIST if it is on this machine, else the embedded digits repeated.
    json_path
        Write the result there too, under a temporary name first.

    Returns
    -------
    dict
        ``data``, ``machine``, ``loops`` and ``ratios`` (each with ``cpu`` and ``wall``: ``median``,
        ``min``, ``max``, ``all``; seconds), ``peak_memory_mb`` and ``targets``.

    Raises
    ------
    ValueError
        For less than one round or less than one batch of images.
    """
    if rounds < 1 or images < BATCH_SIZE:
        raise ValueError(f"rounds = {rounds}, images = {images}; at least one round and {BATCH_SIZE} images")
    from course_utils.runtime import describe_machine

    with _one_thread():
        pixels, source = _images(images)
        loops = {"floor": _floor, "fit": _through_fit, "dataloader": _usual_example}
        for loop in loops.values():
            loop(pixels[: 2 * BATCH_SIZE])  # imports, first allocations
        times = _interleaved(loops, pixels, rounds)
    result = {
        "benchmark": "fit",
        "data": source,
        "network": f"VAE 784-400-{LATENT_DIM}, batch {BATCH_SIZE}, {-(-images // BATCH_SIZE)} steps, one thread, CPU",
        "rounds": rounds,
        "machine": describe_machine(),
        "loops": {name: {clock: _spread(values) for clock, values in t.items()} for name, t in times.items()},
        "ratios": {
            "fit_over_floor": _ratios(times["fit"], times["floor"]),
            "dataloader_over_fit": _ratios(times["dataloader"], times["fit"]),
        },
        "peak_memory_mb": round(_peak_memory_mb()),
    }
    result["targets"] = _judge(result)
    print(as_table(result))
    if json_path is not None:
        _write_json(Path(json_path), result)
    return result


def as_table(result: dict) -> str:
    """Return what ``bench_fit`` measured as lines of text."""
    machine = result["machine"]
    lines = [
        f"{result['network']}; {result['data']}",
        f"{machine['processor']}, torch {machine['torch']}; {result['rounds']} rounds, median (least – largest)",
        "",
        f"{'loop':<72} {'CPU s':>24} {'wall s':>24}",
    ]
    for name, words in LOOPS.items():
        cpu, wall = (_words(result["loops"][name][clock], ".2f") for clock in ("cpu", "wall"))
        lines.append(f"{words:<72} {cpu:>24} {wall:>24}")
    lines += ["", f"{'to reach':<72} {'measured':>24} {'bound':>24}"]
    for name, target in result["targets"].items():
        spread = result["ratios"].get(name, {}).get("cpu")
        measured = _words(spread, ".3f") if spread else f"{target['value']:.0f}"
        lines.append(
            f"{TARGETS[name][0]:<72} {measured:>24} {target['bound']:>17} {'met' if target['met'] else 'MISSED':>6}"
        )
    if result["rounds"] < 5:
        lines.append(f"only {result['rounds']} rounds: enough to try the code, not for a result (at least 5)")
    return "\n".join(lines)


def _floor(pixels) -> None:
    """Step on one batch that lies on the device: the arithmetic that no loop can avoid."""
    import torch

    from course_utils.batches import as_float

    model = _vae()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x = as_float(pixels[:BATCH_SIZE])
    for _ in range(-(-len(pixels) // BATCH_SIZE)):
        optimizer.zero_grad(set_to_none=True)
        _negative_elbo(model, x)["loss"].backward()
        optimizer.step()


def _through_fit(pixels) -> None:
    """Train one epoch as a chapter does, with the line of progress, which goes nowhere."""
    from course_utils.fit import fit

    with contextlib.redirect_stdout(io.StringIO()):
        fit(_vae(), _negative_elbo, pixels, epochs=1, batch_size=BATCH_SIZE, device="cpu")


def _usual_example(pixels) -> None:
    """Train one epoch the way most public examples do."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader

    model = _vae()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(_Pictures(pixels), batch_size=BATCH_SIZE, shuffle=True)
    train_loss = 0.0
    for x, _ in loader:
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


def _vae():
    """Return the network of all three loops: 784-400-20, the decoder gives logits."""
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


def _interleaved(loops: dict[str, Callable], pixels, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Time every loop once per round, beginning each round with another one: seconds by loop and clock."""
    times = {name: {"cpu": [], "wall": []} for name in loops}
    names = list(loops)
    for k in range(rounds):
        gc.collect()
        for name in names[k % len(names) :] + names[: k % len(names)]:
            cpu, wall = time.process_time(), time.perf_counter()
            loops[name](pixels)
            times[name]["cpu"].append(time.process_time() - cpu)
            times[name]["wall"].append(time.perf_counter() - wall)
        print(f"round {k + 1} of {rounds}: " + ", ".join(f"{n} {times[n]['cpu'][-1]:.2f} s" for n in names), flush=True)
    return times


def _spread(values: Sequence[float]) -> dict:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "all": list(values)}


def _ratios(upper: dict[str, list[float]], lower: dict[str, list[float]]) -> dict[str, dict]:
    """Divide round by round, then take the median: what slows a whole round down cancels."""
    return {clock: _spread([a / b for a, b in zip(upper[clock], lower[clock], strict=True)]) for clock in upper}


def _judge(result: dict) -> dict[str, dict]:
    values = {name: spreads["cpu"]["median"] for name, spreads in result["ratios"].items()}
    values["peak_memory_mb"] = result["peak_memory_mb"]
    return {name: {"value": values[name], "bound": bound, "met": test(values[name])}
            for name, (_, bound, test) in TARGETS.items()}  # fmt: skip


def _words(spread: dict, form: str) -> str:
    return f"{spread['median']:{form}} ({spread['min']:{form}} – {spread['max']:{form}})"


def _peak_memory_mb() -> float:
    """Return the largest resident memory this process has had, interpreter and PyTorch included (10⁶ bytes)."""
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
