"""Every cheaper computation together, against the straightforward way through a frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from activesam_ros.calibration.estimator import CalibrationSettings, SignatureSums
from activesam_ros.calibration.signature_files import write_signatures
from activesam_ros.demo.drive.options import TEST_SEEDS, DriveOptions
from activesam_ros.demo.drive.sequence import Drive
from activesam_ros.demo.untrained import WEIGHTS_NAME, write_untrained
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.resources import weights_dir
from activesam_ros.segmentation.device.support import DeviceSupport
from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Wanted
from activesam_ros.segmentation.score_maps.kernel_or_loop import ScoreMerge
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.segmentation.signatures import Signatures
from activesam_ros.settings import Settings
from benchmarks.oracles.plain_segmenter import PlainSegmenter
from training.measure import wide_vocabulary

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
    # Of 24 queries a fifth is kept, or as many as are there.
    decoded = {Method.ACTIVESAM: range(5, 6), Method.ACTIVESAM2: range(1, 8)}
    assert len(ours.active_queries) in decoded.get(method, [24])
    assert ours.scores is not None
    error = np.abs(ours.scores.astype(np.float32) - expected.scores.numpy())
    assert error.max() <= MAX_SCORE_ERROR
    assert (ours.labels == expected.labels).mean() >= MIN_LABEL_AGREEMENT


@pytest.mark.parametrize("chunk", [3, 32])
def test_screening_and_signatures_equal_the_plain_way(
    small_network: Network, tmp_path: Path, chunk: int
) -> None:
    classes = vocabulary(12)
    every = small_network.segmenter(classes, Settings(tau=0.0, max_active=0), Method.ACTIVESAM2)
    unscreened = every.segment(IMAGE, Wanted(scores=True))
    presence = np.median([one.presence or 0 for one in unscreened.classes])
    assert unscreened.scores is not None
    usual = unscreened.scores.astype(np.float32).mean(axis=(1, 2))  # [12]
    numbers = np.random.default_rng(2)
    names = tuple(entry.name for entry in classes.classes)
    rows = (usual + numbers.normal(0, 0.02, (12, 12))).clip(0, 1).astype(np.float32)
    signatures = Signatures(
        rows,
        (rows + numbers.normal(0, 0.002, (12, 12))).clip(0, 1).astype(np.float32),
        np.log(numbers.uniform(0.01, 0.2, 12)).astype(np.float32),
        np.arange(12) != 4,
        None,
        names,
    )
    path = tmp_path / "numbers.npz"
    write_signatures(path, signatures, SignatureSums.zeros(), CalibrationSettings(), {})
    with np.load(path) as file:
        arrays = dict(file)
    arrays["mass_argmax"] = np.where(signatures.calibrated, 5000.0, 0.0)
    np.savez(path, **arrays)
    settings = Settings(
        tau=float(presence),
        max_active=0,
        screening_chunk=chunk,
        bucket_size=4,
        confidence_threshold=0.2,
        signatures=str(path),
        sigma=0.02,
    )
    segmenter = small_network.segmenter(classes, settings, Method.ACTIVESAM2)
    ours = segmenter.segment(IMAGE, Wanted(scores=True))
    expected = PlainSegmenter(segmenter).segment(IMAGE)
    assert ours.active_queries == expected.active_queries
    assert 0 < len(ours.active_queries) < len(ours.admitted_queries)
    assert ours.scores is not None
    error = np.abs(ours.scores.astype(np.float32) - expected.scores.numpy())
    assert error.max() <= MAX_SCORE_ERROR
    assert (ours.labels == expected.labels).mean() >= MIN_LABEL_AGREEMENT
    plain = segmenter.with_settings(settings.replace({"signatures": ""})).segment(IMAGE)
    if chunk == 3:  # in which several classes survive
        assert (plain.labels != ours.labels).any(), "the signatures must decide something"


@pytest.fixture(scope="module")
def kernel_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """As small_network where Triton's kernels run: on the GPU, or interpreted."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    folder = tmp_path_factory.mktemp("untrained")
    yield load_network(
        NetworkOptions(
            weights=write_untrained(folder), dtype="float32", device="auto", cache_dir=folder
        )
    )
    monkeypatch.undo()


