"""Whole frames against the reference, in float64 and in float32.

test/data/golden/README.md says where the results and the bounds come from. The network is given
stored pixels: resizing rounds to whole grey levels, which another kernel may do otherwise.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.image_files import read_image
from activesam_ros.pipeline import Network
from activesam_ros.prompts.compile import PromptStyle, encode_words, prompt_words
from activesam_ros.prompts.table import PromptTable
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.sam3.checkpoint import load_image_model, load_text_encoder
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.segmentation import pixels
from activesam_ros.segmentation.methods import METHODS, Method, default_settings
from activesam_ros.segmentation.pixels import network_pixels
from activesam_ros.segmentation.result import Reason, Segmentation, Wanted
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings

if TYPE_CHECKING:
    from test.fixtures.golden_fixtures import NoiseBound

CPU = torch.device("cpu")
CASES = ("aliases_background", "aliases_no_preview", "background", "no_background")
SEGEARTH_CASES = ("background", "no_background")
SETTING_NAMES = (
    "preview_resolution",
    "bucket_size",
    "quantile_alpha",
    "max_active",
    "neighbor_tokens",
    "hypernym_tokens",
    "mabc_exponent",
    "background_threshold",
)
# Every so many rows and columns of all class scores are stored.
SAMPLE = 7
FLOAT64_BOUND = 1e-9
# Scores come in float16.
ROUNDING = 2.5e-4
# The untrained network gives many classes nearly equal scores, so four times the noise of each
# class could change the label of up to 65 % of a frame's pixels. It changes 0.045 % at most, and
# four times that is allowed.
LARGEST_EXCUSED_SHARE = 0.7
FLOAT32_LABEL_AGREEMENT = 0.998
# What the methods' reference implementations gave is stored, in float32, the scores in float16.
PUBLISHED_LABEL_AGREEMENT = 0.9995
PUBLISHED_PRESENCE_ERROR = 1e-3
PUBLISHED_SCORE_ERROR = 1e-2

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
# (case, method) -> what the network makes of the case's stored pixels.
Segment: TypeAlias = Callable[[str, Method], Segmentation]


@pytest.fixture(scope="module")
def truth(golden_dir: Path) -> Arrays:
    """What the reference network and the methods' formulas give in float64."""
    with np.load(golden_dir / "decisions_float64.npz") as file:
        return dict(file)


@dataclass(frozen=True)
class Case:
    """A golden frame, its vocabulary and its settings."""

    recorded: Mapping[str, Any]
    folder: Path

    @classmethod
    def read(cls, folder: Path, name: str) -> Case:
        return cls(json.loads((folder / f"{name}.json").read_text()), folder)

    def image(self) -> NDArray[np.uint8]:
        return read_image(self.folder / self.recorded["image"])

    def settings(self, method: Method) -> Settings:
        chosen = {name: self.recorded[name] for name in SETTING_NAMES}
        return default_settings(method).replace(chosen)

    def segmenter(self, network: Network, method: Method) -> Segmenter:
        """In the network's precision, the text encoder's included."""
        vocabulary = load_vocabulary(str(self.folder / self.recorded["vocabulary"]))
        settings = self.settings(method)
        style = PromptStyle.EXPANDED if METHODS[method].expands else PromptStyle.PLAIN
        encoder = load_text_encoder(network.weights, network.config, CPU, network.dtype)
        words = prompt_words(vocabulary, settings, style)
        tensors = encode_words(words, encoder, Tokenizer(network.config.context_length))
        table = PromptTable(vocabulary=vocabulary, fingerprint="", **tensors)
        return network.segmenter_of(table, settings, method)


@pytest.fixture(scope="module")
def exact_network(network: Network) -> Network:
    """The golden network in float64."""
    model = load_image_model(network.weights, network.config, CPU, torch.float64)
    return dataclasses.replace(network, model=model)


@pytest.fixture(scope="module")
def in_float64(exact_network: Network, golden_dir: Path, truth: Arrays) -> Segment:
    return functools.cache(functools.partial(_segment, exact_network, golden_dir, truth))


@pytest.fixture(scope="module")
def in_float32(network: Network, golden_dir: Path, truth: Arrays) -> Segment:
    return functools.cache(functools.partial(_segment, network, golden_dir, truth))


