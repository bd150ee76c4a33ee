"""In a lecture, what is loaded is what would have been computed, to the last bit; in doubt it is computed."""

import functools

import numpy as np
import pytest
import torch
from helpers.kernels import Kernels, cache_of, run
from torch import nn

from course_utils import fit as loop
from course_utils.tools import lecture_cache
from course_utils.tools.lecture_cache import Doubt, digest, reached

PARAMETERS = "width = 6\nrate = 0.01"
SETUP = """import itertools
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from course_utils import metrics, samples
from course_utils.fit import fit
torch.manual_seed(1)
x = torch.rand(40, 1, 4, 4)
def build():
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.BatchNorm1d(width), nn.Linear(width, 16))
def objective(model, x):
    return {"loss": (model(x + 0.1 * torch.randn_like(x)) - x.flatten(1)).square().mean()}
class Watch:
    def __init__(self):
        self.seen = []
    def __call__(self, model, history):
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        self.seen.append((weights, torch.randn(3), np.random.rand(), len(history), model.training))
options = {"lr": rate, "epochs": 2, "batch_size": 16, "progress": False}"""
TRAIN = "model = build()\nhistory = fit(model, objective, x, x[:10], **options)"


@pytest.fixture
def kernels(monkeypatch, tmp_path):
    monkeypatch.setattr(lecture_cache, "QUICK", 0.0)
    kernels = Kernels(monkeypatch, tmp_path / "kept")
    yield kernels
    kernels.close()


@pytest.fixture
def no_training(monkeypatch):
    """Make training impossible from when it is called."""
    return lambda: monkeypatch.setattr(loop._Run, "epoch", lambda *_: pytest.fail("trained again"))


def terms(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]


def assert_same(one, other):
    """The same to the last bit, in containers as well."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other) and one.stride() == other.stride()
    elif isinstance(one, dict):
        assert list(one) == list(other)
        assert_same(list(one.values()), list(other.values()))
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same(first, second)
    else:
        assert np.array_equal(one, other)


CASES = {
    "noise": TRAIN,
    "hook": "watch = Watch()\n" + TRAIN.replace("**options", "on_epoch_end=watch, **options"),
    "cosine, bf16": TRAIN.replace("**options", "cosine=True, bf16=True, **options"),
    "two players": """model = nn.ModuleDict({"a": nn.Linear(16, 16), "b": nn.Linear(16, 1)})
both = {name: lambda m, x, name=name: {"loss": m[name](x.flatten(1)).square().mean()} for name in ("a", "b")}
history = fit(model, both, x, **options | {"lr": {"a": 0.1, "b": 0.2}})""",
    "channels last": """model = nn.Conv2d(3, 4, 3)
