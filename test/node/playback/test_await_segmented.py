"""When nothing waits any more, told by reports that come now and then."""

from __future__ import annotations

import pytest

from activesam_ros.node.playback.await_segmented import SETTLED_S, WaitingFrames


@pytest.mark.parametrize(
    ("reports", "is_over"),
    [
        ([], False),
        ([(3, 0.0)], False),
        ([(0, 0.0)], False),
        ([(0, 0.0), (0, SETTLED_S / 2)], False),
        ([(0, 0.0), (0, SETTLED_S / 2), (0, SETTLED_S)], True),
        ([(0, 0.0), (1, SETTLED_S / 2), (0, SETTLED_S)], False),
        ([(2, 0.0), (0, 1.0), (1, 1.1), (0, 9.0), (0, 9.0 + SETTLED_S)], True),
    ],
)
def test_it_is_over_when_nothing_waited_for_a_while(
    reports: list[tuple[int, float]], is_over: bool
) -> None:
    waiting = WaitingFrames(heard_s=0.0)
    for frames, now_s in reports:
        waiting.hear(frames, now_s)
    assert waiting.over == is_over
