"""A frame's way through the segmenter, beyond what the golden cases show."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.demo.drive.options import TEST_SEEDS, DriveOptions
from activesam_ros.demo.drive.sequence import Drive
from activesam_ros.errors import ImageError, ScoreError, SettingsError, VocabularyError
from activesam_ros.pipeline import Network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.sam3.decoder import DecoderPart
from activesam_ros.sam3.mask_head import Skips
from activesam_ros.sam3.model import DecodedPairs, ImageTokens, Prompts, Sam3ImageModel
from activesam_ros.sam3.plan import ImagePlan
from activesam_ros.sam3.vision_encoder import Pyramid, VisionEncoder
from activesam_ros.segmentation import decode
from activesam_ros.segmentation.device.support import DeviceSupport
from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Reason, Wanted
from activesam_ros.segmentation.score_maps.kernel_or_loop import ScoreMerge
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.segmentation.signatures import Signatures
from activesam_ros.settings import Settings
from activesam_ros.sparsity.plan import SparsePlan
from training.measure import wide_vocabulary

NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def vocabulary(count: int, *, first_id: int = 0, pinned: tuple[int, ...] = ()) -> Vocabulary:
    return Vocabulary(
        name="numbers",
        classes=tuple(
            VocabularyClass(
                id=first_id + index,
                names=(f"thing {index}",),
                color=(0, 0, 0),
                pinned=index in pinned,
                hypernyms=((),),
            )
            for index in range(count)
        ),
    )


def test_what_is_known_of_a_faster_way_outlives_the_settings(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two segmenters on one network only the first tries a way that fails, and the log says so
    once.
    """
    tried: list[str] = []

    def failing(name: str) -> Callable[..., Any]:
        def call(*_: object, **__: object) -> Any:
            tried.append(name)
            raise RuntimeError(f"no {name}")

        return call

    support = DeviceSupport(
        Transfer(network.device, failing("pinned memory")), ScoreMerge(failing("score kernel"))
    )
    with caplog.at_level(logging.WARNING):
        loaded = replace(network, support=support)
        first = loaded.segmenter(vocabulary(3), Settings(), Method.ACTIVESAM)
        again = loaded.segmenter(vocabulary(4), Settings(bucket_size=2), Method.ACTIVESAM)
        changed = again.with_settings(Settings(confidence_threshold=0.4))
        for segmenter in (first, again, changed):
            segmenter.segment(NOISE)
    assert tried == ["score kernel", "pinned memory"]
    assert ["no score kernel" in line for line in caplog.messages] == [True, False]
    assert ["no pinned memory" in line for line in caplog.messages] == [False, True]
    assert changed.settings.confidence_threshold == 0.4


def test_sparse_attention_is_one_for_all_settings(network: Network) -> None:
    sparse = [
        network.segmenter(vocabulary(3), Settings(fusion_density=density)) for density in (0.3, 0.5)
    ]
    plans = [segmenter.plan for segmenter in sparse]
    assert all(isinstance(plan, SparsePlan) for plan in plans)
    assert len({id(plan.attention) for plan in plans if isinstance(plan, SparsePlan)}) == 1


def test_pinned_classes_are_never_pruned(network: Network) -> None:
    free = network.segmenter(vocabulary(50), Settings(max_active=5), Method.ACTIVESAM).segment(
        NOISE
    )
    assert len(free.active_queries) == 5
    left_out = tuple(query for query in range(50) if query not in free.active_queries)[:2]
    by_file = network.segmenter(
        vocabulary(50, pinned=left_out[:1]), Settings(max_active=5), Method.ACTIVESAM
    )
    by_setting = network.segmenter(
        vocabulary(50), Settings(max_active=5, pinned=(f"Thing {left_out[1]}",)), Method.ACTIVESAM
    )
    for segmenter, pinned in ((by_file, left_out[0]), (by_setting, left_out[1])):
        result = segmenter.segment(NOISE)
        assert set(result.active_queries) == {*free.active_queries, pinned}
        reasons = {entry.id: entry.reason for entry in result.classes}
        assert reasons.pop(pinned) is Reason.PINNED
        assert set(reasons.values()) == {Reason.PREVIEWED}