y = torch.rand(20, 3, 8, 8)
history = fit(model, lambda m, x: {"loss": m(x).square().mean()}, y, channels_last=True, **options)""",
}


@pytest.mark.parametrize("name", CASES)
def test_loaded_is_trained_to_the_last_bit(kernels, no_training, name):
    def once(keeping=True):
        names = kernels.run(PARAMETERS, SETUP, CASES[name], "after = torch.get_rng_state()", keeping=keeping)
        gradients = [part.grad for part in names["model"].parameters()]
        seen = getattr(names.get("watch"), "seen", [])
        return terms(names["history"]), names["model"].state_dict(), gradients, names["after"], seen

    plain = once(keeping=False)
    assert not kernels.folder.exists()
    kept = once()
    assert len(kernels.files()) == 1
    no_training()
    loaded = once()
    assert_same(kept, loaded)
    assert_same(plain, loaded)


def test_history_keeps_the_seconds_of_the_training_that_took_place(kernels):
    first, second = (kernels.run(PARAMETERS, SETUP, TRAIN)["history"] for _ in range(2))
    assert first == second


def test_what_was_loaded_can_be_trained_on(kernels):
    further = TRAIN + "\nmore = fit(model, objective, x, seed=9, **options)"
    plain, kept, loaded = (kernels.run(PARAMETERS, SETUP, further, keeping=keeping) for keeping in (False, True, True))
    assert len(kernels.files()) == 2
    for names in (kept, loaded):
        assert_same(names["model"].state_dict(), plain["model"].state_dict())
        assert terms(names["more"]) == terms(plain["more"])


def test_parameters_count_by_value_and_comments_not_at_all(kernels, no_training):
    kernels.run(PARAMETERS, "# Parameters\nwidth = 5\n", SETUP, TRAIN)  # as papermill runs it with -p width 5
    no_training()
    edited = "# of the layers\nwidth    = 5  # by hand\n\nrate = 1e-2"
    kernels.run(
        "# a heading in code\n", edited, SETUP.replace("def build", "# the network\n\ndef build"), TRAIN + "  # now"
    )
    assert len(kernels.files()) == 1


CHANGES = {
    "a parameter": (PARAMETERS.replace("6", "7"), SETUP, TRAIN),
    "its kind": (PARAMETERS.replace("0.01", "1"), SETUP, TRAIN),
    "an earlier cell": (PARAMETERS, SETUP.replace("0.1 *", "0.2 *"), TRAIN),
    "a cell more": (PARAMETERS, SETUP, "sum([])", TRAIN),
    "a cell run again": (PARAMETERS, SETUP, SETUP, TRAIN),
    "another order": (SETUP.replace("rate", "0.01"), PARAMETERS, TRAIN),
    "an option": (PARAMETERS, SETUP, TRAIN.replace("**options", "seed=1, **options")),
    "the cell itself": (PARAMETERS, SETUP, TRAIN + "\nshown = 1"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_story_is_another_training(kernels, name):
    kernels.run(PARAMETERS, SETUP, TRAIN)
    kernels.run(*CHANGES[name])
    assert len(kernels.files()) == 2


def test_threads_versions_and_the_package_count(kernels, monkeypatch):
    shell = kernels.start()
    cache = cache_of(shell)
    cache.running, before = True, cache.package
    names = [cache.key()]
    monkeypatch.setattr(cache, "call", 1)
    names.append(cache.key())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 63)
    names.append(cache.key())
    monkeypatch.setattr(cache, "package", "of another day")
    names.append(cache.key())
    np.random.rand()
    names.append(cache.key())
    monkeypatch.undo()
    monkeypatch.setattr(lecture_cache, "version", lambda name: "0.0")
    assert len(set(names)) == 5 and cache_of(kernels.start()).package != before


def test_the_same_call_twice_in_a_cell_may_mean_two_things(kernels):
    """The factor stands in a closure, which nothing else in the name of a training tells."""
    cell = """losses = []
