import json
import math
import os
from functools import partial

import pytest
import torch
from click.testing import CliRunner

from course_utils.tools import bench
from course_utils.tools.cli import main


@pytest.fixture
def here(monkeypatch):
    """Time the loops in this process, to save seconds."""
    monkeypatch.setattr(bench, "_in_own_process", bench._timed)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "deep" / "fit.json"
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "_in_own_process", bench._timed)
        found = bench.bench_fit(rounds=1, images=300, json_path=path)
    assert torch.get_num_threads() == threads
    return found, path


@pytest.fixture(scope="module")
def parzen():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "_in_own_process", bench._timed)
        return bench.bench_parzen(rounds=2, points=300, naive_points=40)


def test_every_loop_and_clock_is_measured(result):
    found, _ = result
    assert list(found["times"]) == ["floor", "fit", "DataLoader"] and found["rounds"] == 1
    for row in found["times"].values():
        assert len(row["cpu"]) == 1 and row["cpu"][0] > 0 and row["wall"][0] > 0
    assert 50 < found["targets"]["peak memory of the process, MB"]["spread"]["median"] < 20_000
    assert "300 images" in found["title"] and "mnist" in found["title"]


def test_ratios_are_formed_round_by_round(monkeypatch):
    rows = {"floor": {"cpu": [1.0, 10.0, 2.0], "wall": [1.0] * 3, "peak_mb": [1.0] * 3}}
    rows["fit"] = {"cpu": [2.0, 30.0, 8.0], "wall": [5.0, 6.0, 7.0], "peak_mb": [900.0, 1100.0, 1200.0]}
    rows["DataLoader"] = {"cpu": [3.0, 60.0, 16.0], "wall": [5.0, 6.0, 7.0], "peak_mb": [1.0] * 3}
    monkeypatch.setattr(bench, "_interleaved", lambda *arguments: rows)
    targets = bench.bench_fit(rounds=5, images=300)["targets"]
    target = targets["cpu time of fit / floor"]
    assert target["spread"]["all"] == [2.0, 3.0, 4.0] and target["spread"]["median"] == 3.0
    assert target["met"] is False and targets["peak memory of the process, MB"]["met"] is False


def test_on_a_card_the_wall_clock_compares_fit_with_the_captured_step(monkeypatch):
    monkeypatch.setattr(bench, "pick_device", torch.device)
    asked = []

    def measured(loops, *_):
        asked.extend(loops)
        return {name: {"cpu": [9.0] * 2, "wall": [1.7, 1.8] if "floor" in name else [2.0] * 2} for name in loops}

    monkeypatch.setattr(bench, "_interleaved", measured)
    found = bench.bench_fit(rounds=5, images=300, device="cuda")
    sizes = [f"batch {size}, {kind}" for size in (128, 1024) for kind in ("float32", "bf16")]
    assert asked[:8] == [f"{loop}, {size}" for size in sizes for loop in ("floor", "fit")]
    assert [name.split(",")[1].strip() for name in asked[8:]] == ["0 workers", "4 workers"]
    targets = {name: (target["spread"]["all"], target["bound"]) for name, target in found["targets"].items()}
    assert targets == {f"wall time of floor, {size} / fit, {size}": ([0.85, 0.9], "≥ 0.8") for size in sizes}


@pytest.mark.parametrize(("network", "shape"), [("mlp", (1, 28, 28)), ("conv", (3, 32, 32))])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_captured_floor_takes_the_steps_of_so_many_epochs(monkeypatch, network, shape, bf16):
    """With a recorder in place of the card: the warm-up, then one replay for every batch of every epoch."""
    steps, seen = [], []
    monkeypatch.setattr(bench, "warm", lambda step, device: (steps.append("warm"), step()))
    monkeypatch.setattr(bench, "record", lambda step, device: lambda: (steps.append("replay"), step()))
    monkeypatch.setattr(bench, "adam", lambda parameters, lr, device: torch.optim.Adam(parameters, lr=lr))
    make = bench._model

    def watched(name):
        model, objective = make(name)

        def look(network, x):
            terms = objective(network, x)
            seen.append((len(x), torch.is_autocast_enabled("cpu")))
            return terms

        return model, look

    monkeypatch.setattr(bench, "_model", watched)
    pixels = torch.randint(0, 255, (20, *shape), dtype=torch.uint8)
    bench._captured_floor(pixels, network, "cpu", batch_size=8, bf16=bf16, epochs=2)
    assert steps == ["warm"] * bench.WARM_UP + ["replay"] * 6 and set(seen) == {(8, bf16)}


def test_the_json_is_the_result_and_nothing_is_left_beside_it(result):
    found, path = result
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(found))
    assert os.listdir(path.parent) == ["fit.json"]


