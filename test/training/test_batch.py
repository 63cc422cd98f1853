from __future__ import annotations

import numpy as np
import torch

from training.batch import make_truth
from training.frames import renumbered
from training.prompts import ABSENT

ROAD, SKY, CAR, BUS = 0, 10, 13, 15
SIDE = 40


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Sky above a road, a car on it to the left, a tiny one to the right; one strip unlabelled."""
    labels = np.full((1, SIDE, SIDE), SKY, np.uint8)
    labels[:, 20:] = ROAD
    labels[:, 24:32, 4:20] = CAR
    labels[:, 24:26, 30:32] = CAR
    labels[:, 38:] = 255
    instances = np.zeros_like(labels)
    instances[:, 24:32, 4:20] = 1
    instances[:, 24:26, 30:32] = 2
    return labels, instances


def test_presence_of_names() -> None:
    truth = make_truth(*scene(), np.array([SKY, BUS, CAR, ABSENT]), grid=10, most_objects=5)
    assert truth.presence.tolist() == [[1, 0, 1, 0]]
    assert truth.presence_weight.tolist() == [[1, 1, 1, 1]]
    assert truth.pairs.tolist() == [0, 2]


def test_too_little_to_tell_is_neither_there_nor_absent() -> None:
    labels = np.full((1, 100, 100), ROAD, np.uint8)
    labels[0, 0, :3] = CAR
    truth = make_truth(labels, np.zeros_like(labels), np.array([CAR]), grid=10, most_objects=5)
    assert truth.presence.tolist() == [[0]]
    assert truth.presence_weight.tolist() == [[0]]


def test_objects_boxes_and_cells() -> None:
    truth = make_truth(*scene(), np.array([CAR, SKY]), grid=10, most_objects=5)
    # The tiny car is too small for an object of its own; the sky is one object.
    assert truth.owners.tolist() == [0, 1]
    torch.testing.assert_close(
        truth.boxes, torch.tensor([[0.3, 0.7, 0.4, 0.2], [0.5, 0.25, 1.0, 0.5]])
    )
    assert truth.masks[0].sum() == 8 * 16 / 16
    assert truth.semantic[0].sum() == (8 * 16 + 4) / 16
    assert truth.semantic[0, 6, 7] == 0.25
    assert truth.valid[0, 9].tolist() == [0.5] * 10


def test_instances_keep_apart_when_numbered_anew() -> None:
    instances = np.array([[0, 700, 700], [9, 0, 700]], np.uint16)
    assert renumbered(instances).tolist() == [[0, 1, 1], [2, 0, 1]]


def test_the_smallest_of_too_many_instances_lose_their_number() -> None:
    numbers = np.arange(300, dtype=np.uint16)
    renamed = renumbered(np.repeat(numbers, np.where(numbers < 255, 2, 1))[None])
    assert renamed.max() == 255
    assert len(np.unique(renamed)) == 256
