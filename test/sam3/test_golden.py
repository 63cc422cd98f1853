"""Every stage of the network against the reference implementations, in float64 and in float32.

test/data/golden/README.md says where the tensors and the bounds come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.sam3.checkpoint import load_image_model, load_text_encoder
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import Prompts, Sam3ImageModel
from activesam_ros.sam3.text_encoder import TextEncoder

if TYPE_CHECKING:
    from test.fixtures.golden_fixtures import NoiseBound

CPU = torch.device("cpu")
RESOLUTIONS = (168, 112)
# Largest difference by largest value. Two references are 6e-13 apart.
FLOAT64_BOUND = 1e-9

Stages = Mapping[str, NDArray[np.generic]]


@pytest.fixture(scope="module")
def truth(golden_dir: Path) -> Stages:
    """What the reference computes in float64."""
    with np.load(golden_dir / "stages_float64.npz") as file:
        return dict(file)


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    chosen: torch.dtype = request.param
    return chosen


@pytest.fixture(scope="module")
def model(golden_dir: Path, golden_config: Sam3Config, dtype: torch.dtype) -> Sam3ImageModel:
    return load_image_model(golden_dir / "model.pt", golden_config, CPU, dtype)


@pytest.fixture(scope="module")
def text_encoder(golden_dir: Path, golden_config: Sam3Config, dtype: torch.dtype) -> TextEncoder:
    return load_text_encoder(golden_dir / "model.pt", golden_config, CPU, dtype)


@pytest.fixture(scope="module")
def prompts(text_encoder: TextEncoder, stages: Stages) -> Prompts:
    with torch.inference_mode():
        features = text_encoder(torch.from_numpy(stages["text.token_ids"]))
    return Prompts(features, torch.from_numpy(stages["text.padding_mask"]))


@pytest.fixture
def within(dtype: torch.dtype, noise_bound: NoiseBound) -> NoiseBound:
    """By the name of a stage, without the resolution."""
    return noise_bound if dtype == torch.float32 else lambda _: np.array(FLOAT64_BOUND)


def relative_error(value: Tensor, expected: NDArray[np.generic]) -> float:
    reference = torch.from_numpy(expected)
    assert value.shape == reference.shape
    return float((value - reference).abs().max() / reference.abs().max())


def pixels_of(stages: Stages, resolution: int, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(stages[f"r{resolution}.pixels"]).to(dtype)


@torch.inference_mode()
def all_stages(model: Sam3ImageModel, prompts: Prompts, pixels: Tensor) -> dict[str, Tensor]:
    """Our tensors under the golden names and in the golden layout (sequence first)."""
    features = model.encode_image(pixels)
    grid = features.pyramid.coarse.shape[-2:]
    scene, _ = model.fuse(features, prompts)
    decoded = model.decoder(scene)
    detections = model.detect(features, prompts)
    masks = torch.stack([detections.masks(0, k, slice(None)) for k in range(len(prompts))])
    geometry = model.geometry_encoder(features.geometry, len(prompts))
    return {
        "vision.fpn0": features.pyramid.fine,
        "vision.fpn1": features.pyramid.middle,
        "vision.fpn2": features.pyramid.coarse,
        "vision.position2": features.position.T.unflatten(1, grid)[None],
        "geometry.tokens": geometry.transpose(0, 1),
        "encoder.memory": scene.memory.transpose(0, 1),
        "decoder.hidden": decoded.hidden.transpose(1, 2),
        "decoder.reference_boxes": decoded.reference_boxes.transpose(1, 2),
        "decoder.presence_logits": decoded.presence_logits[:, None],
        "pred_logits": detections.logits[0, ..., None],
        "pred_boxes": detections.boxes[0],
        "pred_masks": masks,
        "semantic_seg": detections.semantic[0][:, None],
        "presence_logit_dec": detections.presence_logits[0][:, None],
    }


def test_text_features_and_embeddings(
    text_encoder: TextEncoder, prompts: Prompts, stages: Stages, truth: Stages, within: NoiseBound
) -> None:
    features = prompts.tokens.transpose(0, 1)
    assert relative_error(features, truth["text.features"]) < within("text.features")
    with torch.inference_mode():
        embeddings = text_encoder.input_embeddings(torch.from_numpy(stages["text.token_ids"]))
    assert relative_error(embeddings.transpose(0, 1), truth["text.token_embeddings"]) == 0


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_every_image_stage(
    model: Sam3ImageModel,
    prompts: Prompts,
    stages: Stages,
    truth: Stages,
    within: NoiseBound,
    resolution: int,
) -> None:
    ours = all_stages(model, prompts, pixels_of(stages, resolution, model.dtype))
    prefix = f"r{resolution}."
    assert {prefix + name for name in ours} == {name for name in truth if name.startswith(prefix)}
    assert {tensor.dtype for tensor in ours.values()} == {model.dtype}
    errors = {name: relative_error(tensor, truth[prefix + name]) for name, tensor in ours.items()}
    assert not {name: error for name, error in errors.items() if not error < within(name)}


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_presence_alone_equals_the_whole_decoder(
    model: Sam3ImageModel,
    prompts: Prompts,
    stages: Stages,
    truth: Stages,
    within: NoiseBound,
    resolution: int,
) -> None:
    with torch.inference_mode():
        features = model.encode_image(pixels_of(stages, resolution, model.dtype))
        presence = model.presence(features, prompts)
    name = "presence_logit_dec"
    assert relative_error(presence.T, truth[f"r{resolution}.{name}"]) < within(name)
