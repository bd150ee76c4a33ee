"""Checks of the exercises of chapter 00, Start here."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.checks import Misconception, exercise


def _one_number(answer) -> Tensor:
    """Turn what a learner's function returned into a scalar tensor, or say what else it is."""
    if answer is None:
        raise Misconception("your function returned nothing: it ends without a return")
    answer = torch.as_tensor(answer, dtype=torch.float32)
    if answer.ndim:
        raise Misconception(
            f"the result has shape {tuple(answer.shape)}; expected one number: average over the pictures"
        )
    return answer


def _compare(answer, right: Tensor, known: dict[str, Tensor], otherwise: str) -> None:
    answer = _one_number(answer)
    if torch.isclose(answer, right, rtol=1e-4):
        return
    for words, value in known.items():
        if torch.isclose(answer, value, rtol=1e-4):
            raise Misconception(words)
    raise Misconception(otherwise)


@exercise("0.1")
def exercise_1(to_rows) -> None:
    """``to_rows(images)``: uint8 (N, 1, 28, 28) → float32 (N, 784) in [0, 1]."""
    images = torch.arange(3 * 784, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(3, 1, 28, 28)
    images[0] = images[0] % 101  # a dark picture: its brightest pixel is 100
    answer, right = to_rows(images.clone()), images.reshape(3, 784).float() / 255
    if answer is None:
        raise Misconception("your function returned nothing: it ends without a return")
    if not isinstance(answer, Tensor) or not answer.is_floating_point():
        raise Misconception(
            "the result is not a float tensor: a network computes with floats, so convert first (.float())"
        )
    if answer.shape == (3 * 784,):
        raise Misconception("you flattened the batch as well: the first axis counts images and stays, see flatten(1)")
    if answer.shape != right.shape:
        raise Misconception(f"the shape is {tuple(answer.shape)}, expected (3, 784): one row per image")
    if answer.dtype != torch.float32:
        raise Misconception(
            f"the result is {answer.dtype}; the weights of a network are float32, so the pictures are too"
        )
    levels = images.reshape(3, 784).float()
    wrong = {
        "the values still run from 0 to 255: divide by the largest value a uint8 can hold": levels,
        "you divided by 256, the number of values; the largest value is 255, so white is not quite 1": levels / 256,
        "you divided by the picture's own maximum: a dark picture would look bright; divide by 255": levels
        / levels.amax(1, keepdim=True),
        "you divided by the largest value that happens to be in the batch; divide by 255, whatever is in it": levels
        / levels.max(),
    }
    for words, value in wrong.items():
        if torch.allclose(answer, value):
            raise Misconception(words)
    if not torch.allclose(answer, right):
        raise Misconception(
            "shape and type are right, the values are not: each is the pixel divided by 255, in the same order"
        )


@exercise("0.2")
def exercise_2(count: int) -> None:
    """Parameters of 784-128-16-128-784, weights and biases."""
    encoder, decoder = 784 * 128 + 128 * 16, 16 * 128 + 128 * 784
    biases = 128 + 16 + 128 + 784
    if not isinstance(count, (int, float)):
        raise Misconception(f"{count!r} is not a number: give the count itself")
    known = {
        encoder + decoder: "you counted the weights only: every layer also has one bias per output",
        encoder: "those are the weights of the encoder alone: the decoder is trained too, and there are biases",
        encoder + 128 + 16: "that is the encoder alone: the decoder is trained too",
        decoder + 128 + 784: "that is the decoder alone: the encoder is trained too",
        encoder
        + decoder
        + biases
        - 784: "you left out the biases of the last layer: it has 784 outputs, so 784 biases",
        2
        * (encoder + 128 + 16): "you doubled the encoder, but the biases differ: a layer has one per *output*, and the "
        "decoder ends in 784 outputs",
        784
        + 128
        + 16
        + 128
        + 784: "you counted the units; the parameters are the connections between them, and the biases",
    }
    if count in known:
        raise Misconception(known[count])
    if count != encoder + decoder + biases:
        raise Misconception(
            f"{count} is not it: a layer from a to b units has a·b weights and b biases; add four layers"
        )


@exercise("0.3")
def exercise_3(error) -> None:
    """``error(x, x_hat)``: squared error, summed over pixels, averaged over the batch."""
    generator = torch.Generator().manual_seed(0)
    x, x_hat = torch.rand(4, 1, 28, 28, generator=generator), torch.rand(4, 1, 28, 28, generator=generator)
    squared, difference = (x - x_hat).square(), (x - x_hat).abs()
    per_image = squared.flatten(1).sum(1)
    known = {
        "you averaged over height and width: sum over all pixels (flatten(1) first) instead": squared.mean(),
        "you summed over the batch as well: the loss then grows with the size of the batch": squared.sum(),
        "you took a square root: the loss is the squared distance itself": per_image.sqrt().mean(),
        "you took the square root of the whole batch: the loss is a mean of squared distances": squared.sum().sqrt(),
        "you took absolute differences; the task asks for squared ones": difference.flatten(1).sum(1).mean(),
        "you took the mean absolute difference; square, sum over pixels, average over pictures": difference.mean(),
        "you added a factor of one half, which (0.1) does not have": per_image.mean() / 2,
    }
    otherwise = "not the expected value: square the differences, sum over the pixels, average over the pictures"
    _compare(error(x.clone(), x_hat.clone()), per_image.mean(), known, otherwise)


@exercise("0.4")
def exercise_4(constant_error) -> None:
    """``constant_error(train, test)``: test error of answering the training mean image, rows (N, D)."""
    generator = torch.Generator().manual_seed(1)
    train, test = torch.rand(50, 6, generator=generator) ** 2, torch.rand(20, 6, generator=generator) + 0.5

    def error(answer):
        return (test - answer).square().sum(1).mean()

    right = error(train.mean(0))
    known = {
        "you averaged the *test* pictures: the answer then peeks at what it is tested on. Use the training mean": error(
            test.mean(0)
        ),
        "you pooled training and test pictures: the answer then peeks at what it is tested on": error(
            torch.cat([train, test]).mean(0)
        ),
        "you answered a black picture; the best constant answer is the mean, pixel by pixel": error(torch.zeros(6)),
        "you took the median; for squared error the best constant answer is the mean, see (0.2)": error(
            train.median(0).values
        ),
        "you took one mean over all pixels: the constant answer may differ from pixel to pixel, mean(0)": error(
            train.mean()
        ),
        "that is the error on the training pictures; the task asks for the test pictures": (train - train.mean(0))
        .square()
        .sum(1)
        .mean(),
        "you averaged over the pixels as well: sum over pixels, average over pictures": right / 6,
        "you summed over the pictures as well: sum over pixels, average over pictures": right * len(test),
        "you took a square root; the error is the squared distance itself": (test - train.mean(0)).norm(dim=1).mean(),
    }
    otherwise = (
        "not the expected value: answer train.mean(0) for every test picture, sum over pixels, average over pictures"
    )
    _compare(constant_error(train.clone(), test.clone()), right, known, otherwise)