for factor in (1.0, 2.0):
    model = build()
    losses.append(fit(model, lambda m, x: {"loss": factor * objective(m, x)["loss"]}, x, **options)[0]["loss"])"""
    plain, kept, loaded = (kernels.run(PARAMETERS, SETUP, cell, keeping=k)["losses"] for k in (False, True, True))
    assert plain == kept == loaded and plain[1] > 1.5 * plain[0] and len(kernels.files()) == 2


def test_run_from_the_parameters_on_it_is_loaded_again(kernels, no_training):
    shell = kernels.start()
    for cell in (PARAMETERS, SETUP, TRAIN):
        run(shell, cell)
    run(shell, "width = 9")  # tried out in between
    no_training()
    for cell in (PARAMETERS, SETUP, TRAIN):
        run(shell, cell)
    assert len(kernels.files()) == 1


def test_in_a_kernel_that_began_anew_nothing_more_is_kept(kernels):
    shell = kernels.start()
    for cell in (PARAMETERS, SETUP, "hidden = 3", PARAMETERS, SETUP, TRAIN):
        run(shell, cell)
    assert not kernels.files()
    for cell in (PARAMETERS, "max = min", PARAMETERS, SETUP, TRAIN):
        run(shell, cell)
    assert "Python's max was given another meaning" in kernels.refusals()


@pytest.mark.parametrize("bad", ["1 / 0", "raise KeyboardInterrupt"])
def test_after_a_cell_that_failed_nothing_is_kept_or_loaded(kernels, bad):
    shell = kernels.start()
    for cell in (PARAMETERS, SETUP):
        run(shell, cell)
    assert not shell.run_cell(bad).success
    run(shell, TRAIN)
    assert not kernels.files() and "a cell that failed or was interrupted" in kernels.refusals()


def test_a_cell_that_python_cannot_read_changes_nothing(kernels, no_training):
    kernels.run(PARAMETERS, SETUP, TRAIN)
    shell = kernels.start()
    for cell in (PARAMETERS, SETUP):
        run(shell, cell)
    assert not shell.run_cell("for for").success
    no_training()
    run(shell, TRAIN)


def test_a_training_stopped_by_hand_or_diverged_is_not_kept(kernels):
    stop = "def stop(model, history):\n    raise KeyboardInterrupt\n"
    kernels.run(
        PARAMETERS, SETUP, stop + TRAIN.replace("**options", "on_epoch_end=stop, **options"), "model = build()", TRAIN
    )
    assert not kernels.files() and "stopped by hand" in kernels.refusals()
    bad = (
        "try:\n    fit(build(), lambda m, x: {'loss': m(x).sum() / 0}, x, **options)\nexcept ArithmeticError:\n    pass"
    )
    kernels.run(PARAMETERS, SETUP, bad)
    assert not kernels.files()


NOT_KEPT = {
    "counts": ("steps = itertools.count(1)", "min(1.0, next(steps) / 4) *", "changes more than it returns"),
    "is read from a generator": (
        "steps = iter('ab' * 99 + 'c')\nn = (k for k in 'ab')",
        "len(str(n)) *",
        "cannot be read",
    ),
    "grows": ("seen = []", "seen.append(1) or", "changes more than it returns"),
}


@pytest.mark.parametrize("name", NOT_KEPT)
def test_an_objective_whose_state_loading_would_not_restore_is_not_kept(kernels, name):
    before, factor, words = NOT_KEPT[name]
    odd = before + "\n" + f"def odd(model, x):\n    return {{'loss': {factor} objective(model, x)['loss']}}\n"
    names = kernels.run(PARAMETERS, SETUP, odd + TRAIN.replace("objective", "odd"))
    assert len(names["history"]) == 2 and not kernels.files()
    assert words in kernels.refusals() and "a training of Sequential is not kept" in kernels.refusals()


def test_a_model_that_changes_beside_its_weights_is_not_kept(kernels):
    odd = """class Net(nn.Linear):
    steps = 0
    def forward(self, x):
        self.steps += 1
        return super().forward(x.flatten(1))
fit(Net(16, 1), lambda m, x: {"loss": m(x).square().mean()}, x, **options)"""
    kernels.run(PARAMETERS, SETUP, odd)
    assert not kernels.files() and "a training of Net is not kept" in kernels.refusals()


def test_numpys_generator_counts_and_is_restored(kernels):
    noisy = "fit(build(), lambda m, x: {'loss': objective(m, x)['loss'] * np.random.rand()}, x, **options)"
    cells = (PARAMETERS, SETUP, f"history = {noisy}\nafter = np.random.rand()")
    kept, loaded = kernels.run(*cells), kernels.run(*cells)
    assert kept["history"] == loaded["history"] and kept["after"] == loaded["after"] and len(kernels.files()) == 1
    kernels.run(PARAMETERS, SETUP, "np.random.seed(3)", *cells[2:])
    assert len(kernels.files()) == 2


def test_a_generator_without_a_seed_ends_all_keeping(kernels):
    kernels.run(PARAMETERS, SETUP, "factor = np.random.default_rng().random()", TRAIN)
    assert not kernels.files() and "default_rng(), which draws anew" in kernels.refusals()
    kernels.run(PARAMETERS, SETUP, "factor = np.random.default_rng(0).random()", TRAIN)
    assert len(kernels.files()) == 1


def test_a_data_set_that_reads_files_is_not_kept(kernels, tmp_path):
    (tmp_path / "factor.txt").write_text("1.0")
    odd = f"""class Files(Dataset):
    def __len__(self):
        return 20
    def __getitem__(self, index):
        return x[index] * float(open({str(tmp_path / "factor.txt")!r}).read())
