"""The golden network and what the reference implementation computed on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from activesam_ros.sam3.checkpoint import load_image_model, load_text_encoder
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import Prompts, Sam3ImageModel
from activesam_ros.sam3.text_encoder import TextEncoder

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def golden_config(golden_dir: Path) -> Sam3Config:
    return Sam3Config.from_json(golden_dir / "config.json")


@pytest.fixture(scope="session")
def golden_model(golden_dir: Path, golden_config: Sam3Config) -> Sam3ImageModel:
    return load_image_model(golden_dir / "model.pt", golden_config, CPU, torch.float32)


@pytest.fixture(scope="session")
def golden_text_encoder(golden_dir: Path, golden_config: Sam3Config) -> TextEncoder:
    return load_text_encoder(golden_dir / "model.pt", golden_config, CPU, torch.float32)


@pytest.fixture(scope="session")
def golden_prompts(
    golden_text_encoder: TextEncoder, stages: Mapping[str, NDArray[np.generic]]
) -> Prompts:
    with torch.inference_mode():
        features = golden_text_encoder(torch.from_numpy(stages["text.token_ids"]))
    return Prompts(features, torch.from_numpy(stages["text.padding_mask"]))