def test_pinning_what_the_preview_finds_changes_nothing(network: Network) -> None:
    free = network.segmenter(vocabulary(50), Settings(max_active=5)).segment(NOISE)
    pinned = network.segmenter(
        vocabulary(50, pinned=free.active_queries), Settings(max_active=5)
    ).segment(NOISE)
    assert pinned.active_queries == free.active_queries
    assert {entry.reason for entry in pinned.classes} == {Reason.PREVIEWED}
    assert np.array_equal(pinned.labels, free.labels)


class GivenSet:
    """Decodes the same queries in every frame, without a preview."""

    def __init__(self, *queries: int) -> None:
        self.queries = queries

    def choose_preview(self, image: NDArray[np.uint8]) -> tuple[int, ...]:
        return ()

    def choose_decode(self, presence: Tensor) -> Mapping[int, Reason]:
        return dict.fromkeys(self.queries, Reason.CARRIED)

    def finish(self, presence: Mapping[int, float]) -> None:
        assert set(presence) == set(self.queries)


def test_a_chooser_may_do_without_a_preview(network: Network) -> None:
    segmenter = network.segmenter(vocabulary(50), Settings(max_active=5))
    previewed = segmenter.segment(NOISE)
    carried = segmenter.segment(NOISE, chooser=GivenSet(*previewed.active_queries))
    assert carried.active_queries == previewed.active_queries
    assert np.array_equal(carried.labels, previewed.labels)
    assert carried.preview_presence == (None,) * 50
    assert {entry.reason for entry in carried.classes} == {Reason.CARRIED}
    assert "preview" not in carried.timings_ms


def test_no_chooser_prunes_where_nothing_is_previewed(network: Network) -> None:
    result = network.segmenter(vocabulary(3), Settings(), Method.ACTIVESAM).segment(
        NOISE, chooser=GivenSet(1)
    )
    assert result.active_queries == (0, 1, 2)
    assert {entry.reason for entry in result.classes} == {Reason.UNPRUNED}


def test_images_of_a_batch_are_as_segmented_alone(network: Network) -> None:
    segmenter = network.segmenter(vocabulary(50), Settings(max_active=5))
    images = [NOISE, np.ascontiguousarray(NOISE[:40, ::-1]), NOISE[::-1]]
    wanted = [Wanted(), Wanted(confidence=True), Wanted()]
    carried = [None, GivenSet(4, 9), None]
    together = list(segmenter.segment_batch(images, wanted, carried))
    assert len(together) == 3
    for place, result in enumerate(together):
        alone = segmenter.segment(images[place], wanted[place], carried[place])
        assert result.active_queries == alone.active_queries
        assert result.labels.shape == images[place].shape[:2]
        assert (result.labels == alone.labels).mean() > 0.99  # sums in another order
        assert (result.confidence is None) == (place != 1)


def test_a_shared_encoding_is_previewed_and_decoded(network: Network) -> None:
    settings = Settings(max_active=5, preview_encoding="shared")
    shared = network.segmenter(vocabulary(50), settings).segment(NOISE)
    assert "preview_encode" not in shared.timings_ms
    # The same as a preview at the size of decoding, encoded twice.
    own = Settings(max_active=5, preview_resolution=168)
    twice = network.segmenter(vocabulary(50), own).segment(NOISE)
    assert shared.preview_presence == pytest.approx(twice.preview_presence, abs=1e-5)
    assert shared.active_queries == twice.active_queries
    assert (shared.labels == twice.labels).mean() > 0.99


def test_other_buckets_give_the_same(network: Network) -> None:
    segmenter = network.segmenter(vocabulary(9), Settings())
    smaller = segmenter.with_bucket_size(2)
    assert (segmenter.bucket_size, smaller.bucket_size) == (32, 2)
    labels = smaller.segment(NOISE).labels
    assert (labels == segmenter.segment(NOISE).labels).mean() > 0.99
    with pytest.raises(SettingsError, match="bucket_size=0"):
        segmenter.with_bucket_size(0)


