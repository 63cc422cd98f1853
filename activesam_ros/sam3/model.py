"""SAM 3's image model: from tensors of images and prompts to tensors of detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from activesam_ros.errors import ImageError
from activesam_ros.sam3.attention import sine_position_grid
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.decoder import Decoder, DecoderOutput, DecoderPart, FusedScene
from activesam_ros.sam3.fusion_encoder import (
    Context,
    FusionEncoder,
    GeometryEncoder,
    Prepared,
    per_pair,
)
from activesam_ros.sam3.mask_head import DotProductScoring, MaskHead, Skips, instance_masks
from activesam_ros.sam3.plan import FusionPlan, ImagePlan
from activesam_ros.sam3.vision_encoder import Pyramid, VisionEncoder


@dataclass(frozen=True)
class ImageTokens:
    """The features of B images that presence needs, computed once for all prompts.

    height, width: the grid of N coarse tokens; position: [N, d] their sine positions; geometry:
    keys and values for each geometry layer; prepared: the prompt-independent part of the fusion
    encoder; fusion: the sparse plan of the fusion encoder, None for dense; ``prepared`` has its
    token order.
    """

    height: int
    width: int
    position: Tensor
    geometry: tuple[Context, ...]
    prepared: Prepared
    fusion: FusionPlan | None

    @property
    def images(self) -> int:
        """Number of images: B."""
        return self.prepared.tokens.shape[0]

    def image(self, index: int) -> ImageTokens:
        """The features of one image, as views."""
        one = slice(index, index + 1)
        return ImageTokens(
            height=self.height,
            width=self.width,
            position=self.position,
            geometry=tuple(Context(layer.key[one], layer.value[one]) for layer in self.geometry),
            prepared=Prepared(*(part[one] for part in self.prepared)),
            fusion=None if self.fusion is None else self.fusion.image(index),
        )


@dataclass(frozen=True)
class ImageFeatures(ImageTokens):
    """All features that depend on the images alone; skips: the pyramid for the mask head."""

    pyramid: Pyramid
    skips: Skips

    def image(self, index: int) -> ImageFeatures:
        """The features of one image, as views."""
        one = slice(index, index + 1)
        tokens = super().image(index)
        return ImageFeatures(
            height=self.height,
            width=self.width,
            position=self.position,
            geometry=tokens.geometry,
            prepared=tokens.prepared,
            fusion=tokens.fusion,
            pyramid=Pyramid(*(level[one] for level in self.pyramid)),
            skips=Skips(*(level[one] for level in self.skips)),
        )


@dataclass(frozen=True)
class Prompts:
    """K prompts: tokens [K, T, d] and padding bool [K, T], True = padding."""

    tokens: Tensor
    padding: Tensor

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Prompts:
        return Prompts(self.tokens[index], self.padding[index])


class ScreenedPairs(NamedTuple):
    """P fused pairs of image and prompt, before the decoder but for its presence after one layer.

    memory [P, N, d], prompt [P, T, d], prompt_mask bool [P, 1, 1, T]: as in FusedScene;
    presence_logits: [P].
    """

    memory: Tensor
    prompt: Tensor
    prompt_mask: Tensor
    presence_logits: Tensor

    def of(self, pairs: Tensor) -> ScreenedPairs:
        """The pairs with these indices, int64 [n], as copies."""
        return ScreenedPairs(*(part[pairs] for part in self))


class DecodedPairs(NamedTuple):
    """P pairs of image and prompt after the decoder, each with Q object queries.

    Their mask pixels are not made yet. memory [P, N, d], prompt [P, T, d], prompt_mask bool
    [P, 1, 1, T]: the parts of the scene that the mask head reads; hidden: [P, Q, d] object queries
    after the last layer; logits: [P, Q] prompt match; boxes: float32 or float64 [P, Q, 4];
    presence_logits: [P].
    """

    memory: Tensor
    prompt: Tensor
    prompt_mask: Tensor
    hidden: Tensor
    logits: Tensor
    boxes: Tensor
    presence_logits: Tensor

    def of(self, pairs: Tensor) -> DecodedPairs:
        """The pairs with these indices, int64 [n], as copies."""
        return DecodedPairs(*(part[pairs] for part in self))


def joined(parts: Sequence[DecodedPairs]) -> DecodedPairs:
    """The pairs of all parts, at least one, in order."""
    if len(parts) == 1:
        return parts[0]
    return DecodedPairs(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Detections:
    """The model's output for every pair of B images and K prompts, with Q object queries each.

    logits: [B, K, Q] prompt match; boxes: float32 or float64 [B, K, Q, 4] (cx, cy, w, h in units of
    the image); presence_logits: [B, K]; semantic: [B, K, Hm, Wm] logits on the mask grid; pixels:
    [B, K, d, Hm, Wm]; kernels: [B, K, Q, d] and offsets: [B, K, Q], from which masks are made.
    """

    logits: Tensor
    boxes: Tensor
    presence_logits: Tensor
    semantic: Tensor
    pixels: Tensor
    kernels: Tensor
    offsets: Tensor

    def masks(self, image: int, prompt: int, queries: Tensor | slice) -> Tensor:
        """Mask logits [selected object queries, Hm, Wm] of one image and prompt.

        Masks are formed on request, since most object queries stay below any threshold.
        """
        return instance_masks(
            self.pixels[image, prompt],
            self.kernels[image, prompt, queries],
            self.offsets[image, prompt, queries],
        )


class ImageNetwork(Protocol):
    """The image model as a segmenter uses it; Sam3ImageModel documents the methods."""

    @property
    def config(self) -> Sam3Config: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def encode_image(self, pixels: Tensor, plan: ImagePlan | None = None) -> ImageFeatures: ...
    def encode_tokens(self, pixels: Tensor, plan: ImagePlan | None = None) -> ImageTokens: ...
    def presence(
        self, features: ImageTokens, prompts: Prompts, part: DecoderPart | None = None
    ) -> Tensor: ...
    def screen(self, features: ImageTokens, prompts: Prompts) -> ScreenedPairs: ...
    def decode_screened(self, features: ImageTokens, screened: ScreenedPairs) -> DecodedPairs: ...
    def decode(self, features: ImageTokens, prompts: Prompts) -> DecodedPairs: ...
    def pixels(self, decoded: DecodedPairs, skips: Skips) -> Tensor: ...
    def mask_kernels(self, hidden: Tensor) -> tuple[Tensor, Tensor]: ...


class Sam3ImageModel(nn.Module):
    """The frozen network without its text encoder."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        self.config = config
        self.vision_encoder = VisionEncoder(config)
        self.geometry_encoder = GeometryEncoder(config)
        self.fusion_encoder = FusionEncoder(config)
        self.decoder = Decoder(config)
        self.mask_head = MaskHead(config)
        self.scoring = DotProductScoring(config)

    @property
    def device(self) -> torch.device:
        return self.decoder.query_embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.query_embed.weight.dtype

    def encode_image(self, pixels: Tensor, plan: ImagePlan | None = None) -> ImageFeatures:
        """Encode pixels [B, 3, H, W] in -1..1, in the model's dtype and on its device.

        plan: the sparse computations, None for dense. Raises ImageError when a side is not a
        multiple of the patch size.
        """
        self.check_pixels(pixels)
        pyramid = self.vision_encoder(pixels, plan)
        tokens = self._tokens(pyramid.coarse, plan)
        return ImageFeatures(
            height=tokens.height,
            width=tokens.width,
            position=tokens.position,
            geometry=tokens.geometry,
            prepared=tokens.prepared,
            fusion=tokens.fusion,
            pyramid=pyramid,
            skips=self.mask_head.skips(pyramid),
        )

    def encode_tokens(self, pixels: Tensor, plan: ImagePlan | None = None) -> ImageTokens:
        """As :meth:`encode_image`, but compute only the features that :meth:`presence` reads."""
        self.check_pixels(pixels)
        return self._tokens(self.vision_encoder.coarse(pixels, plan), plan)

    def check_pixels(self, pixels: Tensor) -> None:
        """Raise ImageError unless pixels are [B, 3, H, W] with sides in whole patches."""
        patch = self.config.patch_size
        if pixels.ndim != 4 or pixels.shape[-1] % patch or pixels.shape[-2] % patch:
            raise ImageError(
                f"The network takes pixels [B, 3, H, W] with sides that are multiples of {patch}, "
                f"not {tuple(pixels.shape)}."
            )

    def _tokens(self, coarse: Tensor, plan: ImagePlan | None) -> ImageTokens:
        """ImageTokens of coarse [B, d, height, width]."""
        height, width = coarse.shape[-2:]
        tokens = coarse.flatten(2).transpose(1, 2)  # [B, N, d]
        position = sine_position_grid(
            height, width, self.config.d_model, coarse.device, coarse.dtype
        )  # [N, d]
        prepared = self.fusion_encoder.prepare(tokens, position)
        fusion = None
        if plan is not None:
            fusion = plan.fusion(self.fusion_encoder.content_keys(tokens), height, width)
        return ImageTokens(
            height=height,
            width=width,
            position=position,
            geometry=self.geometry_encoder.read_image(tokens, position),
            prepared=prepared if fusion is None else prepared.arranged(fusion.order),
            fusion=fusion,
        )

    def presence(
        self, features: ImageTokens, prompts: Prompts, part: DecoderPart | None = None
    ) -> Tensor:
        """Presence logits [B, K], without computing scores, boxes or masks.

        part: run this much of the decoder only, None for all of it.
        """
        scene, _ = self.fuse(features, prompts)
        logits: Tensor = self.decoder.presence(scene, part).unflatten(0, (-1, len(prompts)))
        return logits

    def screen(self, features: ImageTokens, prompts: Prompts) -> ScreenedPairs:
        """Fuse every pair, images outermost, and find its presence after one decoder layer.

        Only the presence token goes through that layer. Pairs that are worth it go on with
        :meth:`decode_screened` (ActiveSAM 2).
        """
        scene, _ = self.fuse(features, prompts)
        one_layer = DecoderPart(1, self.config.num_queries)
        return ScreenedPairs(
            scene.memory, scene.prompt, scene.prompt_mask, self.decoder.presence(scene, one_layer)
        )

    def decode_screened(self, features: ImageTokens, screened: ScreenedPairs) -> DecodedPairs:
        """As :meth:`decode`, for P pairs of one image that :meth:`screen` has fused."""
        scene = FusedScene(
            memory=screened.memory,
            located_memory=screened.memory + features.position,  # [P, N, d]
            prompt=screened.prompt,
            prompt_mask=screened.prompt_mask,
            height=features.height,
            width=features.width,
        )
        return self._decode(scene)

    def decode(self, features: ImageTokens, prompts: Prompts) -> DecodedPairs:
        """Decode every pair of image and prompt, images outermost; :meth:`pixels` comes after."""
        scene, _ = self.fuse(features, prompts)
        return self._decode(scene)

    def _decode(self, scene: FusedScene) -> DecodedPairs:
        output: DecoderOutput = self.decoder(scene)
        hidden = output.hidden[-1]  # [P, Q, d]
        return DecodedPairs(
            memory=scene.memory,
            prompt=scene.prompt,
            prompt_mask=scene.prompt_mask,
            hidden=hidden,
            logits=self.scoring(hidden, scene.prompt, scene.prompt_mask[:, 0, 0]),
            boxes=output.boxes,
            presence_logits=output.presence_logits[-1],
        )

    def pixels(self, decoded: DecodedPairs, skips: Skips) -> Tensor:
        """Pixel embeddings [P, d, Hm, Wm] of P pairs; see MaskHead.pixels for skips."""
        return self.mask_head.pixels(decoded.memory, decoded.prompt, decoded.prompt_mask, skips)

    def mask_kernels(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Kernels [P, 1 + Q, d] and offsets [P, 1 + Q] of the maps; see MaskHead.kernels."""
        return self.mask_head.kernels(hidden)

    def detect(self, features: ImageFeatures, prompts: Prompts) -> Detections:
        """Compute every output of every pair of image and prompt."""
        decoded = self.decode(features, prompts)
        pairs = (-1, len(prompts))
        skips = features.skips
        if features.images > 1:
            skips = Skips(*(per_pair(level, len(prompts)) for level in skips))
        pixels = self.pixels(decoded, skips)  # [BK, d, Hm, Wm]
        kernels, offsets = self.mask_head.instance_kernels(decoded.hidden)  # [BK, Q, d], [BK, Q]
        return Detections(
            logits=decoded.logits.unflatten(0, pairs),
            boxes=decoded.boxes.unflatten(0, pairs),
            presence_logits=decoded.presence_logits.unflatten(0, pairs),
            semantic=self.mask_head.semantic(pixels).unflatten(0, pairs),
            pixels=pixels.unflatten(0, pairs),
            kernels=kernels.unflatten(0, pairs),
            offsets=offsets.unflatten(0, pairs),
        )

    def fuse(self, features: ImageTokens, prompts: Prompts) -> tuple[FusedScene, Tensor]:
        """The fused scene of every image-prompt pair, images outermost, and valid bool [BK, T].

        A CLS token of the geometry encoder follows the tokens of each prompt.
        """
        images, count = features.images, len(prompts)
        tokens = prompts.tokens.repeat(images, 1, 1)  # [BK, T - 1, d]
        # [BK, T, d]
        prompt = torch.cat((tokens, self.geometry_encoder(features.geometry, count)), dim=1)
        valid = F.pad(~prompts.padding, (0, 1), value=True).repeat(images, 1)
        prepared = features.prepared
        if images > 1:
            prepared = Prepared(*(per_pair(part, count) for part in prepared))
        # [BK, N, d]
        memory = self.fusion_encoder(prepared, features.position, prompt, valid, features.fusion)
        scene = FusedScene(
            memory=memory,
            located_memory=memory + features.position,
            prompt=prompt,
            prompt_mask=valid[:, None, None],
            height=features.height,
            width=features.width,
        )
        return scene, valid