"""
    shell = kernels.start()
    cache = cache_of(shell)
    cache.began += 60  # the file is older than the kernel
    opened = __builtins__["open"]
    shell.user_ns["open"] = lambda path: (cache.opened("open", (path, "r", 0)), opened(path))[1]  # no hook in tests
    for cell in (PARAMETERS, SETUP, odd + TRAIN.replace("x, x[:10]", "Files()")):
        run(shell, cell)
    assert not kernels.files() and "or reads files" in kernels.refusals()
    kernels.run(PARAMETERS, SETUP, TRAIN.replace("x, x[:10]", "TensorDataset(x)"))
    assert len(kernels.files()) == 1


def test_data_sets_count_by_what_is_in_them(kernels, tmp_path):
    """The objective sees the pictures through a name, so that arguments do not tell them."""
    load = f"from course_utils import datasets\nsplits = datasets.load({str(tmp_path / 'own.npz')!r})"
    cell = "mean = splits.train.flat().mean()\n" + TRAIN
    for value in (1, 2, 1):
        np.savez(tmp_path / "own.npz", images=np.full((40, 8, 8), value, np.uint8), labels=np.arange(40) % 2)
        kernels.run(PARAMETERS, SETUP, load, cell)
    assert len(kernels.files()) == 2


def test_files_that_cells_read_count(kernels, tmp_path):
    own = tmp_path / "factor.txt"
    own.write_text("1.0")
    shell = kernels.start()
    cache = cache_of(shell)
    cache.opened("open", (str(own), "r", 0))
    assert not cache.files, "no cell runs"
    cache.running, cache.began = True, cache.began + 60
    before = cache.key()
    kernels.folder.mkdir()
    (kernels.folder / "kept.pt").write_text("")
    others = ("none", ".hidden/x", "kept/kept.pt")
    for path in (np.__file__, "/proc/cpuinfo", *(str(tmp_path / name) for name in others)):
        cache.opened("open", (path, "r", 0))
    cache.opened("open", (str(own), "w", 0))
    assert cache.key() == before
    cache.opened("open", (str(own), "r", 0))
    assert cache.key() != before
    cache.files, cache.began = {}, 0.0
    cache.opened("open", (str(own), "r", 0))
    assert cache.key() == before, "written since the kernel began: the cells tell what is in it"


def test_a_damaged_file_is_trained_anew_and_mended(kernels, no_training):
    kernels.run(PARAMETERS, SETUP, TRAIN)
    (file,) = kernels.files()
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[: size // 2])
    kernels.run(PARAMETERS, SETUP, TRAIN)
    assert file.stat().st_size == size
    no_training()
    kernels.run(PARAMETERS, SETUP, TRAIN)


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_file(kernels, tmp_path):
    (tmp_path / "file").write_text("")
    kernels.folder = tmp_path / "file" / "kept"
    assert len(kernels.run(PARAMETERS, SETUP, TRAIN)["history"]) == 2


def test_with_a_checkpoint_of_ones_own_nothing_is_kept(kernels, tmp_path):
    kernels.run(PARAMETERS, SETUP, TRAIN.replace("**options", f"checkpoint={str(tmp_path / 'own')!r}, **options"))
    assert (tmp_path / "own" / "last.pt").exists() and not kernels.files()


def test_errors_are_those_of_fit(kernels):
    shell = kernels.start()
    run(shell, SETUP.replace("rate", "0.1"))
    with pytest.raises(TypeError, match="missing"):
        run(shell, "fit(1)")
    with pytest.raises(ValueError, match="epochs = 0"):
        run(shell, "width = 3\nfit(build(), objective, x, epochs=0)")


def test_the_line_says_that_it_was_loaded(kernels, capsys):
    lines = []
    for _ in range(2):
        kernels.run(PARAMETERS, SETUP, TRAIN.replace("**options", "**options | {'progress': 'net'}"))
        lines.append(capsys.readouterr().out.strip())
    assert lines[0].startswith("net: epoch 2/2 · loss") and "images/s" in lines[0]
    assert lines[1].startswith("net: epoch 2/2 · loss") and "loaded: trained before in 0 s" in lines[1]


def test_without_the_variable_nothing_is_wrapped(kernels):
    kernels.start(keeping=False)
    assert not hasattr(loop.fit, "__wrapped__")


# ---------------------------------------------------------------- slow functions

SLOW = """def slow(points, draws=2):
    with open(trace, "a") as file:
        file.write("called\\n")
    kinds = {"array": np.arange(3.0), "number": np.float32(2.5), "tuple": (1, None, "word"), 4: [True, 2.5]}
    return points.sum() + torch.randn(draws), kinds