def _segment(
    network: Network, folder: Path, truth: Arrays, name: str, method: Method
) -> Segmentation:
    """With the stored pixels in place of what this CPU resizes the image to."""
    stored = {
        levels.shape[-1]: torch.from_numpy(levels)[None]
        for levels in (truth[f"{name}.pixels"], truth[f"{name}.preview_pixels"])
    }

    def normalised(image: Tensor, resolution: int, dtype: torch.dtype) -> Tensor:
        return network_pixels(stored[resolution], resolution, dtype)

    case = Case.read(folder, name)
    segmenter = case.segmenter(network, method)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "network_pixels", normalised)
        return segmenter.segment(case.image(), Wanted(scores=True))


def scores_of(result: Segmentation) -> NDArray[np.float32]:
    assert result.scores is not None
    return result.scores.astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_activesam_in_float64(in_float64: Segment, truth: Arrays, case: str) -> None:
    result = in_float64(case, Method.ACTIVESAM)
    assert result.active_queries == tuple(truth[f"{case}.active"])
    assert np.array_equal(result.labels, truth[f"{case}.labels"])
    scores = scores_of(result)
    assert np.abs(scores.max(axis=0) - truth[f"{case}.best"]).max() <= ROUNDING
    sample = scores[:, ::SAMPLE, ::SAMPLE]
    assert np.abs(sample - truth[f"{case}.scores"]).max() <= ROUNDING
    if case == "aliases_no_preview":
        assert set(result.preview_presence) == {None}
        assert {entry.reason for entry in result.classes} == {Reason.UNPRUNED}
    else:
        presence = np.array(result.preview_presence, dtype=np.float64)
        assert np.abs(presence - truth[f"{case}.presence"]).max() <= FLOAT64_BOUND
        assert {entry.reason for entry in result.classes if entry.presence is not None} == {
            Reason.PREVIEWED
        }
    assert sum(entry.pixels for entry in result.classes) == result.labels.size


@pytest.mark.parametrize("case", SEGEARTH_CASES)
def test_segearth_in_float64(in_float64: Segment, truth: Arrays, case: str) -> None:
    result = in_float64(case, Method.SEGEARTH)
    assert np.array_equal(result.labels, truth[f"{case}.segearth.labels"])
    best = scores_of(result).max(axis=0)
    assert np.abs(best - truth[f"{case}.segearth.best"]).max() <= ROUNDING


@pytest.mark.parametrize("case", CASES)
def test_activesam_in_float32(
    in_float32: Segment,
    in_float64: Segment,
    golden_dir: Path,
    truth: Arrays,
    noise_bound: NoiseBound,
    case: str,
) -> None:
    result = in_float32(case, Method.ACTIVESAM)
    active = truth[f"{case}.active"]
    if case != "aliases_no_preview":
        expected, bound = truth[f"{case}.presence"], noise_bound(f"{case}.presence")
        # Noise cannot change the active set.
        lowest, highest = expected - bound, expected + bound
        assert lowest[active].min() > np.delete(highest, active).max()
        presence = np.array(result.preview_presence, dtype=np.float64)
        assert (np.abs(presence - expected) <= bound).all()
    assert result.active_queries == tuple(active)
    exact = scores_of(in_float64(case, Method.ACTIVESAM))
    bound = noise_bound(f"{case}.scores")[:, None, None] + 2 * ROUNDING
    assert (np.abs(scores_of(result) - exact) <= bound).all()
    settled = settled_pixels(exact, bound, Case.read(golden_dir, case), Method.ACTIVESAM)
    assert_same_labels(result, truth, case, settled)


@pytest.mark.parametrize("case", SEGEARTH_CASES)
def test_segearth_in_float32(
    in_float32: Segment,
    in_float64: Segment,
    golden_dir: Path,
    truth: Arrays,
    noise_bound: NoiseBound,
    case: str,
) -> None:
    result = in_float32(case, Method.SEGEARTH)
    exact = scores_of(in_float64(case, Method.SEGEARTH))
    contested = truth[f"{case}.segearth.contested"]
    bound = noise_bound(f"{case}.segearth.scores")[:, None, None] + 2 * ROUNDING
    within = np.abs(scores_of(result) - exact) <= bound
    assert within[:, ~contested].all()
    settled = settled_pixels(exact, bound, Case.read(golden_dir, case), Method.SEGEARTH)
    assert_same_labels(result, truth, f"{case}.segearth", settled & ~contested)


