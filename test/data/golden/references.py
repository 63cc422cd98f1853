"""The reference implementations of SAM 3's image model with the golden weights, also in float64."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from activesam_ros import reference
from activesam_ros.sam3.config import Sam3Config

FOLDER = Path(__file__).resolve().parent
CONFIG = Sam3Config.from_json(FOLDER / "config.json")
OUTPUTS = ("pred_logits", "pred_boxes", "pred_masks", "semantic_seg", "presence_logit_dec")


@contextlib.contextmanager
def in_double() -> Iterator[None]:
    """Inside, code that names float32, or casts to it, gets float64.

    Meta's modules and transformers' do so for rotary angles, sine positions, box coordinates and
    masks of valid tokens; with this every step is taken in float64 and no foreign code is changed.
    """
    torch_module: Any = torch
    tensor_class: Any = Tensor
    saved = torch.float32, Tensor.float, torch.get_default_dtype()
    torch_module.float32 = torch_module.float = torch.float64
    tensor_class.float = Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch_module.float32 = torch_module.float = saved[0]
        tensor_class.float = saved[1]
        torch.set_default_dtype(saved[2])


def _weights() -> dict[str, Tensor]:
    state = torch.load(FOLDER / "model.pt", weights_only=True)["model"]
    return {
        key.removeprefix(reference.KEY_PREFIX): value
        for key, value in state.items()
        if not key.endswith("freqs_cis")  # made anew, in the precision of the run
    }


# Read before anything is patched.
_WEIGHTS = _weights()


def without_pinned_memory() -> None:
    """Let Meta's modules, which pin memory, run where there is no GPU."""
    tensor_class: Any = Tensor
    tensor_class.pin_memory = lambda tensor, *_: tensor