found = slow(torch.ones(3)), torch.get_rng_state()"""


@pytest.fixture
def slow(kernels, monkeypatch, tmp_path):
    """Cells that define a slow function, which ``course.yml`` names, and call it; it leaves a trace of each call."""
    (tmp_path / "course.yml").write_text("chapters: [{name: 01_toy, lecture: {keep: [slow]}}]")
    monkeypatch.chdir(tmp_path)
    trace = tmp_path / "calls"
    trace.write_text("")
    kernels.count = lambda: len(trace.read_text().splitlines())
    return PARAMETERS, SETUP, f"trace, calls = {str(trace)!r}, []", SLOW


def test_a_function_that_course_yml_names_is_loaded_also_in_the_cell_that_defines_it(kernels, slow):
    plain, kept, loaded = (kernels.run(*slow, keeping=keeping)["found"] for keeping in (False, True, True))
    assert kernels.count() == 2 and len(kernels.files()) == 1
    assert_same(plain, kept)
    assert_same(kept, loaded)


@pytest.mark.parametrize("change", ["slow(torch.ones(4))", "slow(torch.ones(3), draws=3)", "slow(torch.zeros(3))"])
def test_other_arguments_are_computed(kernels, slow, change):
    kernels.run(*slow)
    kernels.run(*slow[:-1], slow[-1].replace("slow(torch.ones(3))", change))
    assert kernels.count() == 2


MANY = {
    "changes its argument": "points.add_(1), 1",
    "returns a class": "nn.ReLU()",
    "returns what can be trained": "points.clone().requires_grad_()",
    "changes a value that it reaches": "calls.append(1)",
}


@pytest.mark.parametrize("name", MANY)
def test_what_could_differ_when_loaded_is_not_kept(kernels, slow, name):
    kernels.run(*slow[:-1], f"def slow(points):\n    return {MANY[name]}\nslow(torch.ones(3))")
    assert not kernels.files() and "a result of slow is not kept" in kernels.refusals()


def test_what_is_quick_is_not_worth_a_file(kernels, slow, monkeypatch):
    monkeypatch.setattr(lecture_cache, "QUICK", 100.0)
    kernels.run(*slow)
    assert not kernels.files()


def test_slow_measures_are_kept_as_a_whole(kernels):
    cell = """points, labels = torch.rand(60, 3), torch.arange(60) % 3
found = [metrics.two_nn_dimension(points), samples.select_bandwidth(points[:30], points[30:]),
         metrics.probe_accuracy(points, labels, points, labels, per_class=4, seeds=(0, 1))]"""
    plain, kept, loaded = (kernels.run(PARAMETERS, SETUP, cell, keeping=k)["found"] for k in (False, True, True))
    assert_same(plain, kept)
    assert_same(kept, loaded)
    assert len(kernels.files()) == 3, "one file per call, not for the windows that the choice tries"


# ---------------------------------------------------------------- names of values


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, True), ("1", 1), ([[1], 2], [[1, 2]]), ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)), (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])), (np.zeros(2), np.zeros(3)),
        (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)), (np.float32(1), np.float64(1)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_different_data_have_different_names(one, other):
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


def test_equal_data_have_one_name_whether_shared_or_not():
    row = [1.0, "word"]
    assert digest([row, row]) == digest([[1.0, "word"], [float("1"), "words"[:4]]])


def test_functions_are_told_by_what_they_reach():
    held = [1.0]
    function = functools.partial(lambda x, k: x + held[0] + k, k=torch.ones(2))
    before = reached(function)
    assert reached(function) == before
    held[0] = 2.0
    changed = reached(function)
    held[0] = 1.0
    function.keywords["k"].add_(1)
    assert len({before, changed, reached(function)}) == 3
    with pytest.raises(Doubt, match="cannot be read"):
        reached(letter for letter in "a")


def test_weights_do_not_count_but_other_attributes_of_a_model_do():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())

    def name():
        return reached(model, [model], weights=model.state_dict(keep_vars=True).values())

    before = name()
    with torch.no_grad():
        model[0].weight.add_(1)
    assert name() == before
    model[1].p = 0.7
    assert name() != before


def test_results_with_any_keys_can_be_kept():
    first, second = ({("ink", "linear"): torch.tensor([value]), 3: [(value, {"a": None})]} for value in (1.0, 2.0))
    assert digest(first) == digest(dict(first)) != digest(second)
