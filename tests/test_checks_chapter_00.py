"""The exercise checks of chapter 00 pass a right answer and name what is wrong with the others."""

import pytest
import torch

from course_utils.checks import chapter_00 as check


def rows(images):
    return images.flatten(1).float() / 255


def error(x, x_hat):
    return (x - x_hat).square().flatten(1).sum(1).mean()


def constant(train, test):
    return (test - train.mean(0)).square().sum(1).mean()


COUNT = sum((a + 1) * b for a, b in [(784, 128), (128, 16), (16, 128), (128, 784)])
RIGHT = [(check.exercise_1, rows), (check.exercise_2, COUNT), (check.exercise_3, error), (check.exercise_4, constant)]

WRONG = [
    (check.exercise_1, lambda i: i.flatten(1).float(), "0 to 255"),
    (check.exercise_1, lambda i: i.flatten(1).float() / 256, "256"),
    (check.exercise_1, lambda i: i.flatten().float() / 255, "flattened the batch"),
    (check.exercise_1, lambda i: i.flatten(1) // 255, "float"),
    (check.exercise_1, lambda i: i.float() / 255, "shape"),
    (check.exercise_1, lambda i: rows(i).flip(1), "values are not"),
    (check.exercise_1, lambda i: i.flatten(1).float() / i.flatten(1).max(1, keepdim=True).values, "own maximum"),
    (check.exercise_1, lambda i: i.flatten(1).float() / i.max(), "in the batch"),
    (check.exercise_1, lambda i: i.flatten(1).double() / 255, "float32"),
    (check.exercise_1, lambda i: print(end=""), "returned nothing"),
    (check.exercise_2, 784 * 128 + 128 * 16, "encoder alone"),
    (check.exercise_2, COUNT - 784, "last layer"),
    (check.exercise_2, 1840, "units"),
    (check.exercise_2, "203,856", "not a number"),
    (check.exercise_2, [COUNT], "not a number"),
    (check.exercise_2, COUNT - 1056, "weights only"),
    (check.exercise_2, 784 * 128 + 128 * 16 + 128 + 16, "encoder alone"),
    (check.exercise_2, 784 * 128 + 128 * 16 + 128 + 784, "decoder alone"),
    (check.exercise_2, 2 * (784 * 128 + 128 * 16 + 128 + 16), "doubled"),
    (check.exercise_2, COUNT + 1, "is not it"),
    (check.exercise_3, lambda x, y: (x - y).square().mean(), "height and width"),
    (check.exercise_3, lambda x, y: (x - y).square().sum(1).mean(), "height and width"),
    (check.exercise_3, lambda x, y: error(x, y) / 2, "one half"),
    (check.exercise_3, lambda x, y: (x - y).abs().mean(), "mean absolute"),
    (check.exercise_3, lambda x, y: (x - y).norm(), "whole batch"),
    (check.exercise_3, lambda x, y: print(end=""), "returned nothing"),
    (check.exercise_3, lambda x, y: (x - y).square().sum(), "summed over the batch"),
    (check.exercise_3, lambda x, y: (x - y).square().flatten(1).sum(1), "one number"),
    (check.exercise_3, lambda x, y: (x - y).flatten(1).norm(dim=1).mean(), "square root"),
    (check.exercise_3, lambda x, y: (x - y).abs().flatten(1).sum(1).mean(), "absolute"),
    (check.exercise_3, lambda x, y: 2 * error(x, y), "not the expected value"),
    (check.exercise_4, lambda a, b: (b - b.mean(0)).square().sum(1).mean(), "peeks"),
    (check.exercise_4, lambda a, b: b.square().sum(1).mean(), "black"),
    (check.exercise_4, lambda a, b: (b - a.mean()).square().sum(1).mean(), "pixel to pixel"),
    (check.exercise_4, lambda a, b: constant(a, a), "on the training"),
    (check.exercise_4, lambda a, b: (b - a.mean(0)).square().mean(), "averaged over the pixels"),
    (check.exercise_4, lambda a, b: (b - a.mean(0)).square().sum(1), "one number"),
    (check.exercise_4, lambda a, b: constant(torch.cat([a, b]), b), "pooled"),
    (check.exercise_4, lambda a, b: (b - a.median(0).values).square().sum(1).mean(), "median"),
    (check.exercise_4, lambda a, b: constant(a, b) * 20, "summed over the pictures"),
    (check.exercise_4, lambda a, b: (b - a.mean(0)).norm(dim=1).mean(), "square root"),
    (check.exercise_4, lambda a, b: constant(a, b) + 1, "not the expected value"),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answers_pass(exercise, answer):
    assert exercise.judge(answer).status == "passed"


@pytest.mark.parametrize(("exercise", "answer", "words"), WRONG)
def test_wrong_answers_are_named(exercise, answer, words):
    verdict = exercise.judge(answer)
    assert verdict.status == "wrong"
    assert words in verdict.message


@pytest.mark.parametrize("exercise", [check.exercise_1, check.exercise_2, check.exercise_3, check.exercise_4])
def test_unattempted(exercise):
    def stub(*args): ...

    assert exercise.judge(...).status == exercise.judge(stub).status == "not attempted"


def test_the_count_is_that_of_the_chapter():
    sizes = [784, 128, 16, 128, 784]
    layers = [torch.nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
    assert sum(p.numel() for layer in layers for p in layer.parameters()) == COUNT
