"""Checks of the exercises of chapter 00, Start here."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.checks import Function, Misconception, as_tensor, compare, exercise
from course_utils.checks.inputs import rand


@exercise("0.1")
def exercise_1(to_rows: Function) -> None:
    """``to_rows(images)``: uint8 (N, 1, 28, 28) → float32 (N, 784) in [0, 1]."""
    for n in (3, 7):
        images = (251 * rand(n, 1, 28, 28, seed=n)).to(torch.uint8)
        images[0] = images[0] % 101  # a dark picture: its brightest pixel is 100
        _judge_rows(to_rows(images.clone()), images.reshape(n, 784).double())


def _judge_rows(answer: Any, levels: Tensor) -> None:
    value = as_tensor(answer)
    if not isinstance(answer, Tensor):
        raise Misconception(f"the result is a {type(answer).__name__}; asked is a torch tensor, see torch.from_numpy")
    if not answer.is_floating_point():
        raise Misconception("the result is not a float tensor: a network computes with floats, see .float()")
    if value.shape == (levels.numel(),):
        raise Misconception("you flattened the batch as well: the first axis counts images and stays, see flatten(1)")
    value = as_tensor(value, levels.shape, ": one row per image")
    if answer.dtype != torch.float32:
        raise Misconception(
            f"the result is {answer.dtype}; the weights of a network are float32, so the pictures are too"
        )
    slips = {
        levels: "the values still run from 0 to 255: divide by the largest value a uint8 can hold",
        levels / 256: "you divided by 256, the number of values; the largest value is 255, so white is not quite 1",
        levels / levels.amax(1, keepdim=True): "you divided by the picture's own maximum: a dark picture would look "
        "bright; divide by 255",
        levels / levels.max(): "you divided by the largest value that happens to be in the batch; divide by 255, "
        "whatever is in it",
    }
    otherwise = "shape and type are right, the values are not: each is the pixel divided by 255, in the same order"
    compare(value, levels / 255, slips, otherwise)


@exercise("0.2")
def exercise_2(count: Any) -> None:
    """Parameters of 784-128-16-128-784, weights and biases."""
    encoder, decoder = 784 * 128 + 128 * 16, 16 * 128 + 128 * 784
    biases = 128 + 16 + 128 + 784
    if isinstance(count, (str, list, tuple)):
        raise Misconception(f"{count!r} is not a number: give the count itself")
    slips = {
        encoder + decoder: "you counted the weights only: every layer also has one bias per output",
        encoder: "those are the weights of the encoder alone: the decoder is trained too, and there are biases",
        encoder + 128 + 16: "that is the encoder alone: the decoder is trained too",
        decoder + 128 + 784: "that is the decoder alone: the encoder is trained too",
        encoder + decoder + biases - 784: "you left out the biases of the last layer: it has 784 outputs, so 784 "
        "biases",
        2 * (encoder + 128 + 16): "you doubled the encoder, but the biases differ: a layer has one per *output*, and "
        "the decoder ends in 784 outputs",
        784 + biases: "you counted the units; the parameters are the connections between them, and the biases",
    }
    otherwise = f"{count} is not it: a layer from a to b units has a·b weights and b biases; add four layers"
    compare(as_tensor(count, ()), encoder + decoder + biases, slips, otherwise, rtol=0)


@exercise("0.3")
def exercise_3(error: Function) -> None:
    """``error(x, x_hat)``: squared error, summed over pixels, averaged over the batch."""
    for size in ((4, 1, 28, 28), (7, 1, 5, 3)):
        x, x_hat = rand(*size, seed=0).float(), rand(*size, seed=1).float()
        _judge_error(error(x.clone(), x_hat.clone()), x, x_hat)


def _judge_error(answer: Any, x: Tensor, x_hat: Tensor) -> None:
    squared, difference = (x - x_hat).square(), (x - x_hat).abs()
    per_image = squared.flatten(1).sum(1)
    slips = {
        squared.mean(): "you averaged over height and width: sum over all pixels (flatten(1) first) instead",
        squared.sum(): "you summed over the batch as well: the loss then grows with the size of the batch",
        per_image.sqrt().mean(): "you took a square root: the loss is the squared distance itself",
        squared.sum().sqrt(): "you took the square root of the whole batch: the loss is a mean of squared distances",
        difference.flatten(1).sum(1).mean(): "you took absolute differences; the task asks for squared ones",
        difference.mean(): "you took the mean absolute difference; square, sum over pixels, average over pictures",
        squared.mean() * 784 if x[0].numel() != 784 else None: "this is right for pictures of 28×28 pixels only",
        squared.sum() / 128: "this is right for a batch of 128 pictures only: average over those that are there",
        per_image.mean() / 2: "you added a factor of one half, which (0.1) does not have",
    }
    otherwise = "not the expected value: square the differences, sum over the pixels, average over the pictures"
    value = as_tensor(answer, (), "expected one number: average over the pictures")
    compare(value, per_image.mean(), slips, otherwise)


@exercise("0.4")
def exercise_4(constant_error: Function) -> None:
    """``constant_error(train, test)``: test error of answering the training mean image, rows (N, D)."""
    for n, pixels in ((9, 9), (50, 6)):
        train, test = rand(n, pixels, seed=1).float() ** 2, rand(20, pixels, seed=2).float() + 0.5
        _judge_constant(constant_error(train.clone(), test.clone()), train, test)


def _judge_constant(answer: Any, train: Tensor, test: Tensor) -> None:
    def error(answer: Tensor) -> Tensor:
        return (test - answer).square().sum(1).mean()

    right = error(train.mean(0))
    slips = {
        error(test.mean(0)): "you averaged the *test* pictures: the answer then peeks at what it is tested on. Use the "
        "training mean",
        error(torch.cat([train, test]).mean(0)): "you pooled training and test pictures: the answer then peeks at what "
        "it is tested on",
        error(0 * test[0]): "you answered a black picture; the best constant answer is the mean, pixel by pixel",
        error(train.mean(1)) if len(train) == train.shape[1] else None: "mean(1) averages over the pixels of each "
        "picture: the mean image averages over the pictures, mean(0)",
        error(train.median(0).values): "you took the median; for squared error the best constant is the mean",
        error(train.mean()): "you took one mean over all pixels: the constant answer may differ from pixel to pixel, "
        "mean(0)",
        (train - train.mean(0)).square().sum(1).mean(): "that is the error on the training pictures, not the test ones",
        right / test.shape[1]: "you averaged over the pixels as well: sum over pixels, average over pictures",
        right * len(test): "you summed over the pictures as well: sum over pixels, average over pictures",
        (test - train.mean(0)).norm(dim=1).mean(): "you took a square root; the error is the squared distance itself",
    }
    otherwise = (
        "not the expected value: answer train.mean(0) for every test picture, sum over pixels, average over pictures"
    )
    value = as_tensor(answer, (), "expected one number: average over the pictures")
    compare(value, right, slips, otherwise)


@exercise("0.5")
def exercise_5(build: Function) -> None:
    """``build(latent_dim)`` → autoencoder 784-256-64-latent_dim-64-256-784, with ``encoder`` and ``decoder``."""
    for latent_dim, n in ((3, 5), (16, 2)):
        model = build(latent_dim)
        if isinstance(model, type) or not isinstance(model, nn.Module):
            what = "nothing: it ends without a return" if model is None else f"{model!r:.60}"
            raise Misconception(f"your function returned {what}; asked is a network, an instance of nn.Module")
        for part in ("encoder", "decoder"):
            if not isinstance(getattr(model, part, None), nn.Module):
                raise Misconception(f"the network has no part `{part}`: set self.{part} = nn.Sequential(…)")
        layers = _judge_sizes(model, latent_dim)
        x = 10 * rand(n, 1, 28, 28, seed=n).float() - 5
        code = as_tensor(_codes(model.get_submodule("encoder"), x), (n, latent_dim), ": one row for each picture")
        _judge_half(code, x.flatten(1), layers[:3], "code")
        answer = as_tensor(model(x), (n, 1, 28, 28), ": a redrawn picture has the shape of the picture, see view_as")
        _judge_half(answer.flatten(1), code.float(), layers[3:], "last layer")
        if any(a is b for a, b in zip(model.parameters(), build(latent_dim).parameters(), strict=True)):
            raise Misconception("two calls return networks that share their weights: create the layers inside build")


def _codes(encoder: nn.Module, x: Tensor) -> Any:
    try:
        return encoder(x)
    except RuntimeError:
        encoder(x.flatten(1))  # if rows do no better, its own error is the one to show
        raise Misconception("`encoder` takes pictures (B, 1, 28, 28), yours rows: begin it with nn.Flatten()") from None


def _judge_half(value: Tensor, x: Tensor, layers: list[nn.Linear], end: str) -> None:
    """Compare what one half of the network makes of x (B, a) with its own layers, ReLUs between them."""
    first, second, third = layers
    right = third(second(first(x).relu()).relu())
    slips = {
        right.relu(): f"there is a ReLU after the {end}: it forbids negative numbers",
        right.sigmoid(): f"there is a sigmoid after the {end}; asked is the plain layer",
        third(second(first(x))): f"the half that ends in the {end} is linear: a ReLU stands between its layers",
        (third(second(first(x).relu())), third(second(first(x)).relu())): f"a ReLU is missing in the half that ends "
        f"in the {end}: there are two",
    }
    otherwise = f"the half that ends in the {end} does something else: three linear layers, a ReLU between them"
    compare(value, right, slips, otherwise, atol=1e-4)


def _judge_sizes(model: nn.Module, latent_dim: int) -> list[nn.Linear]:
    right = [784, 256, 64, latent_dim, 64, 256, 784]
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    if sizes != list(itertools.pairwise(right)):
        found = ", ".join(f"{a}→{b}" for a, b in sizes) or "none"
        raise Misconception(
            f"for latent_dim = {latent_dim} the linear layers are {found}; asked are {'–'.join(map(str, right))}"
        )
    return layers
