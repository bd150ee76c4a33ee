"""Measurement of ``metrics.parzen_log_likelihood``: time and memory on one thread, with a naive form beside it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from course_utils.tools.bench import _images, _one_thread, _spread, _words, _write_json

#: To reach with 10,000 samples, 10,000 test points and 784 dimensions: name → (in words, the largest value allowed).
TARGETS = {
    "cpu_seconds": ("CPU seconds, one thread", 10.0),
    "memory_mb": ("peak memory above the inputs, MB", 500.0),
    "error_nats": ("error of the mean against the naive form in float64, nats", 1e-3),
}
BANDWIDTH = 0.17


def bench_parzen(
    rounds: int = 3, points: int = 10_000, json_path: Path | None = None, *, naive_points: int = 200
) -> dict:
    """Time Parzen windows on digits, as many samples as test points, against pair-by-pair differences.

    Parameters
    ----------
    rounds
        Repetitions of the chunked form; the naive form runs once.
    points
        Samples, and test points; the targets are judged at 10,000 only. MNIST if it is on this machine, else the
        embedded digits repeated.
    json_path
        Write the result there too, under a temporary name first.
    naive_points
        Test points of the naive form, against all samples; its time is linear in them and scaled up to ``points``.

    Returns
    -------
    dict
        ``data``, ``machine``, ``chunked`` and ``naive`` (each with ``cpu``, ``wall`` as ``median``, ``min``, ``max``,
        ``all`` in seconds, and ``memory_mb``; of the naive form also ``cpu_scaled`` and ``points``),
        ``all_pairs_mb``, ``error_nats``, ``error_points``, ``targets``.

    Raises
    ------
    ValueError
        For less than one round, fewer than two points, or no naive points or more than there are.
    """
    if rounds < 1 or points < 2 or not 1 <= naive_points <= points:
        raise ValueError(
            f"rounds = {rounds}, points = {points}, naive_points = {naive_points}: at least 1, 2, 1 … points"
        )
    from course_utils.metrics import parzen_log_likelihood
    from course_utils.runtime import describe_machine

    with _one_thread():
        pixels, source = _images(2 * points)
        samples, test = (part.flatten(1).float() / 255 for part in (pixels[:points], pixels[points:]))
        del pixels
        parzen_log_likelihood(samples[:2], test[:2], BANDWIDTH)  # imports, first allocations
        runs = [_measure(lambda: parzen_log_likelihood(samples, test, BANDWIDTH)) for _ in range(rounds)]
        slow = _measure(lambda: naive(samples, test[:naive_points], BANDWIDTH))
        exact = naive(samples.double(), test[: min(50, naive_points)].double(), BANDWIDTH)
    result = {"benchmark": "parzen", "data": source, "points": points, "rounds": rounds, "machine": describe_machine()}
    result["chunked"], result["naive"] = _summary(runs), _summary([slow]) | {"points": naive_points}
    result["naive"]["cpu_scaled"] = slow["cpu"] * points / naive_points
    result["all_pairs_mb"] = points * points * samples.shape[1] * 4 / 1e6
    difference = runs[0]["value"][: len(exact)] - exact
    result["error_nats"], result["error_points"] = abs(float(difference.mean())), float(difference.abs().max())
    result["targets"] = _judge(result)
    print(as_table(result))
    if json_path is not None:
        _write_json(Path(json_path), result)
    return result


def naive(samples, test, bandwidth: float):
    """Return the definition, (M,) nats, in the type of the inputs: all differences to one test point at a time.

    All differences at once would need 314 GB for 10,000 × 10,000 pairs in float32; blocks of ten test points were five
    times slower than single ones.
    """
    import math

    import torch

    scaled = torch.stack([-0.5 * (samples - point).square().sum(1) / bandwidth**2 for point in test])  # (M, N)
    constant = math.log(len(samples)) + 0.5 * samples.shape[1] * math.log(2 * math.pi * bandwidth**2)
    return torch.logsumexp(scaled, 1) - constant


def as_table(result: dict) -> str:
    """Return what ``bench_parzen`` measured as lines of text."""
    machine, chunked, slow = result["machine"], result["chunked"], result["naive"]
    count, dots = f"{result['points']:,}", f"{slow['points']:,}"
    lines = [
        f"Parzen windows, {count} samples, {count} test points, 784 dimensions, one thread; {result['data']}",
        f"{machine['processor']}, torch {machine['torch']}; {result['rounds']} rounds, median (least – largest)",
        "",
        f"{'form':<66} {'CPU s':>24} {'MB above inputs':>16}",
        f"{'metrics.parzen_log_likelihood':<66} {_words(chunked['cpu'], '.2f'):>24} {chunked['memory_mb']:>16.0f}",
        f"{f'naive, {dots} test points, one at a time':<66} {slow['cpu']['median']:>24.2f} {slow['memory_mb']:>16.0f}",
        f"{f'naive, the same scaled to {count} test points':<66} {slow['cpu_scaled']:>24.0f} {'':>16}",
        f"{'all differences at once, float32 (computed, not run)':<66} {'':>24} {result['all_pairs_mb']:>16,.0f}",
        "",
        f"{'to reach':<66} {'measured':>24} {'bound':>16}",
    ]
    for name, target in result["targets"].items():
        met = {True: "met", False: "MISSED", None: "not judged"}[target["met"]]
        lines.append(f"{TARGETS[name][0]:<66} {target['value']:>24.3g} {'≤ ' + format(target['bound'], 'g'):>16} {met}")
    if result["points"] != 10_000:
        lines.append(f"{count} points: enough to try the code; the targets are for 10,000")
    return "\n".join(lines)


def _measure(call: Callable) -> dict:
    """Run once: seconds by both clocks, the largest resident memory above that before, and what was returned."""
    with _watched() as memory:
        cpu, wall = time.process_time(), time.perf_counter()
        value = call()
        return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "value": value, "memory": memory}


@contextlib.contextmanager
def _watched(every: float = 0.002) -> Iterator[dict]:
    """Look at the resident memory of this process again and again; ``memory["mb"]`` is the most above the start."""
    import psutil

    process, stop = psutil.Process(), threading.Event()
    start = process.memory_info().rss
    memory = {"mb": 0.0}

    def look() -> None:
        memory["mb"] = max(memory["mb"], (process.memory_info().rss - start) / 1e6)

    def watch() -> None:
        while not stop.wait(every):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        look()
        stop.set()
        thread.join()


def _summary(runs: list[dict]) -> dict:
    found = {clock: _spread([run[clock] for run in runs]) for clock in ("cpu", "wall")}
    return found | {"memory_mb": max(run["memory"]["mb"] for run in runs)}


def _judge(result: dict) -> dict[str, dict]:
    """Judge the medians; time and memory only at the size that they are bounded for."""
    values = {
        "cpu_seconds": result["chunked"]["cpu"]["median"],
        "memory_mb": result["chunked"]["memory_mb"],
        "error_nats": result["error_nats"],
    }
    judged = {}
    for name, value in values.items():
        bound = TARGETS[name][1]
        met = value <= bound if result["points"] == 10_000 or name == "error_nats" else None
        judged[name] = {"value": value, "bound": bound, "met": met}
    return judged
