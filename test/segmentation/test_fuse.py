"""Upsampling in strips and the running best two classes, against the plain computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.segmentation import fuse
from activesam_ros.segmentation.decode import DecodedQuery
from activesam_ros.segmentation.fuse import ClassScores

CPU = torch.device("cpu")
sides = st.integers(1, 40)


def random_maps(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, height, width, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 5), sides, sides, sides, sides, st.data())
def test_rows_equal_those_of_the_whole_upsampling(
    count: int, map_height: int, map_width: int, height: int, width: int, data: st.DataObject
) -> None:
    maps = random_maps(count, map_height, map_width)
    whole = F.interpolate(maps[None], size=(height, width), mode="bilinear")[0]
    top = data.draw(st.integers(0, height - 1))
    bottom = data.draw(st.integers(top + 1, height))
    rows = fuse.upsampled_rows(fuse.widened(maps, width), height, top, bottom)
    torch.testing.assert_close(rows, whole[:, top:bottom], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strip_values", [1, 500, 10**6])
def test_strongest_does_not_depend_on_the_strips(
    strip_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuse, "STRIP_VALUES", strip_values)
    maps, weights = random_maps(3, 12, 9), torch.tensor([0.9, 0.4, 0.7])
    upsampled = F.interpolate(maps[None], size=(31, 50), mode="bilinear")[0]
    expected = (upsampled.sigmoid() * weights[:, None, None]).amax(0)
    torch.testing.assert_close(fuse.strongest(maps, weights, (31, 50)), expected)


def decoded(objects: int, presence: float) -> DecodedQuery:
    return DecodedQuery(
        query=0,
        presence=torch.tensor(presence),
        probabilities=torch.linspace(0.4, 0.9, objects),
        masks=random_maps(objects, 8, 8, seed=1),
        semantic=random_maps(1, 8, 8, seed=2)[0],
    )


@pytest.mark.parametrize("objects", [0, 1, 4])
def test_score_maps_follow_the_formulas(objects: int) -> None:
    query = decoded(objects, presence=0.6)
    size = (20, 24)
    up = F.interpolate(query.masks[None], size=size, mode="bilinear")[0] if objects else None
    semantic = F.interpolate(query.semantic[None, None], size=size, mode="bilinear")[0, 0].sigmoid()
    instances = torch.zeros(size)
    if up is not None:
        instances = (up.sigmoid() * query.probabilities[:, None, None]).amax(0)
    torch.testing.assert_close(fuse.instance_score_map(query, size), instances)
    torch.testing.assert_close(
        fuse.fused_score_map(query, size), torch.maximum(instances, semantic) * 0.6
    )


@given(
    st.integers(2, 6).flatmap(
        lambda classes: st.tuples(
            st.just(classes),
            st.lists(st.integers(0, classes - 1), min_size=0, max_size=10).map(sorted),
            st.integers(0, 2**31),
        )
    )
)
def test_best_two_classes_equal_a_sort_of_all(case: tuple[int, list[int], int]) -> None:
    classes, query_class, seed = case
    generator = np.random.default_rng(seed)
    # Few levels, so that ties occur.
    maps = generator.integers(0, 4, (len(query_class), 3, 5)).astype(np.float32) / 4
    scores = np.zeros((classes, 3, 5), np.float16)
    totals = ClassScores((3, 5), CPU, scores)
    expected = np.zeros((classes, 3, 5), np.float32)
    for index, score_map in zip(query_class, maps, strict=True):
        totals.add(index, torch.from_numpy(score_map.copy()))
        expected[index] = np.maximum(expected[index], score_map)
    totals.finish()
    ordered = np.sort(expected, axis=0)
    assert np.array_equal(totals.best.numpy(), ordered[-1])
    assert np.array_equal(totals.second.numpy(), ordered[-2])
    assert np.array_equal(totals.index.numpy(), expected.argmax(axis=0))
    assert np.array_equal(scores, expected)


def test_pixels_per_id() -> None:
    labels = torch.tensor([[7, 7, 0], [300, 7, 0]])
    assert fuse.class_pixels(labels, [0, 7, 9, 300, 65000]) == [2, 3, 0, 1, 0]
