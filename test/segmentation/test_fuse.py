"""Enlarging maps and the running best two classes, against the plain computations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from activesam_ros.segmentation import fuse
from activesam_ros.segmentation.background import Background
from activesam_ros.segmentation.fuse import ClassScores, Evidence
from activesam_ros.segmentation.score_maps.tiles import TILE, Axis, highest, resized

CPU = torch.device("cpu")
NO_BACKGROUND = Background(0.0, None)
sides = st.integers(1, 80)
backgrounds = st.one_of(
    st.just(NO_BACKGROUND),
    st.builds(Background, st.floats(0.05, 0.95), st.none()),
    st.builds(Background, st.floats(0.05, 0.95), st.sampled_from((1.0, 1.25, 2.0))),
)


def random_maps(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, height, width, generator=torch.Generator().manual_seed(seed))


@given(sides, sides, sides, sides, st.data())
def test_parts_equal_those_of_the_whole_enlarged(
    map_height: int, map_width: int, height: int, width: int, data: st.DataObject
) -> None:
    maps = random_maps(2, map_height, map_width)
    whole = F.interpolate(maps[None], size=(height, width), mode="bilinear")[0]
    rows, columns = Axis.of(map_height, height, CPU), Axis.of(map_width, width, CPU)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom = data.draw(st.integers(top + 1, height))
    right = data.draw(st.integers(left + 1, width))
    first = rows.cell_below(top)
    cells = maps[:, first : rows.cell_above(bottom - 1) + 1]
    wide = resized(cells, columns, left, right, dim=-1)
    part = resized(wide, rows, top, bottom, dim=-2, origin=first)
    torch.testing.assert_close(part, whole[:, top:bottom, left:right], rtol=1e-4, atol=1e-5)


@given(sides, sides, sides, sides, st.integers(0, 2**31))
def test_no_pixel_of_a_tile_exceeds_its_bound(
    map_height: int, map_width: int, height: int, width: int, seed: int
) -> None:
    maps = random_maps(2, map_height, map_width, seed)
    whole = F.interpolate(maps[None], size=(height, width), mode="bilinear")
    padding = (0, -width % TILE, 0, -height % TILE)
    reached = F.max_pool2d(F.pad(whole, padding, value=-torch.inf), TILE)[0]
    bound = highest(maps, Axis.of(map_height, height, CPU), Axis.of(map_width, width, CPU))
    assert bound.shape == reached.shape
    assert (bound >= reached).all()


@pytest.mark.parametrize("strip_values", [1, 500, 10**6])
def test_a_score_map_does_not_depend_on_the_strips(
    strip_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuse, "STRIP_VALUES", strip_values)
    maps, weights = random_maps(3, 12, 9), torch.tensor([0.9, 0.4, 0.7])
    enlarged = F.interpolate(maps[None], size=(31, 50), mode="bilinear")[0]
    expected = (enlarged.sigmoid() * weights[:, None, None]).amax(0)
    torch.testing.assert_close(fuse.score_map(Evidence(maps, weights), (31, 50)), expected)


def test_weights_follow_the_formulas() -> None:
    presence = torch.tensor([0.6, 0.5])
    probabilities = torch.tensor([[0.4, 0.0, 0.9], [0.0, 0.0, 0.0]])
    fused = fuse.fused_weights(presence, probabilities)
    expected = torch.tensor([[0.6, 0.24, 0.0, 0.54], [0.5, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(fused, expected)
    alone = fuse.instance_weights(presence, probabilities)
    assert alone.tolist() == F.pad(probabilities, (1, 0)).tolist()


@dataclass(frozen=True)
class Case:
    """Queries with what each scores at most, in descending order of that."""

    classes: tuple[int, ...]
    evidence: tuple[Evidence, ...]
    bounds: tuple[float, ...]
    size: tuple[int, int]

    def scores(self) -> torch.Tensor:
        """Of every class, [classes, H, W], the plain way; two more classes never arrive."""
        scores = torch.zeros(max(self.classes) + 3, *self.size)
        for index, evidence in zip(self.classes, self.evidence, strict=True):
            enlarged = F.interpolate(evidence.maps[None], size=self.size, mode="bilinear")[0]
            weighed = (enlarged.sigmoid() * evidence.weights[:, None, None]).amax(dim=0)
            scores[index] = scores[index].maximum(weighed)
        return scores


@st.composite
def cases(draw: st.DrawFn) -> Case:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    classes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=8))
    bounds = sorted(
        draw(st.lists(st.floats(0, 1, width=16), min_size=len(classes), max_size=len(classes))),
        reverse=True,
    )
    evidence = []
    for bound in bounds:
        count = int(torch.randint(1, 4, (), generator=generator))
        # Some maps are high nearly everywhere, most are low.
        offset = 4 * torch.randn(count, 1, 1, generator=generator)
        maps = 3 * torch.randn(count, 7, 5, generator=generator) + offset
        evidence.append(Evidence(maps, torch.rand(count, generator=generator) * bound))
    return Case(tuple(classes), tuple(evidence), tuple(bounds), (draw(sides), draw(sides)))


@settings(deadline=None, max_examples=200)
@given(cases(), backgrounds, st.booleans())
def test_leaving_out_what_cannot_win_changes_nothing(
    case: Case, background: Background, labels_only: bool
) -> None:
    totals = ClassScores(case.size, CPU, background)
    for index, evidence, bound in zip(case.classes, case.evidence, case.bounds, strict=True):
        if bound < totals.settled_below(labels_only=labels_only):
            break
        totals.add(index, evidence)
    scores = case.scores()
    best, second = scores.topk(2, dim=0).values
    margin = best - second
    empty, expected = background.empty(totals.best, totals.second), background.empty(best, second)
    if empty is None or expected is None:
        assert empty is expected is None
        empty = expected = torch.zeros(case.size, dtype=torch.bool)
    else:
        # Where rounding decides, either is right.
        limit = background.threshold ** (background.exponent or 1.0)
        level = best if background.exponent is None else best * margin.clamp(min=0).sqrt()
        clear = ((level - limit).abs() > 1e-3).logical_and(margin > 1e-5)
        assert torch.equal(empty[clear], expected[clear])
    seen = (margin > 1e-5).logical_and(~expected).logical_and(~empty)
    assert torch.equal(totals.index[seen].long(), scores.argmax(dim=0)[seen])
    if not labels_only:
        torch.testing.assert_close(totals.best, best, rtol=1e-5, atol=1e-6)


def test_what_is_second_counts_when_the_best_class_comes_again() -> None:
    """A background pixel for now, so that nothing below its best seems to matter."""
    totals = ClassScores((1, 1), CPU, Background(0.75, 1.0))
    for class_index, score in ((1, 0.5), (0, 0.2), (1, 0.86)):
        totals.add(class_index, Evidence(torch.full((1, 1, 1), 50.0), torch.tensor([score])))
    assert totals.second.item() == pytest.approx(0.2)
    is_empty = Background(0.75, 1.0).empty(totals.best, totals.second)
    assert is_empty is not None
    assert is_empty.item()  # 0.86 * sqrt(0.66) < 0.75 < 0.86 ** 1.5


@given(
    st.integers(2, 6).flatmap(
        lambda classes: st.tuples(
            st.just(classes),
            st.lists(st.integers(0, classes - 1), min_size=0, max_size=10),
            st.integers(0, 2**31),
        )
    )
)
def test_best_two_classes_equal_a_sort_of_all(case: tuple[int, list[int], int]) -> None:
    classes, query_class, seed = case
    generator = np.random.default_rng(seed)
    # Few levels, so that ties occur; maps of the image's size are not interpolated.
    maps = generator.integers(-2, 2, (len(query_class), 3, 5)).astype(np.float32)
    scores = np.zeros((classes, 3, 5), np.float16)
    totals = ClassScores((3, 5), CPU, Background(0.5, 1.0))
    recorded = ClassScores((3, 5), CPU, Background(0.5, 1.0), scores)
    expected = np.zeros((classes, 3, 5), np.float32)
    for index, logits in zip(query_class, maps, strict=True):
        evidence = Evidence(torch.from_numpy(logits)[None], torch.ones(1))
        totals.add(index, evidence)
        recorded.add(index, evidence)
        expected[index] = np.maximum(expected[index], torch.from_numpy(logits).sigmoid().numpy())
    ordered = np.sort(expected, axis=0)
    for kept in (totals, recorded):
        np.testing.assert_allclose(kept.best.numpy(), ordered[-1], atol=1e-6)
        np.testing.assert_allclose(kept.second.numpy(), ordered[-2], atol=1e-6)
        assert np.array_equal(kept.index.numpy(), expected.argmax(axis=0))
    np.testing.assert_allclose(scores, expected, atol=5e-4)


def test_pixels_per_id() -> None:
    labels = torch.tensor([[7, 7, 0], [300, 7, 0]])
    for count in (fuse.label_pixels, fuse.spread_pixels):
        counts = count(labels, 65000)
        assert counts[[0, 7, 9, 300, 65000]].tolist() == [2, 3, 0, 1, 0]
        assert counts.sum() == 6
    large = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (300, 200), dtype=np.uint8))
    assert fuse.spread_pixels(large, 4).tolist() == fuse.label_pixels(large, 4).tolist()
