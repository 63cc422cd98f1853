"""Meta's SAM 3 image model, assembled from the modules of their ``sam3`` package, to compare with.

Needs the extra ``[reference]`` and a CUDA device. Their own builder makes the full size only; here
the modules can have any configuration.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from activesam_ros.errors import CheckpointError, MissingDependencyError
from activesam_ros.sam3.checkpoint import checked_weights, is_ignored, unused_shapes
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.tokenizer import MERGES_FILE

PACKAGES = ("sam3", "torchvision", "psutil")
DROPOUT = 0.1  # required by the modules, without effect on inference
KEY_PREFIX = "detector."


@dataclass(frozen=True)
class ReferenceOutputs:
    """The outputs for one image and K prompts, with Q object queries each.

    presence_logits: [K]. logits: [K, Q]. boxes: [K, Q, 4], (cx, cy, w, h) in units of the image.
    masks: logits [K, Q, Hm, Wm]. semantic: logits [K, Hm, Wm].
    """

    presence_logits: Tensor
    logits: Tensor
    boxes: Tensor
    masks: Tensor
    semantic: Tensor


class ReferenceModel:
    """Meta's image model in float32 with the weights of a file."""

    def __init__(self, weights: Path, config: Sam3Config, device: torch.device) -> None:
        """Raises MissingDependencyError without the extra or a GPU, CheckpointError for a file of
        another layout.
        """
        require_packages()
        require_cuda(device)
        self._device = device
        self._model = assemble(config)
        load(self._model, weights, config)
        self._model = self._model.to(device).eval()
        # Importing sam3 enables TensorFloat-32, which is less precise than the comparison.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, prompts: list[str]) -> ReferenceOutputs:
        """The outputs for pixels [1, 3, R, R] in -1..1 and the texts of K prompts."""
        return run(self._model, pixels.to(self._device), prompts)


def require_packages() -> None:
    """Raise MissingDependencyError if packages of the extra are missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"The reference needs the packages {', '.join(missing)}: "
            "pip install '.[reference]' in the checkout of activesam_ros, with PyTorch for CUDA."
        )


def require_cuda(device: torch.device) -> None:
    """Raise MissingDependencyError if ``device`` is not a CUDA device."""
    if device.type != "cuda":
        raise MissingDependencyError(
            f"Meta's sam3 package runs on a CUDA device only, and the device is {device}; run this "
            "on a computer with an NVIDIA GPU and a CUDA build of PyTorch."
        )


def run(model: Any, pixels: Tensor, prompts: list[str]) -> ReferenceOutputs:
    """The outputs of an assembled model for pixels [1, 3, R, R] on its device and K prompts."""
    state = model.backbone.forward_image(pixels)
    state.update(model.backbone.forward_text(prompts, device=pixels.device))
    empty = model._get_dummy_prompt(len(prompts))
    outputs = model.forward_grounding(state, every_prompt(len(prompts), pixels.device), None, empty)
    return ReferenceOutputs(
        presence_logits=outputs["presence_logit_dec"].flatten(),
        logits=outputs["pred_logits"].squeeze(-1),
        boxes=outputs["pred_boxes"],
        masks=outputs["pred_masks"],
        semantic=outputs["semantic_seg"].squeeze(1),
    )


def every_prompt(count: int, device: torch.device) -> Any:
    """The package's request to try each of ``count`` prompts on the first image."""
    from sam3.model.data_misc import FindStage

    return FindStage(
        img_ids=torch.zeros(count, dtype=torch.long, device=device),
        text_ids=torch.arange(count, device=device),
        input_boxes=None,
        input_boxes_mask=None,
        input_boxes_label=None,
        input_points=None,
        input_points_mask=None,
    )


def assemble(config: Sam3Config) -> Any:
    """The package's image model of this configuration, with random weights."""
    from sam3.model.model_misc import TransformerWrapper
    from sam3.model.sam3_image import Sam3Image
    from sam3.model.vl_combiner import SAM3VLBackbone

    return Sam3Image(
        backbone=SAM3VLBackbone(visual=_vision(config), text=_text(config), scalp=1),
        transformer=TransformerWrapper(
            encoder=_fusion(config), decoder=_decoder(config), d_model=config.d_model
        ),
        input_geometry_encoder=_geometry(config),
        segmentation_head=_mask_head(config),
        num_feature_levels=1,
        o2m_mask_predict=True,
        dot_prod_scoring=_scoring(config),
        use_instance_query=False,
        multimask_output=True,
        inst_interactive_predictor=None,
        matcher=None,
    )


def _attention(config: Sam3Config, *, batch_first: bool) -> Any:
    from sam3.model.model_misc import MultiheadAttentionWrapper

    return MultiheadAttentionWrapper(
        num_heads=config.attention_heads,
        embed_dim=config.d_model,
        dropout=DROPOUT,
        batch_first=batch_first,
    )


def _sine_position(config: Sam3Config) -> Any:
    from sam3.model.position_encoding import PositionEmbeddingSine

    return PositionEmbeddingSine(num_pos_feats=config.d_model, normalize=True)


