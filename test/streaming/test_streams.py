"""Streams through the real network: per camera, per frame, and where nothing is carried."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from activesam_ros.errors import ImageError, SettingsError
from activesam_ros.pipeline import Network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Reason, Segmentation
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings
from activesam_ros.streaming.scene_change import thumbnail
from activesam_ros.streaming.stream import FrameInfo, choose_decode, choose_preview, next_state
from activesam_ros.streaming.streams import StreamingSegmenter, rules_of

NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
QUERIES = 50
PERIOD_NS = 100_000_000


def vocabulary(*, pinned: tuple[int, ...] = (), count: int = QUERIES) -> Vocabulary:
    return Vocabulary(
        name="numbers",
        classes=tuple(
            VocabularyClass(
                id=index,
                names=(f"thing {index}",),
                color=(0, 0, 0),
                pinned=index in pinned,
                hypernyms=((),),
            )
            for index in range(count)
        ),
    )


def settings(**values: object) -> Settings:
    """Thresholds that the random network's presences lie on both sides of do not matter here."""
    return Settings.from_mapping({"max_active": 5, "streaming": True, "hold_frames": 2} | values)


def previewed(result: Segmentation) -> int:
    return sum(value is not None for value in result.preview_presence)


def test_the_first_frame_is_what_it_is_without_streaming(network: Network) -> None:
    alone = network.segmenter(vocabulary(pinned=(3,)), settings(streaming=False))
    stream = StreamingSegmenter(alone)
    first = stream.frame("front", 0).segment(NOISE)
    expected = alone.segment(NOISE)
    assert first.preview_presence == expected.preview_presence
    assert first.classes == expected.classes
    assert np.array_equal(first.labels, expected.labels)
    assert np.array_equal(stream.segment(NOISE).labels, expected.labels)


@pytest.mark.parametrize("preview_encoding", ["separate", "shared"])
def test_later_frames_preview_slices_and_carry_the_active_set(
    network: Network, preview_encoding: str
) -> None:
    given = settings(leave_threshold=0.0, enter_threshold=1.0, preview_encoding=preview_encoding)
    stream = network.streaming_segmenter(vocabulary(pinned=(3,)), given, Method.ACTIVESAM)
    first = stream.frame("front", 0).segment(NOISE)
    seen: set[int] = set()
    for place in range(1, 9):
        result = stream.frame("front", place * PERIOD_NS).segment(NOISE)
        assert previewed(result) == 7  # 49 that are not pinned, in 8 frames
        seen |= {query for query, value in enumerate(result.preview_presence) if value is not None}
        assert result.active_queries == first.active_queries
        reasons = {entry.id: entry.reason for entry in result.classes}
        assert reasons.pop(3) is Reason.PINNED
        assert set(reasons.values()) == {Reason.CARRIED}
    assert seen == set(range(QUERIES)) - set(first.active_queries)


def test_cameras_do_not_share_a_stream_and_a_reset_ends_all(network: Network) -> None:
    stream = network.streaming_segmenter(vocabulary(), settings())
    counts = [
        previewed(stream.frame(camera, stamp_ns).segment(NOISE))
        for camera, stamp_ns in (("front", 0), ("left", 0), ("front", PERIOD_NS), ("left", 9))
    ]
    assert counts == [QUERIES, QUERIES, 7, 7]
    stream.reset()
    assert previewed(stream.frame("front", 2 * PERIOD_NS).segment(NOISE)) == QUERIES


def test_a_frame_that_fails_leaves_no_trace(network: Network) -> None:
    stream = network.streaming_segmenter(vocabulary(), settings())
    with pytest.raises(ImageError):
        stream.frame("front", 0).segment(NOISE[..., 0])
    stream.frame("front", 0).segment(NOISE)
    with pytest.raises(ImageError):
        stream.frame("front", PERIOD_NS).segment(NOISE[..., 0])
    assert previewed(stream.frame("front", PERIOD_NS).segment(NOISE)) == 7


def test_a_vocabulary_that_is_not_previewed_is_not_pruned_by_streaming(network: Network) -> None:
    stream = network.streaming_segmenter(vocabulary(count=4), settings(), Method.ACTIVESAM)
    for stamp_ns in (0, PERIOD_NS):
        result = stream.frame("front", stamp_ns).segment(NOISE)
        assert result.active_queries == (0, 1, 2, 3)
        assert {entry.reason for entry in result.classes} == {Reason.UNPRUNED}


@pytest.mark.parametrize(
    ("tau", "presence", "frames"), [(0.5, 0.3, 2), (0.5, 0.6, None), (0.02, 0.05, None)]
)
def test_activesam2_screens_no_query_for_ever_that_tau_rejects(
    tau: float, presence: float, frames: int | None
) -> None:
    """frames: after how many a query of this presence leaves; None if it stays."""
    given = settings(tau=tau, max_active=0, enter_threshold=0.9)
    rules = rules_of(vocabulary(count=2), given, Method.ACTIVESAM2)
    frame, best = FrameInfo(None, thumbnail(NOISE)), max(tau, presence)
    preview = choose_preview(None, frame, rules)
    seen = {0: best, 1: 0.0}
    decode = choose_decode(None, preview, seen, rules.selection(torch.tensor([best, 0.0])), rules)
    assert decode.active == (0,)
    state = next_state(None, frame, preview, decode, {0: presence}, rules)
    left = None if state.tracks else 1
    for count in range(2, 20):
        if not state.tracks:
            break
        preview = choose_preview(state, frame, rules)
        decode = choose_decode(state, preview, dict.fromkeys(preview.queries, 0.0), (), rules)
        state = next_state(
            state, frame, preview, decode, dict.fromkeys(decode.active, presence), rules
        )
        left = None if state.tracks else count
    assert left == frames


def test_streaming_is_off_unless_enabled(network: Network) -> None:
    few = vocabulary(count=4)
    assert isinstance(network.streaming_if_enabled(few, Settings()), Segmenter)
    assert isinstance(network.streaming_if_enabled(few, settings()), StreamingSegmenter)
    assert isinstance(network.streaming_segmenter(few, Settings()), StreamingSegmenter)


def test_a_segmenter_that_does_not_stream_refuses_to(network: Network) -> None:
    with pytest.raises(SettingsError, match="make a StreamingSegmenter"):
        network.segmenter(vocabulary(count=4), settings())
    segmenter = network.segmenter(vocabulary(count=4), Settings())
    with pytest.raises(SettingsError, match="or set streaming=false"):
        segmenter.with_settings(settings())
