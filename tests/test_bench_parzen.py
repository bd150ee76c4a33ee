import json
import math

import pytest
import torch
from click.testing import CliRunner

from course_utils.tools import bench_parzen as bench
from course_utils.tools.cli import main


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "deep" / "parzen.json"
    threads = torch.get_num_threads()
    found = bench.bench_parzen(rounds=2, points=300, json_path=path, naive_points=40)
    assert torch.get_num_threads() == threads
    return found, path


def test_both_forms_are_measured_and_the_naive_one_is_scaled(result):
    found, path = result
    assert len(found["chunked"]["cpu"]["all"]) == 2 and found["chunked"]["cpu"]["min"] > 0
    assert found["naive"]["points"] == 40
    assert found["naive"]["cpu_scaled"] == pytest.approx(found["naive"]["cpu"]["median"] * 300 / 40)
    assert found["all_pairs_mb"] == pytest.approx(300 * 300 * 784 * 4 / 1e6)
    assert json.loads(path.read_text(encoding="utf-8")) == found


def test_the_two_forms_agree(result):
    assert result[0]["error_nats"] < 1e-3 and result[0]["error_points"] < 3e-3
    samples, test = torch.rand(30, 7), torch.rand(5, 7)
    slow = [
        math.log(sum(math.exp(-float((t - s).square().sum()) / (2 * 0.3**2)) for s in samples) / 30)
        - 3.5 * math.log(2 * math.pi * 0.3**2)
        for t in test
    ]
    assert bench.naive(samples.double(), test.double(), 0.3).tolist() == pytest.approx(slow, abs=1e-6)


def test_targets_are_judged_at_their_size_only(result):
    found = dict(result[0])
    assert found["targets"]["cpu_seconds"]["met"] is None and found["targets"]["error_nats"]["met"] is True
    found["points"] = 10_000
    for seconds, memory, met in ((9.9, 499, True), (10.1, 501, False)):
        found["chunked"] = {"cpu": {"median": seconds}, "memory_mb": memory}
        judged = bench._judge(found)
        assert [judged[name]["met"] for name in ("cpu_seconds", "memory_mb")] == [met, met]


def test_the_table_says_size_bounds_and_that_few_points_are_no_result(result):
    table = bench.as_table(result[0])
    for word in ("300 samples", "≤ 10", "≤ 500", "not judged", "scaled to 300", "enough to try the code"):
        assert word in table


def test_memory_that_is_taken_for_a_moment_is_seen():
    with bench._watched() as memory:
        taken = torch.ones(30_000_000)  # 120 MB
        del taken
    assert 60 < memory["mb"] < 400


@pytest.mark.parametrize(("rounds", "points", "few"), [(0, 300, 10), (1, 1, 1), (1, 300, 0), (1, 300, 301)])
def test_too_little_to_measure_is_refused(rounds, points, few):
    with pytest.raises(ValueError, match=f"rounds = {rounds}, points = {points}, naive_points = {few}"):
        bench.bench_parzen(rounds=rounds, points=points, naive_points=few)


def test_the_command_is_wired(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(bench, "bench_parzen", lambda *arguments, **options: calls.append((*arguments, options)))
    arguments = ["bench", "parzen", "--rounds", "2", "--points", "50", "--naive-points", "5", "--json", tmp_path / "p"]
    assert CliRunner().invoke(main, [str(a) for a in arguments]).exit_code == 0
    assert calls == [(2, 50, tmp_path / "p", {"naive_points": 5})]
    monkeypatch.undo()
    refused = CliRunner().invoke(main, ["bench", "parzen", "--points", "50", "--naive-points", "60"])
    assert refused.exit_code == 1 and "naive_points = 60" in refused.output
