"""Export the checkpoint of a run: weights in half precision and their configuration."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from activesam_ros.errors import CheckpointError, MissingDependencyError
from activesam_ros.output_files import write_whole
from activesam_ros.sam3.checkpoint import IMAGE_STAGES, TEXT_STAGE, parameter_shapes
from activesam_ros.sam3.config import Sam3Config
from training.run import read_checkpoint

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"


def export(checkpoint: Path, folder: Path) -> Path:
    """Write the averaged weights of ``checkpoint`` and ``config.json``; returns the weights' path.

    Raises CheckpointError for a file that is no checkpoint, MissingDependencyError without
    safetensors.
    """
    try:
        from safetensors.torch import save
    except ImportError:
        raise MissingDependencyError(
            "The export needs the package safetensors: pip install safetensors, or copy "
            f"{checkpoint} to a computer that has it and export there with --export-only."
        ) from None
    state = read_checkpoint(checkpoint)
    values = json.loads(state.told)[0]
    values["global_attention_blocks"] = tuple(values["global_attention_blocks"])
    config = Sam3Config(**values)
    tensors = official_tensors(state.average)
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    if shapes != parameter_shapes(config):
        raise CheckpointError(f"{checkpoint} does not hold the network of its configuration.")
    write_whole(folder / CONFIG_NAME, config.to_json())
    weights = folder / WEIGHTS_NAME
    write_whole(weights, save(tensors))
    return weights


def official_tensors(average: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a DemoNetwork with the official keys of SAM 3, in half precision."""
    tensors = {}
    for name, value in average.items():
        part, _, inner = name.partition(".")
        if part == "probes":
            continue
        prefix = TEXT_STAGE
        if part == "image":
            stage, _, inner = inner.partition(".")
            prefix = IMAGE_STAGES[stage]
        tensors[f"{prefix}.{inner}"] = value.to(torch.float16).contiguous()
    return tensors