class MetaModules:
    """Meta's modules for one resolution, with the golden weights, in the current precision.

    Construct and call it inside in_double() for float64. Their rotary tables are of one size, so
    every resolution needs modules of its own.
    """

    def __init__(self, resolution: int) -> None:
        without_pinned_memory()
        self.model = reference.assemble(dataclasses.replace(CONFIG, resolution=resolution))
        self.model.load_state_dict(_WEIGHTS, strict=False)
        self.model.eval()

    def text(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """int64 [K, L] -> features [K, L, d] and rows of the token table [K, L, text_width]."""
        language = self.model.backbone.language_backbone
        _, hidden = language.encoder(token_ids)
        return language.resizer(hidden), language.encoder.token_embedding(token_ids)

    def project(self, embeddings: Tensor) -> Tensor:
        """[..., text_width] -> [..., d]."""
        projected: Tensor = self.model.backbone.language_backbone.resizer(embeddings)
        return projected

    def encode(self, pixels: Tensor) -> dict[str, Any]:
        """What the other methods read of an image [1, 3, R, R] in -1..1."""
        features: dict[str, Any] = self.model.backbone.forward_image(pixels)
        return features

    def detect(
        self, image: Mapping[str, Any], tokens: Tensor, padding: Tensor, bucket: int
    ) -> dict[str, Tensor]:
        """What is known of K prompts, tokens [K, T, d] and padding bool [K, T], K outermost.

        bucket: how many prompts go through the network at once.
        """
        found = []
        for start in range(0, len(tokens), bucket):
            part = slice(start, start + bucket)
            count = len(tokens[part])
            asked = {
                **image,
                "language_features": tokens[part].transpose(0, 1),
                "language_mask": padding[part],
            }
            empty = self.model._get_dummy_prompt(count)
            every = reference.every_prompt(count, tokens.device)
            found.append(self.model.forward_grounding(asked, every, None, empty))
        return {name: torch.cat([part[name] for part in found]) for name in OUTPUTS}

    def stages(self, pixels: Tensor, token_ids: Tensor) -> dict[str, Tensor]:
        """Every tensor of one image by its name in stages.npz; token_ids: int64 [K, L]."""
        tokens, _ = self.text(token_ids)
        seen: dict[str, Any] = {}

        def keep(name: str) -> Any:
            return lambda _module, _inputs, output: seen.__setitem__(name, output)

        parts = {
            "geometry": self.model.geometry_encoder,
            "encoder": self.model.transformer.encoder,
            "decoder": self.model.transformer.decoder,
        }
        handles = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
        try:
            image = self.encode(pixels)
            outputs = self.detect(image, tokens, token_ids == 0, len(tokens))
        finally:
            for handle in handles:
                handle.remove()
        hidden, boxes, presence, _ = seen["decoder"]
        return {
            "vision.fpn0": image["backbone_fpn"][0],
            "vision.fpn1": image["backbone_fpn"][1],
            "vision.fpn2": image["backbone_fpn"][2],
            "vision.position2": image["vision_pos_enc"][2],
            "geometry.tokens": seen["geometry"][0],
            "encoder.memory": seen["encoder"]["memory"],
            "decoder.hidden": hidden,
            "decoder.reference_boxes": boxes,
            "decoder.presence_logits": presence,
            **outputs,
        }


class Transformers:
    """transformers' Sam3Model for one resolution, in the current precision: the second witness.

    It differs from Meta's model unless asked as here: the trunk's norms have Meta's epsilon, and a
    padded box makes it append the geometry token that Meta's model always appends.
    """

    def __init__(self, resolution: int) -> None:
        from transformers import Sam3Config as TheirConfig
        from transformers import Sam3Model

        heads_and_width = {
            "num_attention_heads": CONFIG.attention_heads,
            "hidden_size": CONFIG.d_model,
        }
        layer = {**heads_and_width, "intermediate_size": CONFIG.ffn_dim}
        grid = resolution // CONFIG.patch_size
        trunk = {
            "model_type": "sam3_vit_model",
            "image_size": resolution,
            "patch_size": CONFIG.patch_size,
            "pretrain_image_size": CONFIG.pretrain_resolution,
            "hidden_size": CONFIG.vision_width,
            "intermediate_size": round(CONFIG.vision_width * CONFIG.vision_mlp_ratio),
            "num_hidden_layers": CONFIG.vision_layers,
            "num_attention_heads": CONFIG.vision_heads,
            "global_attn_indexes": list(CONFIG.global_attention_blocks),
            "window_size": CONFIG.window_size,
            "layer_norm_eps": 1e-5,
        }
        text = {
            "model_type": "clip_text_model",
            "vocab_size": 49408,
            "hidden_size": CONFIG.text_width,
            "intermediate_size": 4 * CONFIG.text_width,
            "projection_dim": 512,
            "num_hidden_layers": CONFIG.text_layers,
            "num_attention_heads": CONFIG.text_heads,
            "max_position_embeddings": CONFIG.context_length,
            "hidden_act": "gelu",
        }
        config = TheirConfig(
            vision_config={
                "backbone_config": trunk,
                "fpn_hidden_size": CONFIG.d_model,
                "backbone_feature_sizes": [[factor * grid] * 2 for factor in (4, 2, 1)],
            },
            text_config=text,
            geometry_encoder_config={**layer, "num_layers": CONFIG.geometry_layers},
            detr_encoder_config={**layer, "num_layers": CONFIG.encoder_layers},
            detr_decoder_config={
                **layer,
                "num_layers": CONFIG.decoder_layers,
                "num_queries": CONFIG.num_queries,
            },
            mask_decoder_config={
                **heads_and_width,
                "num_upsampling_stages": CONFIG.mask_upsampling_stages,
            },
        )
        self.model: Any = Sam3Model._from_config(config, attn_implementation="eager")
        missing, unexpected = self.model.load_state_dict(_in_their_names(_WEIGHTS), strict=False)
        problems = [key for key in missing if not key.endswith(("position_ids", "inv_freq"))]
        problems += list(unexpected)
        if problems:
            raise SystemExit(f"transformers names other tensors than expected: {problems}")
        self.model.eval()

    def stages(self, pixels: Tensor, token_ids: Tensor) -> dict[str, Tensor]:
        """As of Meta's modules, without what transformers does not hand out."""
        count = len(token_ids)
        seen: dict[str, Any] = {}
        parts = {
            "vision": self.model.vision_encoder,
            "geometry": self.model.geometry_encoder,
            "encoder": self.model.detr_encoder,
            "decoder": self.model.detr_decoder,
        }
        handles = [
            part.register_forward_hook(
                lambda _module, _inputs, output, name=name: seen.__setitem__(name, output)
            )
            for name, part in parts.items()
        ]
        try:
            outputs = self.model(
                pixel_values=pixels.repeat(count, 1, 1, 1),
                input_ids=token_ids,
                attention_mask=(token_ids != 0).long(),
                input_boxes=torch.full((count, 1, 4), 0.5),
                input_boxes_labels=torch.full((count, 1), -10),
            )
        finally:
            for handle in handles:
                handle.remove()
        low, high = outputs.pred_boxes.split(2, dim=-1)
        decoder = seen["decoder"]
        return {
            "vision.fpn0": seen["vision"].fpn_hidden_states[0][:1],
            "vision.fpn1": seen["vision"].fpn_hidden_states[1][:1],
            "vision.fpn2": seen["vision"].fpn_hidden_states[2][:1],
            "vision.position2": seen["vision"].fpn_position_encoding[2][:1],
            "geometry.tokens": seen["geometry"].last_hidden_state[:, :1].transpose(0, 1),
            "encoder.memory": seen["encoder"].last_hidden_state.transpose(0, 1),
            "decoder.hidden": decoder.intermediate_hidden_states.transpose(1, 2),
            "decoder.reference_boxes": decoder.reference_boxes.transpose(1, 2),
            "decoder.presence_logits": decoder.presence_logits.transpose(1, 2),
            "pred_logits": outputs.pred_logits[..., None],
            "pred_boxes": torch.cat(((low + high) / 2, high - low), dim=-1),
            "pred_masks": outputs.pred_masks,
            "semantic_seg": outputs.semantic_seg,
            "presence_logit_dec": outputs.presence_logits,
        }


# Meta's names and transformers'; # is a number, + that number and one. The first that fits holds.
_THEIR_NAMES = """
backbone.vision_backbone.trunk.pos_embed vision_encoder.backbone.embeddings.position_embeddings
backbone.vision_backbone.trunk.patch_embed.proj vision_encoder.backbone.embeddings.patch_embeddings.projection
backbone.vision_backbone.trunk.ln_pre vision_encoder.backbone.layer_norm
backbone.vision_backbone.trunk.blocks.#.norm vision_encoder.backbone.layers.#.layer_norm
backbone.vision_backbone.trunk.blocks.#.attn.proj vision_encoder.backbone.layers.#.attention.o_proj
backbone.vision_backbone.trunk.blocks.#.attn vision_encoder.backbone.layers.#.attention
backbone.vision_backbone.trunk.blocks.#.mlp vision_encoder.backbone.layers.#.mlp
backbone.vision_backbone.convs.#.dconv_2x2_0 vision_encoder.neck.fpn_layers.#.scale_layers.0
backbone.vision_backbone.convs.#.dconv_2x2_1 vision_encoder.neck.fpn_layers.#.scale_layers.2
backbone.vision_backbone.convs.#.dconv_2x2 vision_encoder.neck.fpn_layers.#.scale_layers.0
backbone.vision_backbone.convs.#.conv_1x1 vision_encoder.neck.fpn_layers.#.proj1
backbone.vision_backbone.convs.#.conv_3x3 vision_encoder.neck.fpn_layers.#.proj2
backbone.language_backbone.encoder.token_embedding text_encoder.text_model.embeddings.token_embedding
backbone.language_backbone.encoder.positional_embedding text_encoder.text_model.embeddings.position_embedding.weight
backbone.language_backbone.encoder.text_projection text_encoder.text_projection.weight
backbone.language_backbone.encoder.ln_final text_encoder.text_model.final_layer_norm
backbone.language_backbone.encoder.transformer.resblocks.#.attn text_encoder.text_model.encoder.layers.#.self_attn
backbone.language_backbone.encoder.transformer.resblocks.#.ln_ text_encoder.text_model.encoder.layers.#.layer_norm
backbone.language_backbone.encoder.transformer.resblocks.#.mlp.c_fc text_encoder.text_model.encoder.layers.#.mlp.fc1
backbone.language_backbone.encoder.transformer.resblocks.#.mlp.c_proj text_encoder.text_model.encoder.layers.#.mlp.fc2
backbone.language_backbone.resizer text_projection
geometry_encoder.encode.#.self_attn geometry_encoder.layers.#.self_attn
geometry_encoder.encode.#.cross_attn_image geometry_encoder.layers.#.cross_attn
geometry_encoder.encode.#.linear geometry_encoder.layers.#.mlp.fc
geometry_encoder.encode.#.norm geometry_encoder.layers.#.layer_norm
geometry_encoder.img_pre_norm geometry_encoder.vision_layer_norm
geometry_encoder.encode_norm geometry_encoder.output_layer_norm
geometry_encoder.norm geometry_encoder.prompt_layer_norm
transformer.encoder.layers.#.self_attn detr_encoder.layers.#.self_attn
transformer.encoder.layers.#.cross_attn_image detr_encoder.layers.#.cross_attn
transformer.encoder.layers.#.linear detr_encoder.layers.#.mlp.fc
transformer.encoder.layers.#.norm detr_encoder.layers.#.layer_norm
transformer.decoder.layers.#.self_attn detr_decoder.layers.#.self_attn
transformer.decoder.layers.#.ca_text detr_decoder.layers.#.text_cross_attn
transformer.decoder.layers.#.cross_attn detr_decoder.layers.#.vision_cross_attn
transformer.decoder.layers.#.norm2 detr_decoder.layers.#.self_attn_layer_norm
transformer.decoder.layers.#.catext_norm detr_decoder.layers.#.text_cross_attn_layer_norm
transformer.decoder.layers.#.norm1 detr_decoder.layers.#.vision_cross_attn_layer_norm
transformer.decoder.layers.#.norm3 detr_decoder.layers.#.mlp_layer_norm
transformer.decoder.layers.#.linear detr_decoder.layers.#.mlp.fc
transformer.decoder.norm detr_decoder.output_layer_norm
transformer.decoder.presence_token_out_norm detr_decoder.presence_layer_norm
transformer.decoder.bbox_embed.layers.# detr_decoder.box_head.layer+
transformer.decoder.presence_token_head.layers.# detr_decoder.presence_head.layer+
transformer.decoder.ref_point_head.layers.# detr_decoder.ref_point_head.layer+
transformer.decoder.boxRPB_embed_x.layers.# detr_decoder.box_rpb_embed_x.layer+
transformer.decoder.boxRPB_embed_y.layers.# detr_decoder.box_rpb_embed_y.layer+
transformer.decoder detr_decoder
segmentation_head.pixel_decoder mask_decoder.pixel_decoder
segmentation_head.mask_predictor.mask_embed mask_decoder.mask_embedder
segmentation_head.instance_seg_head mask_decoder.instance_projection
segmentation_head.semantic_seg_head mask_decoder.semantic_projection
segmentation_head.cross_attend_prompt mask_decoder.prompt_cross_attn
segmentation_head.cross_attn_norm mask_decoder.prompt_cross_attn_norm
dot_prod_scoring.prompt_mlp.layers.# dot_product_scoring.text_mlp.layer+
dot_prod_scoring.prompt_mlp.out_norm dot_product_scoring.text_mlp_out_norm
dot_prod_scoring.prompt_proj dot_product_scoring.text_proj
dot_prod_scoring.hs_proj dot_product_scoring.query_proj
"""  # noqa: E501


def _their_name(key: str) -> str:
    for line in _THEIR_NAMES.split("\n"):
        ours, _, theirs = line.partition(" ")
        match = re.match(re.escape(ours).replace(r"\#", r"(\d+)"), key) if ours else None
        if match is None:
            continue
        number = match[1] if match.groups() else ""
        theirs = theirs.replace("#", number).replace("+", str(int(number or 0) + 1))
        return theirs + key[match.end() :]
    return key


def _in_their_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as transformers holds them (attention in three parts, no class token)."""
    state = {}
    for key, value in weights.items():
        if key.startswith("geometry_encoder.points_"):
            continue
        name = _their_name(key)
        if name.endswith("position_embeddings"):
            value = value[:, 1:]
        if name.endswith("text_projection.weight") and "text_encoder" in name:
            value = value.T
        if "text_model" not in name:
            name = name.replace(".out_proj", ".o_proj")
        stacked = re.match(r"(.*)\.(?:qkv\.|in_proj_)(weight|bias)$", name)
        if stacked:
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                state[f"{stacked[1]}.{part}_proj.{stacked[2]}"] = rows
        else:
            state[name] = value
    return state