@pytest.mark.parametrize(
    ("sign", "values", "met"),
    [("≤", (1.05, 1.10, 1.11), (True, True, False)), ("≥", (1.05, 1.10, 1.11), (False, True, True))],
)
@pytest.mark.parametrize("enough", [True, False])
def test_bounds_are_judged_at_their_size_only(sign, values, met, enough, capsys):
    times = {"fit": {"cpu": [1.0], "wall": [1.0]}}
    for value, expected in zip(values, met, strict=True):
        goals = [("a goal", bench._spread([value]), sign, 1.10)]
        found = bench._publish("title", [("a",)], times, goals, None, enough=enough)
        assert found["targets"]["a goal"]["met"] is (expected if enough else None)
        printed = capsys.readouterr().out
        assert (("met" if expected else "MISSED") if enough else "not judged") in printed
        assert ("not for a result" in printed) != enough


def test_the_table_says_what_is_bounded(here, capsys):
    bench.bench_fit(rounds=1, images=300)
    printed = capsys.readouterr().out
    for word in ("≤ 1.1", "≥ 2", "≤ 1000", "CPU s", "wall s", "300 images", "not for a result"):
        assert word in printed


def test_the_convolutional_bench_compares_bf16_in_time_and_quality(here, monkeypatch):
    pixels = torch.randint(0, 256, (200, 3, 32, 32), dtype=torch.uint8)
    monkeypatch.setattr(bench, "pictures", lambda kind, count: (pixels[:count], f"{kind}, {count} images"))
    found = bench.bench_fit(rounds=1, images=200, network="conv")
    assert list(found["times"]) == ["floor", *bench.FIT] and "crops, 200" in found["title"]
    quality = {row[0].partition(": ")[2]: float(row[1].split()[0]) for row in found["rows"] if "PSNR" in row[0]}
    loss = found["targets"]["PSNR lost by bf16 and channels last, dB"]["spread"]["median"]
    assert loss == pytest.approx(quality["fit"] - quality["fit, bf16, channels last"], abs=0.011) and abs(loss) < 1
    for name in ("fit, bf16", "fit, bf16, channels last"):  # both are held to the bound
        assert found["targets"][f"cpu time of {name} / fit"]["bound"] == "≤ 0.65"


def test_each_loop_gets_its_options(monkeypatch):
    """bf16 and channels_last reach fit, and the floor does not go through it."""
    calls = []
    monkeypatch.setattr(bench, "fit", lambda *a, **options: calls.append(options))
    pixels = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    for options in bench.FIT.values():
        bench._through_fit(pixels, "conv", "cpu", **options)
    picked = [{key: options[key] for key in ("bf16", "channels_last") if key in options} for options in calls]
    assert picked == list(bench.FIT.values()) == [{}, {"bf16": True}, {"bf16": True, "channels_last": True}]


def test_the_convolutional_network_keeps_the_size_and_has_a_small_code():
    model, objective = bench._model("conv")
    x = torch.rand(2, 3, 32, 32)
    assert model(x).shape == x.shape and model[:5](x).shape == (2, 128, 4, 4)
    assert objective(model, x)["loss"].item() == pytest.approx((x - model(x)).square().sum().item() / 2, rel=1e-5)


def test_pictures_are_those_of_the_data_set_repeated(monkeypatch):
    from course_utils import datasets

    part = datasets.Split(torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1), torch.zeros(12, dtype=torch.int64))
    splits = datasets.Splits("street-digits", part[:6], part[6:8], part[8:], ("0",))
    monkeypatch.setattr(datasets, "load", lambda name: splits if name == "street-digits" else None)
    pixels, words = bench.pictures("crops", 20)
    assert pixels.flatten().tolist() == [*range(12), *range(8)]
    assert words == "street-digits, 12 images repeated to 20"
    pixels, words = bench.pictures("crops", 7)
    assert pixels.flatten().tolist() == [*range(7)] and words == "street-digits, 7 images"


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="unknown network 'transformer'; there are mlp, conv"):
        bench.bench_fit(network="transformer")


def test_rounds_start_with_another_loop_each_time(monkeypatch, capsys):
    ran = []

    def once(loop, pixels, device):
        ran.append(loop)
        return {"cpu": float(len(ran)), "wall": 2.0 * len(ran)}

    monkeypatch.setattr(bench, "_in_own_process", once)
    times = bench._interleaved({name: name for name in ("a", "b", "c")}, None, 3, "cpu")
    assert ran == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert times["a"] == {"cpu": [1, 6, 8], "wall": [2, 12, 16]} and times["c"]["cpu"] == [3, 5, 7]
    assert len(capsys.readouterr().out.splitlines()) == 3


def _note_process(path, pixels):
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {len(pixels)} {torch.get_num_threads()}\n")


