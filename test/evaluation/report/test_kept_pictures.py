"""Which frames of a run are kept for the report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.evaluation.report.frame_picture import FramePicture
from activesam_ros.evaluation.report.kept_pictures import FRAMES_EACH, SAMPLE, KeptPictures

scores = st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=90)


def picture(place: int) -> FramePicture:
    return FramePicture(1, 1, str(place).encode(), {})


def kept(values: list[float | None], first: int = 0) -> KeptPictures:
    pictures = KeptPictures()
    for place, score in enumerate(values, first):
        pictures.add(place, score, lambda place=place: picture(place))  # type: ignore[misc]
    return pictures


@given(scores, st.integers(0, 90), st.integers(0, 90))
def test_parts_keep_what_the_whole_run_keeps(
    values: list[float | None], one: int, other: int
) -> None:
    low, high = sorted((min(one, len(values)), min(other, len(values))))
    joined = kept(values[:low])
    joined.extend(kept(values[low:high], low))
    joined.extend(kept(values[high:], high))
    assert joined.pictures == kept(values).pictures
    assert joined.groups() == kept(values).groups()


@given(scores)
def test_the_worst_and_the_best_are_shown_and_none_twice(values: list[float | None]) -> None:
    pictures = kept(values)
    assert len(pictures.pictures) <= 2 * SAMPLE + 3 * FRAMES_EACH
    groups = pictures.groups()
    places = [place for group in groups for place in group.places]
    assert len(set(places)) == len(places) > 0
    assert all(pictures.pictures[place].jpeg == str(place).encode() for place in places)
    known = [value for value in values if value is not None]
    if not known:
        assert [group.title for group in groups] == ["Frames"]
        return
    assert values[groups[0].places[0]] == min(known)
    if len(known) > 1:
        assert groups[-1].title == "Best"
        assert values[groups[-1].places[0]] == max(known)


def test_the_median_is_in_the_middle() -> None:
    values: list[float | None] = [((place * 7) % 31) / 31 for place in range(31)]
    worst, median, best = kept(values).groups()
    assert [round(31 * float(values[place] or 0)) for place in worst.places] == [0, 1, 2]
    assert [round(31 * float(values[place] or 0)) for place in median.places] == [14, 15, 16]
    assert [round(31 * float(values[place] or 0)) for place in best.places] == [30, 29, 28]
    (long_median,) = (
        group for group in kept([place / 1000 for place in range(1000)]).groups()
        if group.title == "Median"
    )  # fmt: skip
    assert all(300 < place < 700 for place in long_median.places)


def test_a_picture_is_made_only_of_a_frame_that_is_kept() -> None:
    made: list[int] = []
    pictures = KeptPictures()
    for place in range(2000):

        def make(place: int = place) -> FramePicture:
            made.append(place)
            return picture(place)

        pictures.add(place, 0.5 + (place % 7) / 100, make)
    assert len(made) < 300