def _vision(config: Sam3Config) -> Any:
    from sam3.model.necks import Sam3DualViTDetNeck
    from sam3.model.vitdet import ViT

    trunk = ViT(
        img_size=config.resolution,
        pretrain_img_size=config.pretrain_resolution,
        patch_size=config.patch_size,
        embed_dim=config.vision_width,
        depth=config.vision_layers,
        num_heads=config.vision_heads,
        mlp_ratio=config.vision_mlp_ratio,
        norm_layer="LayerNorm",
        global_att_blocks=config.global_attention_blocks,
        rel_pos_blocks=(),
        window_size=config.window_size,
        use_rope=True,
        use_interp_rope=True,
        retain_cls_token=False,
        ln_pre=True,
        bias_patch_embed=False,
    )
    return Sam3DualViTDetNeck(
        trunk=trunk, position_encoding=_sine_position(config), d_model=config.d_model
    )


def _text(config: Sam3Config) -> Any:
    from sam3.model.text_encoder_ve import VETextEncoder
    from sam3.model.tokenizer_ve import SimpleTokenizer

    return VETextEncoder(
        d_model=config.d_model,
        tokenizer=SimpleTokenizer(bpe_path=str(MERGES_FILE)),
        width=config.text_width,
        heads=config.text_heads,
        layers=config.text_layers,
        context_length=config.context_length,
    )


def _fusion_layer(config: Sam3Config, *, fuses_image: bool) -> Any:
    """A layer of the fusion encoder (``fuses_image``) or of the geometry encoder."""
    from sam3.model.encoder import TransformerEncoderLayer

    return TransformerEncoderLayer(
        activation="relu",
        d_model=config.d_model,
        dim_feedforward=config.ffn_dim,
        dropout=DROPOUT,
        pre_norm=True,
        pos_enc_at_attn=fuses_image,
        pos_enc_at_cross_attn_queries=False,
        pos_enc_at_cross_attn_keys=not fuses_image,
        self_attention=_attention(config, batch_first=fuses_image),
        cross_attention=_attention(config, batch_first=fuses_image),
    )


def _fusion(config: Sam3Config) -> Any:
    from sam3.model.encoder import TransformerEncoderFusion

    return TransformerEncoderFusion(
        layer=_fusion_layer(config, fuses_image=True),
        num_layers=config.encoder_layers,
        d_model=config.d_model,
        num_feature_levels=1,
        add_pooled_text_to_img_feat=False,
    )


def _geometry(config: Sam3Config) -> Any:
    from sam3.model.geometry_encoders import SequenceGeometryEncoder

    return SequenceGeometryEncoder(
        layer=_fusion_layer(config, fuses_image=False),
        num_layers=config.geometry_layers,
        d_model=config.d_model,
        pos_enc=_sine_position(config),
        encode_boxes_as_points=False,
        points_direct_project=True,
        points_pool=True,
        points_pos_enc=True,
        boxes_direct_project=True,
        boxes_pool=True,
        boxes_pos_enc=True,
    )


def _decoder(config: Sam3Config) -> Any:
    from sam3.model.decoder import TransformerDecoder, TransformerDecoderLayer

    layer = TransformerDecoderLayer(
        activation="relu",
        d_model=config.d_model,
        dim_feedforward=config.ffn_dim,
        dropout=DROPOUT,
        cross_attention=_attention(config, batch_first=False),
        n_heads=config.attention_heads,
        use_text_cross_attention=True,
    )
    return TransformerDecoder(
        layer=layer,
        num_layers=config.decoder_layers,
        num_queries=config.num_queries,
        d_model=config.d_model,
        frozen=False,
        interaction_layer=None,
        return_intermediate=True,
        box_refine=True,
        boxRPB="log",
        dac=True,
        presence_token=True,
    )


def _mask_head(config: Sam3Config) -> Any:
    from sam3.model.maskformer_segmentation import PixelDecoder, UniversalSegmentationHead

    return UniversalSegmentationHead(
        hidden_dim=config.d_model,
        upsampling_stages=config.mask_upsampling_stages,
        pixel_decoder=PixelDecoder(
            hidden_dim=config.d_model, num_upsampling_stages=config.mask_upsampling_stages
        ),
        cross_attend_prompt=_attention(config, batch_first=False),
    )


def _scoring(config: Sam3Config) -> Any:
    from sam3.model.model_misc import MLP, DotProductScoring

    width = config.d_model
    prompt_mlp = MLP(
        input_dim=width,
        hidden_dim=config.ffn_dim,
        output_dim=width,
        num_layers=2,
        residual=True,
        out_norm=torch.nn.LayerNorm(width),
    )
    return DotProductScoring(d_model=width, d_proj=width, prompt_mlp=prompt_mlp)


def load(model: Any, weights: Path, config: Sam3Config) -> None:
    """Load the weights into an assembled model in float32; raises CheckpointError.

    Parameters that text prompts do not use may be missing in the file, and stay random.
    """
    with checked_weights(weights, config) as tensors:
        state = {
            key.removeprefix(KEY_PREFIX): entry.read().float() for key, entry in tensors.items()
        }
        missing, unexpected = model.load_state_dict(state, strict=False)
    unused = unused_shapes(config)
    problems = [
        key
        for key in missing
        if not is_ignored(KEY_PREFIX + key) and KEY_PREFIX + key not in unused
    ]
    problems += list(unexpected)
    if problems:
        raise CheckpointError(
            f"{weights} lacks {len(problems)} tensors of Meta's image model, the first is "
            f"{problems[0]!r}; give the official file or one that this package wrote."
        )
