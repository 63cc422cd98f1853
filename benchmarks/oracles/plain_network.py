"""The plain network: it computes everything for every pair of image and prompt.

It is the oracle of tests and the yardstick of benchmarks. Every mask is formed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from activesam_ros.sam3.acceleration.accelerated import AcceleratedModel
from activesam_ros.sam3.attention import sine_position_grid
from activesam_ros.sam3.decoder import Decoder, DecoderOutput, DecoderPart, FusedScene
from activesam_ros.sam3.fusion_encoder import FusionLayer
from activesam_ros.sam3.mask_head import PixelDecoder
from activesam_ros.sam3.model import ImageNetwork, Prompts, Sam3ImageModel
from activesam_ros.sam3.vision_encoder import Pyramid


@dataclass(frozen=True)
class PlainDetections:
    """The model's output for one image and K prompts, with Q queries each.

    presence_logits: [K]; logits: [K, Q]; masks: logits [K, Q, Hm, Wm]; semantic: logits
    [K, Hm, Wm].
    """

    presence_logits: Tensor
    logits: Tensor
    masks: Tensor
    semantic: Tensor


def modules_of(network: ImageNetwork) -> Sam3ImageModel:
    """The modules that a network runs, compiled ones where it is accelerated.

    Raises TypeError for a network of another kind.
    """
    modules = network.compiled if isinstance(network, AcceleratedModel) else network
    if not isinstance(modules, Sam3ImageModel):
        raise TypeError(f"{network!r} is not made of the image model's modules")
    return modules


def presence(
    model: Sam3ImageModel, pyramid: Pyramid, prompts: Prompts, part: DecoderPart | None = None
) -> Tensor:
    """Presence logits [K] of one image, from the whole decoder or from its ``part`` alone."""
    scene, _ = fuse(model, pyramid, prompts)
    decoder = model.decoder if part is None else _smaller(model.decoder, part)
    decoded: DecoderOutput = decoder(scene)
    return decoded.presence_logits[-1]


def _smaller(decoder: Decoder, part: DecoderPart) -> Decoder:
    """A decoder that has the first layers and object queries of ``decoder`` alone."""
    weights = {id(weight): weight for weight in decoder.parameters()}
    smaller = copy.deepcopy(decoder, weights)
    smaller.layers = smaller.layers[: part.layers]
    for learned in (smaller.query_embed, smaller.reference_points):
        learned.weight = nn.Parameter(learned.weight[: part.queries], requires_grad=False)
    return smaller


def detect(model: Sam3ImageModel, pyramid: Pyramid, prompts: Prompts) -> PlainDetections:
    """Compute every output for one image, pyramid of B = 1, and K prompts."""
    scene, valid = fuse(model, pyramid, prompts)
    decoded: DecoderOutput = model.decoder(scene)
    head = model.mask_head
    attended = head.cross_attend_prompt(
        head.cross_attn_norm(scene.memory), scene.prompt, scene.prompt, scene.prompt_mask
    )
    # [K, d, h, w]
    memory = (scene.memory + attended).transpose(1, 2).unflatten(-1, (scene.height, scene.width))
    pixels = decode_pixels(
        head.pixel_decoder,
        memory,
        pyramid.middle.expand(len(prompts), -1, -1, -1),
        pyramid.fine.expand(len(prompts), -1, -1, -1),
    )  # [K, d, 4h, 4w]
    hidden = decoded.hidden[-1]  # [K, Q, d]
    return PlainDetections(
        presence_logits=decoded.presence_logits[-1],
        logits=model.scoring(hidden, scene.prompt, valid),
        masks=torch.einsum(
            "kqd,kdhw->kqhw", head.mask_predictor(hidden), head.instance_seg_head(pixels)
        ),
        semantic=head.semantic_seg_head(pixels)[:, 0],
    )


def fuse(model: Sam3ImageModel, pyramid: Pyramid, prompts: Prompts) -> tuple[FusedScene, Tensor]:
    """The fused scene of K pairs and valid bool [K, T]: both encoders run whole for each prompt."""
    count = len(prompts)
    height, width = pyramid.coarse.shape[-2:]
    tokens = pyramid.coarse.flatten(2).transpose(1, 2).repeat(count, 1, 1)  # [K, N, d]
    position = sine_position_grid(height, width, tokens.shape[-1], tokens.device, tokens.dtype)
    geometry = model.geometry_encoder
    prompt = torch.cat((prompts.tokens, geometry(geometry.read_image(tokens, position), 1)), dim=1)
    valid = F.pad(~prompts.padding, (0, 1), value=True)  # [K, T]
    mask = valid[:, None, None]
    memory = tokens
    for layer in cast("list[FusionLayer]", list(model.fusion_encoder.layers)):
        memory = layer.attend_self(memory, position)
        context = layer.read_context(prompt, prompt)
        memory = layer.attend_context(memory, layer.query_context(memory), context, mask)
    scene = FusedScene(
        memory=memory,
        located_memory=memory + position,
        prompt=prompt,
        prompt_mask=mask,
        height=height,
        width=width,
    )
    return scene, valid


def decode_pixels(decoder: PixelDecoder, memory: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
    """The pixel decoder step by step, for every pair of image and prompt.

    memory [K, d, h, w], middle [K, d, 2h, 2w], fine [K, d, 4h, 4w] -> [K, d, 4h, 4w].
    """
    x = memory
    for skip, conv, norm in zip((middle, fine), decoder.convs, decoder.norms, strict=True):
        x = skip + F.interpolate(x, size=skip.shape[-2:], mode="nearest")
        x = F.relu(norm(conv(x)))
    return x