def failing(*_: object) -> None:
    raise RuntimeError("no compiler")


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("threshold", [0.0, 0.3])
@pytest.mark.parametrize("kernel", ["interpreted", "failing"])
def test_a_frame_by_kernel_equals_the_plain_way_and_the_one_map_by_map(
    kernel_network: Network, method: Method, threshold: float, kernel: str
) -> None:
    """What a GPU does, without waiting in between and with, with the kernel and where it fails."""
    pytest.importorskip("triton")
    from activesam_ros.segmentation.score_maps.merge_kernel import launch

    settings = Settings(
        max_active=7, bucket_size=4, confidence_threshold=0.2, background_threshold=threshold
    )
    by_map = kernel_network.segmenter(vocabulary(12), settings, method)
    merge = ScoreMerge(launch if kernel == "interpreted" else failing, compares=False)
    support = DeviceSupport(Transfer(by_map.model.device), merge)
    by_kernel = Segmenter(by_map.model, by_map.prompts, settings, method, support=support)
    assert merge.fits(by_map.model.device)
    wanted = Wanted(confidence=True)
    earlier, expected = by_map.segment(IMAGE, wanted), PlainSegmenter(by_map).segment(IMAGE)
    best = expected.scores.amax(dim=0).cpu().numpy()
    for ours in (
        by_kernel.segment(IMAGE, wanted),
        by_kernel.early_exit().segment(IMAGE, wanted),
    ):
        assert merge.fits(by_map.model.device) == (kernel == "interpreted")
        assert ours.active_queries == expected.active_queries
        assert (ours.labels == expected.labels).mean() >= MIN_LABEL_AGREEMENT
        assert (ours.labels == earlier.labels).mean() >= MIN_LABEL_AGREEMENT
        assert ours.confidence is not None
        assert np.abs(ours.confidence / 255 - best).max() <= 0.5 / 255 + 1e-4
        for entry, before in zip(ours.classes, earlier.classes, strict=True):
            assert (entry.id, entry.reason) == (before.id, before.reason)
            assert entry.presence == pytest.approx(before.presence, abs=1e-5)
            assert abs(entry.pixels - before.pixels) <= 0.002 * ours.labels.size
        background = np.count_nonzero(ours.labels == ours.background_id)
        assert sum(entry.pixels for entry in ours.classes) + background == ours.labels.size


def test_single_pixels_are_segmented_by_kernel(kernel_network: Network) -> None:
    pytest.importorskip("triton")
    from activesam_ros.segmentation.score_maps.merge_kernel import launch

    by_map = kernel_network.segmenter(vocabulary(3), Settings(), Method.FULL)
    merge = ScoreMerge(launch, compares=False)
    support = DeviceSupport(Transfer(by_map.model.device), merge)
    by_kernel = Segmenter(
        by_map.model, by_map.prompts, by_map.settings, Method.FULL, support=support
    )
    for image in (IMAGE[:1, :1], IMAGE[:1], IMAGE[:33, :65]):
        agreement = by_kernel.segment(image).labels == by_map.segment(image).labels
        assert agreement.mean() >= MIN_LABEL_AGREEMENT
        assert merge.fits(by_map.model.device)


def test_bfloat16_keeps_the_labels_by_kernel(tmp_path: Path) -> None:
    """Of the network that ships: the kernel reads logits in bfloat16, as the network makes them."""
    pytest.importorskip("triton")
    from activesam_ros.segmentation.score_maps.merge_kernel import launch

    weights = weights_dir() / "demo" / WEIGHTS_NAME
    network = load_network(NetworkOptions(weights=weights, dtype="bfloat16", cache_dir=tmp_path))
    (image,) = (
        Drive(DriveOptions(seed=TEST_SEEDS[0], frames=1, width=160, height=96)).frame(0).images
    )
    settings = Settings(background_threshold=0.3)
    plain = network.segmenter(wide_vocabulary(), settings)
    merge = ScoreMerge(launch, compares=False)
    support = DeviceSupport(Transfer(network.device), merge)
    by_kernel = Segmenter(plain.model, plain.prompts, settings, support=support)
    ours, expected = by_kernel.segment(image), PlainSegmenter(plain).segment(image)
    assert merge.fits(network.device)
    # bfloat16 rounds in another order where queries go in other buckets, and CPUs round apart: a
    # query at the edge of the active set may fall on either side.
    assert len(set(ours.active_queries) ^ set(expected.active_queries)) <= 1
    assert (ours.labels == expected.labels).mean() >= MIN_LABEL_AGREEMENT