def settled_pixels(
    scores: NDArray[np.float32], bound: NDArray[np.float64], case: Case, method: Method
) -> NDArray[np.bool_]:
    """Where noise cannot give another label: scores [C, H, W], which may each be off by bound."""
    low, high = scores - bound, scores + bound
    second_low, best_low = np.partition(low, (-2, -1), axis=0)[-2:]
    second_high, best_high = np.partition(high, (-2, -1), axis=0)[-2:]
    winner = scores.argmax(axis=0)[None]
    others = high.copy()
    np.put_along_axis(others, winner, -np.inf, axis=0)
    settled: NDArray[np.bool_] = np.take_along_axis(low, winner, axis=0)[0] > others.max(axis=0)
    limit = case.recorded["background_threshold"]
    if limit == 0:
        return settled
    least, most = best_low, best_high
    if METHODS[method].calibrates:
        limit = limit ** case.recorded["mabc_exponent"]
        least = best_low * np.sqrt((best_low - second_high).clip(min=0))
        most = best_high * np.sqrt(best_high - second_low)
    settled &= least > limit
    settled |= most < limit
    return settled


def assert_same_labels(
    result: Segmentation, truth: Arrays, key: str, settled: NDArray[np.bool_]
) -> None:
    assert 1 - settled.mean() <= LARGEST_EXCUSED_SHARE
    assert np.array_equal(result.labels[settled], truth[f"{key}.labels"][settled])
    assert (result.labels == truth[f"{key}.labels"]).mean() >= FLOAT32_LABEL_AGREEMENT


@pytest.mark.parametrize("case", CASES)
def test_activesam_against_its_reference_implementation(
    in_float64: Segment, golden_dir: Path, case: str
) -> None:
    result = in_float64(case, Method.ACTIVESAM)
    golden = np.load(golden_dir / f"{case}.npz")
    assert result.active_queries == tuple(golden["active"])
    assert (result.labels == golden["labels"]).mean() >= PUBLISHED_LABEL_AGREEMENT
    error = np.abs(scores_of(result) - golden["scores"].astype(np.float32))
    assert error.max() <= PUBLISHED_SCORE_ERROR
    if case != "aliases_no_preview":
        presence = np.array(result.preview_presence, dtype=np.float64)
        assert np.abs(presence - golden["presence"]).max() <= PUBLISHED_PRESENCE_ERROR


@pytest.mark.parametrize("case", SEGEARTH_CASES)
def test_segearth_against_its_reference_implementation(
    in_float64: Segment, golden_dir: Path, case: str
) -> None:
    result = in_float64(case, Method.SEGEARTH)
    golden = np.load(golden_dir / f"{case}.segearth.npz")
    assert (result.labels == golden["labels"]).mean() >= PUBLISHED_LABEL_AGREEMENT
    error = np.abs(scores_of(result).max(axis=0) - golden["top_score"].astype(np.float32))
    assert error.max() <= PUBLISHED_SCORE_ERROR


@pytest.mark.parametrize("case", CASES)
def test_resizing_rounds_by_at_most_one_grey_level(
    golden_dir: Path, truth: Arrays, case: str
) -> None:
    image = torch.from_numpy(Case.read(golden_dir, case).image()).permute(2, 0, 1)[None]
    for stored in (truth[f"{case}.pixels"], truth[f"{case}.preview_pixels"]):
        here = network_pixels(image, stored.shape[-1], torch.float32)
        levels = ((here[0] / 2 + 0.5) * 255).numpy()
        assert np.abs(levels - stored).max() < 1 + 1e-3


def test_full_agrees_where_nothing_is_pruned(in_float32: Segment) -> None:
    active = in_float32("aliases_no_preview", Method.ACTIVESAM)
    full = in_float32("aliases_no_preview", Method.FULL)
    assert np.array_equal(active.labels, full.labels)


def test_full_decodes_what_activesam_prunes(in_float64: Segment) -> None:
    active = in_float64("background", Method.ACTIVESAM)
    full = in_float64("background", Method.FULL)
    assert len(full.active_queries) == 60
    assert active.scores is not None
    assert full.scores is not None
    kept = list(active.active_queries)
    error = np.abs(active.scores[kept].astype(np.float32) - full.scores[kept].astype(np.float32))
    assert error.max() <= 2 * ROUNDING


def test_plain_sam3_uses_instances_alone(in_float32: Segment) -> None:
    plain = in_float32("no_background", Method.SAM3)
    segearth = in_float32("no_background", Method.SEGEARTH)
    assert plain.scores is not None
    assert segearth.scores is not None
    without_objects = plain.scores.max(axis=(1, 2)) == 0
    assert without_objects.any()
    assert not without_objects.all()
    assert (segearth.scores[without_objects] > 0).all()
