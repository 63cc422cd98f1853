"""Every cheaper computation together, against the straightforward way through a frame."""

from __future__ import annotations

import numpy as np
import pytest

from activesam_ros.demo.untrained import write_untrained
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.segmentation.baselines import Method
from activesam_ros.segmentation.plain import PlainSegmenter
from activesam_ros.segmentation.result import Wanted
from activesam_ros.settings import Settings

IMAGE = np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8)
# The tolerance of float32 on a CPU, and half a step of the float16 that scores are handed out in.
MAX_SCORE_ERROR = 1e-4 + 2.5e-4
MIN_LABEL_AGREEMENT = 0.998


@pytest.fixture(scope="module")
def small_network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network that, unlike the golden one, does not amplify rounding."""
    folder = tmp_path_factory.mktemp("untrained")
    return load_network(
        NetworkOptions(weights=write_untrained(folder), device="cpu", cache_dir=folder)
    )


def vocabulary(count: int) -> Vocabulary:
    return Vocabulary(
        name="numbers",
        classes=tuple(
            VocabularyClass(
                id=3 * index,
                names=(f"thing {index}", f"object {index}"),
                color=(0, 0, 0),
                hypernyms=((), ()),
            )
            for index in range(count)
        ),
    )


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_a_frame_equals_the_plain_way(
    small_network: Network, method: Method, threshold: float
) -> None:
    settings = Settings(
        max_active=7, bucket_size=4, confidence_threshold=0.2, background_threshold=threshold
    )
    segmenter = small_network.segmenter(vocabulary(12), settings, method)
    ours = segmenter.segment(IMAGE, Wanted(scores=True))
    expected = PlainSegmenter(segmenter).segment(IMAGE)
    assert ours.active_queries == expected.active_queries
    # Of 24 queries a fifth is kept.
    assert len(ours.active_queries) == (5 if method is Method.ACTIVESAM else 24)
    assert ours.scores is not None
    error = np.abs(ours.scores.astype(np.float32) - expected.scores.numpy())
    assert error.max() <= MAX_SCORE_ERROR
    assert (ours.labels == expected.labels).mean() >= MIN_LABEL_AGREEMENT
