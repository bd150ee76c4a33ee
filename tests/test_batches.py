import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from course_utils import batches
from course_utils.batches import Batches, as_float


class Pairs(Dataset):
    """A map-style data set that knows nothing of this course."""

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split)

    def __getitem__(self, k):
        return self.split.images[k], int(self.split.labels[k])


@pytest.fixture
def numbers():
    return torch.arange(23.0)[:, None]


def _seen(batches, epoch=0):
    return torch.cat(list(batches.epoch(epoch)))


def test_every_image_comes_once_per_epoch(numbers):
    batches = Batches(numbers, 5)
    sizes = [len(x) for x in batches]
    assert sizes == [5, 5, 5, 5, 3] and len(batches) == 5 and batches.size == 23
    for epoch in range(3):
        assert torch.equal(_seen(batches, epoch).flatten().sort().values, numbers.flatten())


def test_the_order_depends_on_seed_and_epoch_alone(numbers):
    after_others = Batches(numbers, 5, seed=1)
    for epoch in range(7):
        _seen(after_others, epoch)
    torch.rand(100)  # the global generator plays no part
    assert torch.equal(_seen(after_others, 7), _seen(Batches(numbers, 4, seed=1), 7))
    assert not torch.equal(_seen(after_others, 7), _seen(after_others, 8))
    assert not torch.equal(_seen(after_others, 7), _seen(Batches(numbers, 5, seed=2), 7))


def test_repetitions_with_neighbouring_seeds_share_no_order(numbers):
    """With seed + epoch, epoch 1 of seed 0 would be epoch 0 of seed 1, and a spread over seeds would be too small."""
    orders = {tuple(Batches(numbers, seed=seed).order(epoch).tolist()) for seed in range(6) for epoch in range(20)}
    assert len(orders) == 6 * 20


def test_the_defaults(numbers):
    some = Batches(torch.zeros(300, 1))
    assert [len(x) for x in some] == [128, 128, 44] and some.resident
    assert torch.equal(_seen(Batches(numbers)), _seen(Batches(numbers, seed=0, shuffle=True), 0))
    assert Batches(numbers, device="cpu").device.type == "cpu"


def test_the_device_wins_over_the_environment(numbers, monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "nonsense")
    assert next(iter(Batches(numbers, device="cpu"))).device.type == "cpu"
    with pytest.raises(ValueError, match="nonsense"):
        Batches(numbers)


def test_what_would_fill_a_cuda_device_is_not_resident(monkeypatch):
    """Resident data may fill at most half of the free memory."""
    images = torch.zeros(100, 1, dtype=torch.uint8)
    for free, fits in ((200, True), (199, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**9))
        assert batches._fits(images, torch.device("cuda")) is fits


@pytest.fixture(params=[True, False], ids=["resident", "away"])
def resident(request, monkeypatch):
    """Let data fit on the device or not."""
    monkeypatch.setattr(batches, "_fits", lambda images, device: request.param)
    return request.param


@pytest.mark.parametrize("kind", [torch.as_tensor, TensorDataset])
def test_taking_batches_draws_nothing_from_the_global_generator(numbers, kind):
    before = torch.get_rng_state()
    _seen(Batches(kind(numbers), 5))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_shuffling_the_order_is_that_of_the_data(numbers):
    assert torch.equal(_seen(Batches(numbers, 4, shuffle=False), 3), numbers)


@pytest.mark.parametrize("with_labels", [False, True])
def test_the_loader_gives_the_same_batches_as_resident_data(digits, with_labels):
    resident, loader = (
        Batches(data, 16, seed=3, with_labels=with_labels) for data in (digits.train, Pairs(digits.train))
    )
    assert resident.resident and not loader.resident
    first, second = list(resident.epoch(2)), list(loader.epoch(2))
    assert len(first) == len(second) == 4
    for ours, other in zip(first, second, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=0)


def test_batches_are_the_same_wherever_the_data_lie(digits, resident):
    ours = Batches(digits.train, 16, seed=3, with_labels=True)
    assert ours.resident is resident
    images, labels = digits.train.images[ours.order(2)], digits.train.labels[ours.order(2)]
    for k, (x, y) in enumerate(ours.epoch(2)):
        assert torch.equal(x, images[16 * k : 16 * k + 16] / 255) and torch.equal(y, labels[16 * k : 16 * k + 16])


