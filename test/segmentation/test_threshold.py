"""A class below its threshold of presence gets no pixel, with every method and in a stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from activesam_ros.pipeline import Network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.segmentation.methods import Method, default_settings
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.segmentation.signatures import Signatures
from activesam_ros.settings import Settings

CLASSES = 12
NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
PERIOD_NS = 100_000_000
# Every query of the random network passes, so that all methods have classes to lose.
VALUES = {"tau": 1e-6, "confidence_threshold": 0.0, "max_active": 8, "resolution": 112}


def vocabulary(thresholds: Mapping[int, float] = {}, pinned: tuple[int, ...] = ()) -> Vocabulary:
    return Vocabulary(
        "numbers",
        tuple(
            VocabularyClass(
                id=id,
                names=(f"thing {id}",),
                color=(0, 0, 0),
                pinned=id in pinned,
                hypernyms=((),),
                threshold=thresholds.get(id, 0.0),
            )
            for id in range(CLASSES)
        ),
    )


def settings_of(method: Method, **values: object) -> Settings:
    return default_settings(method).replace(VALUES | values)


def segmented(segmenter: Segmenter) -> Segmentation:
    return segmenter.segment(NOISE, Wanted(scores=True))


def presences(result: Segmentation) -> dict[int, float]:
    return {entry.id: entry.presence for entry in result.classes if entry.presence is not None}


def largest_class(result: Segmentation) -> int:
    """The class with most pixels that is not the only one."""
    counts = np.bincount(result.labels.flatten(), minlength=256)[:CLASSES]
    assert np.count_nonzero(counts) > 1
    return int(counts.argmax())


def labels_without(result: Segmentation, id: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int_]]:
    """The labels that the scores of ``result`` give if the class ``id`` scored nothing."""
    assert result.scores is not None
    scores = result.scores.copy()
    scores[id] = 0
    assert result.background_id is not None
    return np.where(scores.max(axis=0) > 0, scores.argmax(axis=0), result.background_id)


@pytest.mark.parametrize("method", list(Method))
def test_a_class_below_its_threshold_gets_no_pixel(network: Network, method: Method) -> None:
    settings = settings_of(method)
    free = segmented(network.segmenter(vocabulary(), settings, method))
    lost = largest_class(free)
    presence = presences(free)[lost]
    below = segmented(network.segmenter(vocabulary({lost: presence + 1e-3}), settings, method))
    assert not (below.labels == lost).any()
    others = free.labels != lost
    assert np.array_equal(below.labels[others], free.labels[others])
    # Scores are kept in 16 bits, so that near ties may turn.
    assert (below.labels == labels_without(free, lost)).mean() > 0.99
    assert below.scores is not None
    assert not below.scores[lost].any()
    # The presence after one decoder layer must reach the threshold too.
    least = 1e-4 if method is Method.ACTIVESAM2 else presence - 1e-3
    above = segmented(network.segmenter(vocabulary({lost: least}), settings, method))
    assert np.array_equal(above.labels, free.labels)
    every = segmented(
        network.segmenter(vocabulary(dict.fromkeys(range(12), 1.0)), settings, method)
    )
    assert (every.labels == every.background_id).all()


def test_the_screening_rejects_a_query_below_the_threshold(network: Network) -> None:
    settings = settings_of(Method.ACTIVESAM2)
    free = segmented(network.segmenter(vocabulary(), settings, Method.ACTIVESAM2))
    lost = largest_class(free)
    result = segmented(network.segmenter(vocabulary({lost: 1.0}), settings, Method.ACTIVESAM2))
    assert result.admitted_queries == free.admitted_queries
    assert set(result.active_queries) == set(free.active_queries) - {lost}
    none = network.segmenter(
        vocabulary(dict.fromkeys(range(CLASSES), 1.0)), settings, Method.ACTIVESAM2
    )
    assert none.segment(NOISE).active_queries == ()
    # The one that is decoded because no other passes is not spared.
    strict = settings.replace({"tau": 1.0})
    (best,) = (
        network.segmenter(vocabulary(), strict, Method.ACTIVESAM2).segment(NOISE).active_queries
    )
    alone = network.segmenter(vocabulary({best: 1.0}), strict, Method.ACTIVESAM2).segment(NOISE)
    assert alone.active_queries == ()
    assert (alone.labels == alone.background_id).all()


@pytest.mark.parametrize("method", [Method.ACTIVESAM, Method.ACTIVESAM2])
def test_a_pinned_class_is_decoded_but_keeps_its_threshold(
    network: Network, method: Method
) -> None:
    settings = settings_of(method)
    free = segmented(network.segmenter(vocabulary(), settings, method))
    lost = largest_class(free)
    result = segmented(network.segmenter(vocabulary({lost: 1.0}, (lost,)), settings, method))
    assert lost in result.active_queries
    assert presences(result)[lost] == pytest.approx(presences(free)[lost], abs=1e-4)
    assert not (result.labels == lost).any()


def test_a_class_below_its_threshold_wins_no_pixel_by_its_signature(network: Network) -> None:
    settings = settings_of(Method.ACTIVESAM2)
    means = np.full((CLASSES, CLASSES), 0.2, np.float32) + np.eye(CLASSES, dtype=np.float32) * 0.5
    signatures = Signatures(
        winning=means,
        exclusive=means,
        log_mass=np.full(CLASSES, -np.log(CLASSES), np.float32),
        calibrated=np.ones(CLASSES, np.bool_),
        background_mass=None,
    )

    def segment(vocabulary: Vocabulary) -> Segmentation:
        segmenter = network.segmenter(vocabulary, settings, Method.ACTIVESAM2)
        return segmented(
            Segmenter(
                segmenter.model,
                segmenter.prompts,
                settings,
                Method.ACTIVESAM2,
                signatures=signatures,
            )
        )

    lost = largest_class(segment(vocabulary()))
    assert not (segment(vocabulary({lost: 1.0})).labels == lost).any()
    nothing = segment(vocabulary(dict.fromkeys(range(CLASSES), 1.0)))
    assert (nothing.labels == nothing.background_id).all()


@pytest.mark.parametrize("method", [Method.ACTIVESAM, Method.ACTIVESAM2])
def test_a_stream_holds_the_threshold_in_every_frame(network: Network, method: Method) -> None:
    # All stay active, so that the frames differ by the threshold alone.
    settings = settings_of(
        method, streaming=True, leave_threshold=0.0, scene_change_threshold=0.0, max_active=11
    )
    free = network.streaming_segmenter(vocabulary(), settings, method)
    expected = [free.frame("front", place * PERIOD_NS).segment(NOISE) for place in range(3)]
    lost = largest_class(expected[0])
    strict = network.streaming_segmenter(vocabulary({lost: 1.0}), settings, method)
    for place, before in enumerate(expected):
        result = strict.frame("front", place * PERIOD_NS).segment(NOISE)
        assert (before.labels == lost).any()
        assert not (result.labels == lost).any()
        others = before.labels != lost
        assert np.array_equal(result.labels[others], before.labels[others])


def test_an_alias_is_judged_by_its_own_presence(network: Network) -> None:
    settings = settings_of(Method.FULL)
    free = segmented(network.segmenter(vocabulary(), settings, Method.FULL))
    assert free.scores is not None
    presence, scores = presences(free), free.scores.astype(float)
    weak, strong = next(
        (weak, strong)
        for weak in presence
        for strong in presence
        if presence[strong] > presence[weak] + 1e-2 and (scores[weak] > scores[strong] + 0.05).any()
    )
    between = (presence[weak] + presence[strong]) / 2
    plain = vocabulary().classes

    def together(threshold: float) -> Vocabulary:
        joined = dataclasses.replace(
            plain[strong],
            names=(plain[strong].name, plain[weak].name),
            hypernyms=((), ()),
            threshold=threshold,
        )
        rest = (entry for entry in plain if entry.id not in (weak, strong))
        return Vocabulary("aliases", (joined, *rest))

    without = segmented(network.segmenter(together(0.0), settings, Method.FULL))
    result = segmented(network.segmenter(together(between), settings, Method.FULL))
    assert without.scores is not None
    assert result.scores is not None
    both = np.maximum(scores[strong], scores[weak])
    assert np.abs(without.scores[0].astype(float) - both).max() < 1e-2
    assert np.abs(result.scores[0].astype(float) - scores[strong]).max() < 1e-2