def test_each_loop_is_timed_in_a_process_of_its_own_after_a_trial(tmp_path):
    pixels, note = torch.zeros(600, 1, 2, 2, dtype=torch.uint8), tmp_path / "processes"
    measured = [bench._in_own_process(partial(_note_process, note), pixels, "cpu") for _ in range(2)]
    rows = [line.split() for line in note.read_text(encoding="utf-8").splitlines()]
    assert [row[1:] for row in rows] == [["256", "1"], ["600", "1"]] * 2
    own, other = rows[0][0], rows[2][0]
    assert len({own, other, str(os.getpid())}) == 3 and rows[1][0] == own
    assert all(20 < m["peak_mb"] < 20_000 for m in measured)


def _take_memory(pixels):
    if len(pixels) > 256:  # not in the trial
        torch.ones(60_000_000)  # 240 MB, given back at once


def test_memory_that_is_taken_for_a_moment_is_seen():
    measured = bench._in_own_process(_take_memory, torch.zeros(600, 1, 2, 2, dtype=torch.uint8), "cpu")
    assert 150 < measured["above_mb"] < 500


def test_all_three_loops_train_the_same_network(monkeypatch):
    made, make = [], bench._model
    monkeypatch.setattr(bench, "_model", lambda network: made.append(make(network)) or made[-1])
    start = make("mlp")[0].state_dict()
    pixels, _ = bench.pictures("digits", 256)
    for loop in (bench._floor, bench._through_fit, bench._usual_example, partial(bench._usual_example, workers=2)):
        loop(pixels, "mlp", "cpu")
    assert len(made) == 4
    for model, _ in made:
        weights = model.state_dict()
        assert {name: value.shape for name, value in weights.items()} == {n: v.shape for n, v in start.items()}
        assert all(not torch.equal(weights[name], start[name]) for name in weights)


@pytest.mark.parametrize(("rounds", "images"), [(0, 300), (1, 10)])
def test_too_little_to_measure_is_refused(rounds, images):
    with pytest.raises(ValueError, match=f"rounds = {rounds}, images = {images}"):
        bench.bench_fit(rounds=rounds, images=images)


# ------------------------------------------------------------------------------------ Parzen windows


def test_both_forms_of_parzen_are_measured_and_agree(parzen):
    slow = parzen["times"]["naive, 40 test points"]["cpu"]
    assert len(slow) == len(parzen["times"]["parzen_log_likelihood"]["cpu"]) == 2
    error = parzen["targets"]["error of the mean against the naive form in float64, nats"]
    assert error["spread"]["median"] < 1e-3 and parzen["targets"]["CPU seconds"]["met"] is None
    words = {row[0]: row[1] for row in parzen["rows"]}
    scaled = sum(slow) / 2 * 300 / 40
    assert words["naive, the same scaled to 300 test points"] == f"{scaled:.0f}"
    assert words["all differences at once, float32 (computed, not run)"] == "282 MB"


def test_the_naive_form_is_the_definition():
    samples, test = torch.rand(30, 7), torch.rand(5, 7)
    slow = [
        math.log(sum(math.exp(-float((t - s).square().sum()) / (2 * 0.3**2)) for s in samples) / 30)
        - 3.5 * math.log(2 * math.pi * 0.3**2)
        for t in test
    ]
    assert bench.naive_parzen(samples.double(), test.double(), 0.3).tolist() == pytest.approx(slow, abs=1e-6)


@pytest.mark.parametrize(("rounds", "points", "few"), [(0, 300, 10), (1, 1, 1), (1, 300, 0), (1, 300, 301)])
def test_too_few_points_are_refused(rounds, points, few):
    with pytest.raises(ValueError, match=f"rounds = {rounds}, points = {points}, naive_points = {few}"):
        bench.bench_parzen(rounds=rounds, points=points, naive_points=few)


@pytest.mark.parametrize(
    ("command", "function", "expected"),
    [
        (
            ["parzen", "--rounds", "2", "--points", "50", "--naive-points", "5"],
            "bench_parzen",
            {"rounds": 2, "points": 50, "naive_points": 5},
        ),
        (
            ["fit", "--rounds", "2", "--images", "500", "--network", "conv", "--device", "cuda"],
            "bench_fit",
            {"rounds": 2, "images": 500, "network": "conv", "device": "cuda"},
        ),
    ],
)
def test_the_commands_are_wired(monkeypatch, tmp_path, command, function, expected):
    calls = []
    monkeypatch.setattr(bench, function, lambda **options: calls.append(options))
    done = CliRunner().invoke(main, ["bench", *command, "--json", str(tmp_path / "p")])
    assert done.exit_code == 0
    assert calls == [expected | {"json_path": tmp_path / "p"}]


def test_a_refusal_is_told_by_the_command():
    refused = CliRunner().invoke(main, ["bench", "parzen", "--points", "50", "--naive-points", "60"])
    assert refused.exit_code == 1 and "naive_points = 60" in refused.output
