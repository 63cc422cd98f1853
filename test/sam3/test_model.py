"""The model as a whole: batches, resolutions, precisions."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from activesam_ros.errors import ImageError
from activesam_ros.sam3.model import Prompts, Sam3ImageModel
from activesam_ros.sam3.vision_encoder import from_windows, to_windows

Stages = Mapping[str, NDArray[np.generic]]


def assert_close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """In float64."""
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def random_pixels(count: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1


@torch.inference_mode()
def test_batch_of_images_and_prompts_equals_each_alone(
    golden_model: Sam3ImageModel, golden_prompts: Prompts
) -> None:
    # In float64, since an untrained decoder amplifies rounding.
    model = copy.deepcopy(golden_model).double()
    prompts = Prompts(golden_prompts.tokens.double(), golden_prompts.padding)
    pixels = random_pixels(2, 112, 112).double()
    together = model.detect(model.encode_image(pixels), prompts)
    presence = model.presence(model.encode_image(pixels), prompts)
    for image in range(2):
        features = model.encode_image(pixels[image : image + 1])
        for prompt in range(len(prompts)):
            alone = model.detect(features, prompts[prompt : prompt + 1])
            for name in ("logits", "boxes", "presence_logits", "semantic"):
                assert_close(getattr(together, name)[image, prompt], getattr(alone, name)[0, 0])
            assert_close(together.masks(image, prompt, slice(None)), alone.masks(0, 0, slice(None)))
    assert_close(presence, together.presence_logits)


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(14, 14), (70, 70), (84, 84), (112, 154)])
def test_any_multiple_of_the_patch_size(
    golden_model: Sam3ImageModel, golden_prompts: Prompts, height: int, width: int
) -> None:
    detections = golden_model.detect(
        golden_model.encode_image(random_pixels(1, height, width)), golden_prompts
    )
    grid = (4 * height // 14, 4 * width // 14)
    assert detections.semantic.shape == (1, 4, *grid)
    assert detections.masks(0, 0, slice(None)).shape == (20, *grid)
    assert detections.boxes.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 3, 100, 112), (1, 3, 112, 100), (3, 112, 112)])
def test_other_sizes_are_refused(golden_model: Sam3ImageModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="multiples of 14"):
        golden_model.encode_image(torch.zeros(shape))


@torch.inference_mode()
def test_bfloat16_stays_near_float32(
    golden_model: Sam3ImageModel, golden_prompts: Prompts, stages: Stages
) -> None:
    pixels = torch.from_numpy(stages["r168.pixels"]).to(torch.bfloat16)
    model = Sam3ImageModel(golden_model.config).to(torch.bfloat16)
    model.load_state_dict(golden_model.state_dict())
    prompts = Prompts(golden_prompts.tokens.to(torch.bfloat16), golden_prompts.padding)
    detections = model.eval().detect(model.encode_image(pixels), prompts)
    assert detections.semantic.dtype == torch.bfloat16
    assert detections.boxes.dtype == torch.float32
    reference = torch.from_numpy(stages["r168.semantic_seg"])[None, :, 0]
    error = (detections.semantic.float() - reference).abs().max() / reference.abs().max()
    assert error < 0.05


@torch.inference_mode()
def test_masks_of_selected_queries_are_those_of_all(
    golden_model: Sam3ImageModel, golden_prompts: Prompts
) -> None:
    detections = golden_model.detect(
        golden_model.encode_image(random_pixels(1, 84, 84)), golden_prompts
    )
    everything = detections.masks(0, 2, slice(None))
    chosen = torch.tensor([17, 3])
    torch.testing.assert_close(detections.masks(0, 2, chosen), everything[chosen])


@pytest.mark.parametrize(("height", "width"), [(6, 6), (8, 8), (5, 13), (1, 7)])
def test_windows_come_back(height: int, width: int) -> None:
    grid = torch.arange(2 * height * width * 3.0).view(2, height, width, 3)
    windows = to_windows(grid, 6)
    assert windows.shape[1:] == (36, 3)
    assert torch.equal(from_windows(windows, 6, 2, height, width), grid)


def test_only_torch_and_numpy_are_imported_to_run_the_network() -> None:
    import subprocess
    import sys

    script = (
        "import sys, activesam_ros.sam3.model, activesam_ros.sam3.checkpoint,"
        "activesam_ros.segmentation.decode, activesam_ros.segmentation.fuse;"
        "banned = {'rclpy', 'cv2', 'yaml', 'nltk', 'regex', 'ftfy', 'safetensors', 'PIL'};"
        "sys.exit(', '.join(banned & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
