"""The exercise checks of chapter 00 pass a right answer and name what is wrong with the others."""

import itertools

import torch
from helpers.answers import Answers
from torch import nn

from course_utils.checks import chapter_00 as check


def rows(images):
    return images.flatten(1).float() / 255


def error(x, x_hat):
    return (x - x_hat).square().flatten(1).sum(1).mean()


def constant(train, test):
    return (test - train.mean(0)).square().sum(1).mean()


class Deep(nn.Module):
    """The right answer to 0.5, with the slips that change its layers."""

    def __init__(self, d, last=None, after_code=None, between=nn.ReLU, flat=True, middle=64):
        super().__init__()
        sizes = [784, 256, middle, d]
        self.encoder = nn.Sequential(*([nn.Flatten()] if flat else []), *self.layers(sizes, between, after_code))
        self.decoder = nn.Sequential(*self.layers(sizes[::-1], between, last))

    def layers(self, sizes, between, last):
        made = []
        for a, b in itertools.pairwise(sizes):
            made += [nn.Linear(a, b), between()]
        return made[:-1] + ([last()] if last else [])

    def forward(self, x):
        return self.decoder(self.encoder(x)).view_as(x)


class Functional(Deep):
    """The same with ReLUs that are no modules; the encoder is one of its own."""

    class Half(nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = nn.ModuleList(layer for layer in layers if isinstance(layer, nn.Linear))

        def forward(self, x):
            x = self.layers[0](x.flatten(1)).relu()
            return self.layers[2](self.layers[1](x).relu())

    def __init__(self, d):
        super().__init__(d)
        self.encoder, self.decoder = self.Half(self.encoder), self.Half(self.decoder)


class Rows(Deep):
    def forward(self, x):
        return self.decoder(self.encoder(x))


def without(model, part, k):
    """The network without the k-th module of a part."""
    getattr(model, part)[k] = nn.Identity()
    return model


SHARED = {d: Deep(d) for d in (3, 16)}
COUNT = sum((a + 1) * b for a, b in [(784, 128), (128, 16), (16, 128), (128, 784)])
SOLUTIONS = {"exercise_1": rows, "exercise_2": COUNT, "exercise_3": error, "exercise_4": constant, "exercise_5": Deep}

WRONG = [
    ("exercise_1", lambda i: i.flatten(1).float(), "0 to 255"),
    ("exercise_1", lambda i: i.flatten(1).float() / 256, "256"),
    ("exercise_1", lambda i: i.flatten().float() / 255, "flattened the batch"),
    ("exercise_1", lambda i: i.flatten(1) // 255, "a float"),
    ("exercise_1", lambda i: i.float() / 255, "shape (3"),
    ("exercise_1", lambda i: rows(i).flip(1), "values are not"),
    ("exercise_1", lambda i: i.flatten(1).float() / i.flatten(1).max(1, keepdim=True).values, "own maximum"),
    ("exercise_1", lambda i: i.flatten(1).float() / i.max(), "in the batch"),
    ("exercise_1", lambda i: i.flatten(1).double() / 255, "float32"),
    ("exercise_1", lambda i: rows(i).numpy(), "a ndarray; asked is a torch tensor"),
    ("exercise_1", lambda i: print(end=""), "returned nothing"),
    ("exercise_2", 784 * 128 + 128 * 16, "of the encoder alone"),
    ("exercise_2", COUNT - 784, "last layer"),
    ("exercise_2", 1840, "counted the units"),
    ("exercise_2", "203,856", "'203,856' is not a number"),
    ("exercise_2", [COUNT], "[205856] is not a number"),
    ("exercise_2", COUNT - 1056, "weights only"),
    ("exercise_2", 784 * 128 + 128 * 16 + 128 + 16, "is the encoder alone"),
    ("exercise_2", 784 * 128 + 128 * 16 + 128 + 784, "decoder alone"),
    ("exercise_2", 2 * (784 * 128 + 128 * 16 + 128 + 16), "doubled"),
    ("exercise_2", COUNT + 1, "is not it"),
    ("exercise_3", lambda x, y: (x - y).square().mean(), "height and width"),
    ("exercise_3", lambda x, y: (x - y).square().sum(1).mean(), "height and width"),
    ("exercise_3", lambda x, y: error(x, y) / 2, "one half"),
    ("exercise_3", lambda x, y: (x - y).abs().mean(), "mean absolute"),
    ("exercise_3", lambda x, y: (x - y).norm(), "whole batch"),
    ("exercise_3", lambda x, y: print(end=""), "returned nothing"),
    ("exercise_3", lambda x, y: (x - y).square().sum(), "summed over the batch"),
    ("exercise_3", lambda x, y: (x - y).square().flatten(1).sum(1), "one number"),
    ("exercise_3", lambda x, y: (x - y).flatten(1).norm(dim=1).mean(), "square root:"),
    ("exercise_3", lambda x, y: (x - y).abs().flatten(1).sum(1).mean(), "took absolute"),
    ("exercise_3", lambda x, y: 2 * error(x, y), "not the expected value"),
    ("exercise_3", lambda x, y: (x - y).square().mean() * 784, "28×28 pixels only"),
    ("exercise_3", lambda x, y: (x - y).square().sum() / 128, "a batch of 128"),
    ("exercise_4", lambda a, b: (b - b.mean(0)).square().sum(1).mean(), "peeks at what it is tested on."),
    ("exercise_4", lambda a, b: b.square().sum(1).mean(), "black"),
    ("exercise_4", lambda a, b: (b - a.mean()).square().sum(1).mean(), "pixel to pixel"),
    ("exercise_4", lambda a, b: constant(a, a), "on the training"),
    ("exercise_4", lambda a, b: (b - a.mean(0)).square().mean(), "averaged over the pixels"),
    ("exercise_4", lambda a, b: (b - a.mean(0)).square().sum(1), "one number"),
    ("exercise_4", lambda a, b: constant(torch.cat([a, b]), b), "pooled"),
    ("exercise_4", lambda a, b: (b - a.median(0).values).square().sum(1).mean(), "median"),
    ("exercise_4", lambda a, b: constant(a, b) * 20, "summed over the pictures"),
    ("exercise_4", lambda a, b: (b - a.mean(0)).norm(dim=1).mean(), "square root"),
    ("exercise_4", lambda a, b: (b - a.mean(1)).square().sum(1).mean(), "mean(1) averages over the pixels"),
    ("exercise_4", lambda a, b: constant(a, b) + 1, "not the expected value"),
    ("exercise_4", lambda a, b: print(end=""), "returned nothing"),
    ("exercise_5", lambda d: print(end=""), "without a return"),
    ("exercise_5", lambda d: Deep, "an instance of nn.Module"),
    ("exercise_5", lambda d: nn.Linear(d, d), "no part `encoder`"),
    ("exercise_5", lambda d: Deep(16), "for latent_dim = 3 the linear layers"),
    ("exercise_5", lambda d: Deep(d, middle=128), "256→128"),
    ("exercise_5", lambda d: Deep(d, last=nn.ReLU), "ReLU after the last layer"),
    ("exercise_5", lambda d: Deep(d, after_code=nn.ReLU), "ReLU after the code"),
    ("exercise_5", lambda d: Deep(d, last=nn.Sigmoid), "sigmoid after the last"),
    ("exercise_5", lambda d: Deep(d, after_code=nn.Sigmoid), "sigmoid after the code"),
    ("exercise_5", lambda d: Deep(d, between=nn.Identity), "is linear"),
    ("exercise_5", lambda d: without(Deep(d), "encoder", 2), "a ReLU is missing in the half that ends in the code"),
    ("exercise_5", lambda d: without(Deep(d), "decoder", 3), "a ReLU is missing in the half that ends in the last"),
    ("exercise_5", lambda d: Deep(d, between=nn.Tanh), "something else"),
    ("exercise_5", lambda d: Deep(d, flat=False), "begin it with nn.Flatten()"),
    ("exercise_5", Rows, "the shape of the picture"),
    ("exercise_5", lambda d: SHARED[d], "share their weights"),
]


class TestAnswers(Answers):
    check, solutions, wrong = check, SOLUTIONS, WRONG
    right = (
        ("exercise_5", Functional),
        ("exercise_3", lambda x, y: ((x.numpy() - y.numpy()) ** 2).sum((1, 2, 3)).mean()),
        ("exercise_3", lambda x, y: float(error(x.double(), y.double()))),
        ("exercise_4", lambda a, b: ((b.numpy() - a.numpy().mean(0)) ** 2).sum(1).mean()),
    )
    as_it_is = ("exercise_1", "exercise_5")


def test_the_count_is_that_of_the_chapter():
    sizes = [784, 128, 16, 128, 784]
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    assert sum(p.numel() for layer in layers for p in layer.parameters()) == COUNT
