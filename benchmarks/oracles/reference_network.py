"""Meta's modules, called as the published implementation calls them."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from activesam_ros import reference
from activesam_ros.errors import MissingDependencyError, UsageError
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.decoder import DecoderPart
from activesam_ros.sam3.model import Prompts
from benchmarks.oracles.plain_network import PlainDetections

# The model for the image's size, and its image features.
State: TypeAlias = tuple[Any, dict[str, Any]]


class ReferenceNetwork:
    """A PlainNetwork made of the modules of the ``sam3`` package.

    A model's rotary tables fit one resolution, so there is a model for each. In bfloat16 it runs
    under autocast, as published.
    """

    def __init__(
        self,
        weights: Path,
        config: Sam3Config,
        resolutions: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Raises MissingDependencyError without the package or its dependencies."""
        reference.require_packages()
        _require_pinned_memory()
        self._device = device
        self._autocast = dtype == torch.bfloat16
        self._models: dict[int, Any] = {}
        for resolution in resolutions:
            model = reference.assemble(dataclasses.replace(config, resolution=resolution))
            reference.load(model, weights, config)
            self._models[resolution] = model.to(device).eval()

    def encode(self, pixels: Tensor) -> State:
        """As PlainNetwork; the pixels have one of the resolutions."""
        model = self._models[pixels.shape[-1]]
        with self._precision():
            return model, model.backbone.forward_image(pixels.float())

    def presence(self, state: State, prompts: Prompts, part: DecoderPart | None = None) -> Tensor:
        """As PlainNetwork; runs encoder and decoder, without the segmentation head.

        Raises UsageError for a part of the decoder, which Meta's modules do not run.
        """
        if part is not None:
            raise UsageError(
                "The reference engine runs the whole decoder alone; leave out activesam2 for it."
            )
        model, inputs, stage, empty = self._inputs(state, prompts)
        with self._precision():
            prompt, mask, inputs = model._encode_prompt(inputs, stage, empty)
            inputs, encoded, _ = model._run_encoder(inputs, stage, prompt, mask)
            memory = encoded["encoder_hidden_states"]
            outputs, _ = model._run_decoder(
                memory=memory,
                pos_embed=encoded["pos_embed"],
                src_mask=encoded["padding_mask"],
                out={"encoder_hidden_states": memory},
                prompt=prompt,
                prompt_mask=mask,
                encoder_out=encoded,
            )
        logits: Tensor = outputs["presence_logit_dec"].flatten()
        return logits

    def detect(self, state: State, prompts: Prompts) -> PlainDetections:
        """As PlainNetwork."""
        model, inputs, stage, empty = self._inputs(state, prompts)
        with self._precision():
            outputs = model.forward_grounding(inputs, stage, None, empty)
        return PlainDetections(
            presence_logits=outputs["presence_logit_dec"].flatten(),
            logits=outputs["pred_logits"].squeeze(-1),
            masks=outputs["pred_masks"],
            semantic=outputs["semantic_seg"].squeeze(1),
        )

    def _inputs(self, state: State, prompts: Prompts) -> tuple[Any, dict[str, Any], Any, Any]:
        model, features = state
        inputs = {
            **features,
            "language_features": prompts.tokens.transpose(0, 1).float(),
            "language_mask": prompts.padding,
        }
        count = len(prompts)
        return (
            model,
            inputs,
            reference.every_prompt(count, self._device),
            model._get_dummy_prompt(count),
        )

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self._autocast:
            return torch.autocast(self._device.type, torch.bfloat16)
        return contextlib.nullcontext()


def _require_pinned_memory() -> None:
    try:
        torch.zeros(1).pin_memory()
    except RuntimeError as error:
        raise MissingDependencyError(
            "--engine reference: Meta's modules pin memory, which needs a CUDA device and a CUDA "
            "build of PyTorch; give --engine ours,plain."
        ) from error