@pytest.mark.parametrize("kind", [torch.as_tensor, TensorDataset])
def test_channels_last_changes_the_layout_and_nothing_else(kind):
    pixels = torch.arange(6 * 3 * 4 * 5, dtype=torch.uint8).view(6, 3, 4, 5)
    data, options = kind(pixels), {"batch_size": 4, "seed": 3}
    for x, plain in zip(Batches(data, channels_last=True, **options), Batches(data, **options), strict=True):
        assert torch.equal(x, plain) and plain.is_contiguous()
        assert x.stride() == (3 * 4 * 5, 1, 5 * 3, 3)  # the three colours of a pixel side by side
    flat = next(iter(Batches(kind(pixels.flatten(1)), channels_last=True, **options)))
    assert flat.shape == (4, 60) and flat.is_contiguous()


def test_labels_stay_with_their_images(digits):
    for x, y in Batches(digits.train, 7, with_labels=True):
        assert torch.equal(x[:, 0, ::2].mean(-1).argmax(1), y)  # class k has a bright row 2k


def test_bytes_become_floats_in_the_unit_interval_and_floats_pass(digits):
    assert torch.equal(as_float(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0, 0.2, 1]))
    floats = torch.randn(3)
    assert as_float(floats) is floats
    x = next(iter(Batches(digits.train, 8)))
    assert x.dtype == torch.float32 and 0.5 < float(x.max()) <= 1 and float(x.min()) >= 0
    assert digits.train.images.dtype == torch.uint8  # the data are as they were


def test_bytes_stay_bytes_until_they_are_asked_for(digits, resident):
    assert Batches(digits.train).parts[0].dtype == torch.uint8


class Endless(IterableDataset):
    def __iter__(self):
        yield from iter(lambda: torch.zeros(1), None)


@pytest.mark.parametrize("item", [{"image": torch.zeros(2)}, "a word"])
def test_a_dataset_of_other_things_than_tensors_is_refused(item):
    with pytest.raises(ValueError, match=f"this one gives a {type(item).__name__}"):
        next(iter(Batches(ListOf([item] * 3))))


class ListOf(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": torch.zeros(3, 1), "batch_size": 0}, "batch_size = 0"),
        ({"data": torch.zeros(3, 1), "batch_size": 2.5}, "batch_size = 2.5; give a whole number from 1"),
        ({"data": torch.zeros(3, 1), "seed": 1.5}, "seed = 1.5; give a whole number from 0"),
        ({"data": Endless()}, "of a Endless; give .* a Dataset that has a length"),
        ({"data": torch.zeros(0, 1)}, "empty"),
        ({"data": torch.zeros(3, 1), "with_labels": True}, "no labels"),
        ({"data": [1, 2, 3]}, "a list"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Batches(**arguments)


def test_a_dataset_without_labels_is_refused_when_labels_are_asked_for(numbers):
    with pytest.raises(ValueError, match="no labels"):
        next(iter(Batches(TensorDataset(numbers), with_labels=True)))


@pytest.mark.parametrize(
    ("module", "start", "workers"),
    [("__main__", "spawn", 0), ("__main__", "fork", 2), ("mine", "spawn", 2), ("mine", "fork", 2)],
)
def test_a_dataset_of_the_notebook_itself_has_no_workers_that_would_not_find_it(monkeypatch, module, start, workers):
    asked = {}
    monkeypatch.setattr(batches, "DataLoader", lambda *_, **options: asked.update(options) or [])
    monkeypatch.setattr(batches.multiprocessing, "get_start_method", lambda: start)
    monkeypatch.setattr(ListOf, "__module__", module)
    taken = Batches(ListOf([torch.zeros(1)]))
    taken.device = torch.device("cuda")
    assert list(taken) == [] and asked["num_workers"] == workers


class Noisy(Dataset):
    """Draws anew at every visit, as augmentation does."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.rand(2) + index


def test_random_augmentation_is_drawn_anew_in_every_epoch_also_by_workers(monkeypatch):
    made = []
    usual = batches.DataLoader

    def with_workers(data, size, **options):
        made.append(usual(data, size, **options | {"num_workers": 2, "pin_memory": False}))
        return made[-1]

    monkeypatch.setattr(batches, "DataLoader", with_workers)
    loader = Batches(Noisy(), 3, shuffle=False, device="cpu")
    first, again, second = (torch.cat(list(loader.epoch(number))) for number in (0, 0, 1))
    assert len(made) == 3 and torch.equal(first, again)
    assert not torch.isclose(first, second).any()


def test_a_checksum_tells_images_apart_but_not_their_device_or_layout(numbers):
    images = torch.rand(6, 3, 4, 4)
    other = images.clone()
    other[5, 2, 3, 3] += 1e-3
    first = Batches(images).checksum()
    assert first == Batches(images.to(memory_format=torch.channels_last), batch_size=2, seed=3).checksum()
    assert first != Batches(other).checksum() and first != Batches(images.flip(0)).checksum()
    assert Batches(TensorDataset(images)).checksum() is None