@pytest.mark.parametrize("method", [Method.FULL, Method.SEGEARTH, Method.SAM3])
@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_maps_are_made_of_those_queries_only_that_can_show(
    demo_network: Network, method: Method, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    pixels = Sam3ImageModel.pixels

    def counted(model: Sam3ImageModel, decoded: DecodedPairs, skips: Skips) -> Tensor:
        made.append(len(decoded.hidden))
        return pixels(model, decoded, skips)

    monkeypatch.setattr(Sam3ImageModel, "pixels", counted)
    drive = Drive(DriveOptions(seed=TEST_SEEDS[0], frames=1, width=320, height=192))
    (image,) = drive.frame(0).images
    settings = Settings(background_threshold=threshold, bucket_size=8)
    segmenter = demo_network.segmenter(wide_vocabulary(), settings, method)
    everything = segmenter.segment(image, Wanted(confidence=True, scores=True))
    queries = len(everything.active_queries)
    assert sum(made) == queries
    made.clear()
    for wanted in (Wanted(), Wanted(confidence=True)):
        result = segmenter.segment(image, wanted)
        assert np.array_equal(result.labels, everything.labels)
        assert result.classes == everything.classes
        if wanted.confidence:
            assert result.confidence is not None
            assert everything.confidence is not None
            assert np.array_equal(result.confidence, everything.confidence)
    assert 0 < sum(made) < queries  # of both together


def test_only_the_preview_grows_with_the_vocabulary(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images encoded, and prompts that each part of the network is asked."""
    asked: Counter[str] = Counter()
    presence, decode_pairs, pixels = (
        Sam3ImageModel.presence,
        Sam3ImageModel.decode,
        Sam3ImageModel.pixels,
    )
    coarse, pyramid = VisionEncoder.coarse, VisionEncoder.forward

    def count_presence(
        model: Sam3ImageModel, features: ImageTokens, prompts: Prompts, part: DecoderPart | None
    ) -> Tensor:
        asked["presence"] += len(prompts)
        return presence(model, features, prompts, part)

    def count_decode(
        model: Sam3ImageModel, features: ImageTokens, prompts: Prompts
    ) -> DecodedPairs:
        asked["decode"] += len(prompts)
        return decode_pairs(model, features, prompts)

    def count_pixels(model: Sam3ImageModel, decoded: DecodedPairs, skips: Skips) -> Tensor:
        asked["pixels"] += len(decoded.hidden)
        return pixels(model, decoded, skips)

    def count_coarse(encoder: VisionEncoder, image: Tensor, plan: ImagePlan | None) -> Tensor:
        asked["preview_encode"] += 1
        return coarse(encoder, image, plan)

    def count_pyramid(encoder: VisionEncoder, image: Tensor, plan: ImagePlan | None) -> Pyramid:
        asked["encode"] += 1
        return pyramid(encoder, image, plan)

    monkeypatch.setattr(Sam3ImageModel, "presence", count_presence)
    monkeypatch.setattr(Sam3ImageModel, "decode", count_decode)
    monkeypatch.setattr(Sam3ImageModel, "pixels", count_pixels)
    monkeypatch.setattr(VisionEncoder, "coarse", count_coarse)
    monkeypatch.setattr(VisionEncoder, "forward", count_pyramid)
    for queries in (40, 120):
        asked.clear()
        segmenter = network.segmenter(vocabulary(queries), Settings(max_active=4), Method.ACTIVESAM)
        segmenter.segment(NOISE, Wanted(scores=True))  # with which nothing is left out
        assert asked == {
            "preview_encode": 1,
            "presence": queries,
            "encode": 1,
            "decode": 4,
            "pixels": 4,
        }


def test_answers_that_were_not_kept_are_computed_anew(
    demo_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = demo_network.segmenter(vocabulary(20), Settings(bucket_size=4), Method.FULL)
    kept = segmenter.segment(NOISE, Wanted(scores=True))
    monkeypatch.setattr(decode, "KEPT_QUERIES", 3)
    anew = segmenter.segment(NOISE, Wanted(scores=True))
    assert np.array_equal(anew.labels, kept.labels)
    assert anew.classes == kept.classes
    assert anew.scores is not None
    assert kept.scores is not None
    np.testing.assert_allclose(anew.scores, kept.scores, atol=1e-3)


def test_the_fast_preset_is_near_the_exact_one(demo_network: Network) -> None:
    drive = Drive(DriveOptions(seed=TEST_SEEDS[0], frames=1, width=320, height=192))
    (image,) = drive.frame(0).images
    exact, fast = (
        demo_network.segmenter(wide_vocabulary(), Settings(preset=preset), Method.FULL)
        for preset in ("exact", "fast")
    )
    assert exact.model is demo_network.model
    assert fast.model is not demo_network.model
    again = demo_network.segmenter(wide_vocabulary(), Settings(preset="fast"), Method.FULL)
    assert again.model is fast.model
    found, expected = fast.segment(image), exact.segment(image)
    assert 0.95 < (found.labels == expected.labels).mean() < 1
    differences = [
        abs((ours.presence or 0) - (theirs.presence or 0))
        for ours, theirs in zip(found.classes, expected.classes, strict=True)
    ]
    assert 0 < max(differences) < 0.3


@pytest.mark.parametrize("field", ["presence_logits", "logits", "hidden", "memory", "prompt"])
@pytest.mark.parametrize("method", [Method.ACTIVESAM, Method.SEGEARTH, Method.SAM3])
def test_a_score_that_is_no_number_is_no_label(
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    method: Method,
    field: str,
) -> None:
    """One number of one query is NaN; the next image is segmented as ever."""
    settings = Settings(confidence_threshold=0.0, bucket_size=3)
    segmenter = network.segmenter(vocabulary(5), settings, method)
    expected = segmenter.segment(NOISE)
    decoded = Sam3ImageModel.decode

    def spoilt(model: Sam3ImageModel, features: ImageTokens, prompts: Prompts) -> DecodedPairs:
        found = decoded(model, features, prompts)
        values = getattr(found, field).clone()
        values[-1].view(-1)[0] = torch.nan
        return found._replace(**{field: values})

    with monkeypatch.context() as patch:
        patch.setattr(Sam3ImageModel, "decode", spoilt)
        with pytest.raises(ScoreError, match="NaN or infinite, so this image gets no labels"):
            segmenter.segment(NOISE)
    again = segmenter.segment(NOISE)
    assert np.array_equal(again.labels, expected.labels)
    assert again.classes == expected.classes


SIGNATURES = Signatures(
    winning=np.eye(5, dtype=np.float32),
    exclusive=np.eye(5, dtype=np.float32),
    log_mass=np.full(5, np.log(0.2), np.float32),
    calibrated=np.ones(5, np.bool_),
    background_mass=None,
)


@pytest.mark.parametrize("with_signatures", [True, False])
@pytest.mark.parametrize(
    ("step", "field"),
    [
        ("screen", "presence_logits"),
        ("decode_screened", "presence_logits"),
        ("decode_screened", "logits"),
        ("decode_screened", "hidden"),
        ("decode_screened", "memory"),
    ],
)
def test_a_score_that_is_no_number_is_no_label_of_activesam2(
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    field: str,
    *,
    with_signatures: bool,
) -> None:
    """Also of a query that the screening would reject, and in what calibration reads."""
    table = network.compile(vocabulary(5), Settings(), Method.ACTIVESAM2).table
    segmenter = Segmenter(
        network.model,
        table.to(network.device, network.dtype),
        Settings(max_active=0, tau=0.001, confidence_threshold=0.0, bucket_size=3),
        Method.ACTIVESAM2,
        signatures=SIGNATURES if with_signatures else None,
    )
    expected = segmenter.segment(NOISE)
    called = getattr(Sam3ImageModel, step)

    def spoilt(model: Sam3ImageModel, features: ImageTokens, pairs: Any) -> Any:
        found = called(model, features, pairs)
        values = getattr(found, field).clone()
        values[-1].view(-1)[0] = torch.nan
        return found._replace(**{field: values})

    with monkeypatch.context() as patch:
        patch.setattr(Sam3ImageModel, step, spoilt)
        with pytest.raises(ScoreError, match="NaN or infinite, so this image gets no labels"):
            segmenter.segment(NOISE)
        with pytest.raises(ScoreError, match="NaN or infinite, so this image gets no labels"):
            list(segmenter.class_maps(NOISE))
    assert np.array_equal(segmenter.segment(NOISE).labels, expected.labels)


def test_a_class_named_background_needs_no_background_class(network: Network) -> None:
    """By signatures, its pixels are those of the same class named by the setting."""
    things = vocabulary(5)
    third = replace(things.classes[3], names=("background",))
    named = replace(things, classes=(*things.classes[:3], third, things.classes[4]))
    settings = Settings(max_active=0, tau=0.001, background_offset=100.0)
    known = replace(SIGNATURES, background_mass=0.5)
    table = network.compile(named, settings, Method.ACTIVESAM2).table
    results = [
        Segmenter(
            network.model,
            table.to(network.device, network.dtype),
            settings.replace({"background_class": setting}),
            Method.ACTIVESAM2,
            signatures=known,
        ).segment(NOISE)
        for setting in ("", "background")
    ]
    for result in results:
        assert (result.labels == 3).all()
        assert result.background_id == 3


def test_a_preview_that_is_no_number_chooses_nothing(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = network.segmenter(vocabulary(5), Settings(max_active=2))
    presence = Sam3ImageModel.presence

    def spoilt(
        model: Sam3ImageModel, features: ImageTokens, prompts: Prompts, part: DecoderPart | None
    ) -> Tensor:
        found = presence(model, features, prompts, part).clone()
        found[:, -1] = torch.nan
        return found

    monkeypatch.setattr(Sam3ImageModel, "presence", spoilt)
    with pytest.raises(ScoreError, match="presence in the preview that is NaN"):
        segmenter.segment(NOISE)


def test_pinned_names_must_exist(network: Network) -> None:
    with pytest.raises(VocabularyError, match="unicorn"):
        network.segmenter(vocabulary(3), Settings(pinned=("unicorn",)))


def test_labels_are_ids_and_widen_with_them(network: Network) -> None:
    small = network.segmenter(vocabulary(3, first_id=7), Settings()).segment(NOISE)
    assert small.labels.dtype == np.uint8
    assert set(np.unique(small.labels)) <= {7, 8, 9}
    large = network.segmenter(vocabulary(3, first_id=999), Settings()).segment(NOISE)
    assert large.labels.dtype == np.uint16
    assert np.array_equal(large.labels - 992, small.labels)
    many = network.segmenter(vocabulary(256), Settings(max_active=2)).segment(NOISE)
    assert many.labels.dtype == np.uint16


@pytest.mark.parametrize("first_id", [0, 1, 999])
@pytest.mark.parametrize("method", [Method.ACTIVESAM, Method.SEGEARTH])
def test_background_becomes_no_class(network: Network, first_id: int, method: Method) -> None:
    """Pixels that are not background keep their class, and the others have none."""
    things = vocabulary(6, first_id=first_id)
    plain = network.segmenter(things, Settings(), method).segment(NOISE)
    segmenter = network.segmenter(things, Settings(background_threshold=0.45), method)
    result = segmenter.segment(NOISE)
    expected = {0: 255, 1: 0, 999: 0}[first_id]
    assert result.background_id == expected
    empty = result.labels == expected
    assert empty.any()
    assert not empty.all()
    assert np.array_equal(result.labels[~empty], plain.labels[~empty])
    assert sum(entry.pixels for entry in result.classes) == (~empty).sum()
    for entry in result.classes:
        assert entry.pixels == (result.labels == entry.id).sum()


def test_what_no_instance_covers_is_background(network: Network) -> None:
    settings = Settings(confidence_threshold=1.0)
    result = network.segmenter(vocabulary(3), settings, Method.SAM3).segment(NOISE)
    assert (result.labels == 255).all()
    assert [entry.pixels for entry in result.classes] == [0, 0, 0]


def test_background_may_have_an_id_of_its_own(network: Network) -> None:
    settings = Settings(background_threshold=1.0, background_id=255)
    result = network.segmenter(vocabulary(3), settings, Method.ACTIVESAM).segment(NOISE)
    assert (result.labels == 255).all()
    assert [entry.pixels for entry in result.classes] == [0, 0, 0]
    plain = network.segmenter(vocabulary(3), settings, Method.SEGEARTH).segment(NOISE)
    assert (plain.labels == 255).all()


def test_extra_outputs_come_only_when_wanted(network: Network) -> None:
    segmenter = network.segmenter(vocabulary(3), Settings())
    plain = segmenter.segment(NOISE)
    assert plain.confidence is None
    assert plain.scores is None
    rich = segmenter.segment(NOISE, Wanted(confidence=True, scores=True))
    assert rich.scores is not None
    assert rich.confidence is not None
    assert rich.scores.shape == (3, 60, 80)
    assert rich.confidence.dtype == np.uint8
    best = rich.scores.astype(np.float32).max(axis=0)
    assert np.abs(rich.confidence - best * 255).max() < 1
    assert np.array_equal(rich.labels, plain.labels)


def test_views_and_read_only_images_are_fine(network: Network) -> None:
    segmenter = network.segmenter(vocabulary(3), Settings())
    expected = segmenter.segment(np.ascontiguousarray(NOISE[::-1, ::-1])).labels
    assert np.array_equal(segmenter.segment(NOISE[::-1, ::-1]).labels, expected)
    frozen = NOISE.copy()
    frozen.flags.writeable = False
    assert segmenter.segment(frozen).labels.shape == (60, 80)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((60, 80), np.uint8),
        np.zeros((60, 80, 4), np.uint8),
        np.zeros((0, 80, 3), np.uint8),
        np.zeros((60, 80, 3), np.float32),
    ],
)
def test_other_arrays_are_refused(network: Network, image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="uint8 RGB"):
        network.segmenter(vocabulary(3), Settings()).segment(image)


@pytest.mark.parametrize("name", ["resolution", "preview_resolution"])
def test_resolutions_must_fit_the_patches(network: Network, name: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name}=100 .* patch size 14; give for example 98"):
        network.segmenter(vocabulary(3), Settings.from_mapping({name: 100}))


def test_resolution_settings_reach_the_network(network: Network) -> None:
    segmenter = network.segmenter(vocabulary(3), Settings(resolution=84, preview_resolution=42))
    assert (segmenter.resolution, segmenter.preview_resolution) == (84, 42)
    for method, preview in ((Method.ACTIVESAM, 112), (Method.ACTIVESAM2, 56)):
        default = network.segmenter(vocabulary(3), Settings(), method)
        assert (default.resolution, default.preview_resolution) == (168, preview)


def test_stages_are_timed(network: Network) -> None:
    timings = network.segmenter(vocabulary(50), Settings()).segment(NOISE).timings_ms
    assert {"preview_encode", "preview", "encode", "decode", "fuse", "total"} <= set(timings)
    assert sum(value for name, value in timings.items() if name != "total") <= timings["total"]


MEMORY_SCRIPT = """
import resource, sys
import numpy as np
from pathlib import Path
from activesam_ros.pipeline import NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.segmentation.methods import Method
from activesam_ros.settings import Settings

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

network = load_network(
    NetworkOptions(weights=Path(sys.argv[1]), device="cpu", cache_dir=Path(sys.argv[2]))
)
classes = tuple(
    VocabularyClass(id=i, names=(f"thing {i}",), color=(0, 0, 0), hypernyms=((),))
    for i in range(150)
)
settings = Settings(max_active=150, confidence_threshold=0.8)
segmenter = network.segmenter(Vocabulary("many", classes), settings, Method.ACTIVESAM)
segmenter.segment(np.zeros((64, 64, 3), np.uint8))
image = np.random.default_rng(0).integers(0, 256, (2160, 3840, 3), dtype=np.uint8)
before = peak_mib()
result = segmenter.segment(image)
print(len(result.active_queries), peak_mib() - before)
"""


def test_memory_does_not_grow_with_classes_times_pixels(golden_dir: Path, tmp_path: Path) -> None:
    """4K with 150 active classes; all their score maps in float32 would take 5 GB."""
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(golden_dir / "model.pt"), str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    active, growth_mib = output.split()
    assert int(active) == 150
    assert float(growth_mib) < 2048
