"""Checks of the exercises of chapter 00, Start here."""

from __future__ import annotations

import torch

from course_utils.checks import Misconception, exercise


@exercise("0.1")
def exercise_1(to_rows) -> None:
    """``to_rows(images)``: uint8 (N, 1, 28, 28) → float32 (N, 784) in [0, 1]."""
    images = torch.arange(3 * 784, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(3, 1, 28, 28)
    answer, right = to_rows(images.clone()), images.reshape(3, 784).float() / 255
    if not isinstance(answer, torch.Tensor) or not answer.is_floating_point():
        raise Misconception(
            "the result is not a float tensor: a network computes with floats, so convert first (.float())"
        )
    if answer.shape == (3 * 784,):
        raise Misconception("you flattened the batch as well: the first axis counts images and stays, see flatten(1)")
    if answer.shape != right.shape:
        raise Misconception(f"the shape is {tuple(answer.shape)}, expected (3, 784): one row per image")
    if torch.allclose(answer, images.reshape(3, 784).float()):
        raise Misconception("the values still run from 0 to 255: divide by the largest value a uint8 can hold")
    if torch.allclose(answer, images.reshape(3, 784).float() / 256):
        raise Misconception(
            "you divided by 256, the number of values; the largest value is 255, so white is not quite 1"
        )
    if not torch.allclose(answer, right):
        raise Misconception(
            "shape and type are right, the values are not: each is the pixel divided by 255, in the same order"
        )


@exercise("0.2")
def exercise_2(count: int) -> None:
    """Parameters of 784-128-16-128-784, weights and biases."""
    encoder, decoder = 784 * 128 + 128 * 16, 16 * 128 + 128 * 784
    biases = 128 + 16 + 128 + 784
    known = {
        encoder + decoder: "you counted the weights only: every layer also has one bias per output",
        encoder + 128 + 16: "that is the encoder alone: the decoder is trained too",
        decoder + 128 + 784: "that is the decoder alone: the encoder is trained too",
        2
        * (encoder + 128 + 16): "you doubled the encoder, but the biases differ: a layer has one per *output*, and the "
        "decoder ends in 784 outputs",
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
    answer, squared = torch.as_tensor(error(x, x_hat), dtype=torch.float32), (x - x_hat).square()
    if answer.ndim:
        raise Misconception(f"the result has shape {tuple(answer.shape)}; a loss is one number: average over the batch")
    wrong = {
        squared.mean(): "you averaged over the pixels as well: 784 times too small for a sum over pixels",
        squared.sum(): "you summed over the batch as well: the loss then grows with the size of the batch",
        squared.flatten(1).sum(1).sqrt().mean(): "you took a square root: the loss is the squared distance itself",
        (x - x_hat).abs().flatten(1).sum(1).mean(): "you took absolute differences; the task asks for squared ones",
    }
    for value, words in wrong.items():
        if torch.isclose(answer, value, rtol=1e-4):
            raise Misconception(words)
    if not torch.isclose(answer, squared.flatten(1).sum(1).mean(), rtol=1e-4):
        raise Misconception(
            "not the expected value: square the differences, sum over the pixels, average over the images"
        )


@exercise("0.4")
def exercise_4(constant_error) -> None:
    """``constant_error(train, test)``: test error of answering the training mean image, rows (N, D)."""
    generator = torch.Generator().manual_seed(1)
    train, test = torch.rand(50, 6, generator=generator), torch.rand(20, 6, generator=generator) + 0.5

    def error(answer):
        return (test - answer).square().sum(1).mean()

    answer = torch.as_tensor(constant_error(train.clone(), test.clone()), dtype=torch.float32)
    if answer.ndim:
        raise Misconception(
            f"the result has shape {tuple(answer.shape)}; expected one number, averaged over the test images"
        )
    wrong = {
        error(
            test.mean(0)
        ): "you averaged the *test* images: the answer then peeks at what it is tested on. Use the training mean",
        error(torch.zeros(6)): "you answered a black image; the best constant answer is the mean, pixel by pixel",
        error(
            train.mean()
        ): "you took one mean over all pixels: the constant answer may differ from pixel to pixel, mean(0)",
        (train - train.mean(0))
        .square()
        .sum(1)
        .mean(): "that is the error on the training images; the task asks for the test images",
        error(train.mean(0)) / 6: "you averaged over the pixels: sum over pixels, average over images",
    }
    for value, words in wrong.items():
        if torch.isclose(answer, value, rtol=1e-4):
            raise Misconception(words)
    if not torch.isclose(answer, error(train.mean(0)), rtol=1e-4):
        raise Misconception(
            "not the expected value: answer train.mean(0) for every test image, sum over pixels, average over images"
        )
