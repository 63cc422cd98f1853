"""The DETR decoder: learned object queries and a presence token read the fused image."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from activesam_ros.sam3.attention import (
    Mlp,
    MultiheadAttention,
    at_least_float32,
    sine_features,
)
from activesam_ros.sam3.box_attention import Attention, BoxBias, box_attention
from activesam_ros.sam3.config import Sam3Config

INVERSE_SIGMOID_EPS = 1e-3
# Box offsets are multiplied by this, and their logarithm is divided by this number's.
BOX_BIAS_SCALE = 8.0


class DecoderOutput(NamedTuple):
    """The outputs of all layers for K pairs of image and prompt.

    hidden: normed queries [layers, K, Q, d]; reference_boxes: [layers, K, Q, 4], the boxes that
    each layer starts from (cx, cy, w, h in units of the image); presence_logits: [layers, K];
    boxes: [K, Q, 4] after the last layer. Boxes are float32 or float64.
    """

    hidden: Tensor
    reference_boxes: Tensor
    presence_logits: Tensor
    boxes: Tensor


class DecoderPart(NamedTuple):
    """The first layers and the first object queries of the decoder; at least one of each.

    More than the decoder has stands for all of them.
    """

    layers: int
    queries: int


class DecoderLayer(nn.Module):
    """Post-norm layer: attention to itself, text and image, then a ReLU MLP.

    Token 0 is the presence token.
    """

    def __init__(self, *, width: int, heads: int, hidden: int, attend_image: Attention) -> None:
        super().__init__()
        self.attend_image = attend_image
        self.self_attn = MultiheadAttention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.ca_text = MultiheadAttention(width=width, heads=heads)
        self.catext_norm = nn.LayerNorm(width)
        self.cross_attn = MultiheadAttention(width=width, heads=heads)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm3 = nn.LayerNorm(width)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        scene: FusedScene,
        box_bias: BoxBias | None,
        *,
        kept: int,
    ) -> Tensor:
        """Update the first ``kept`` tokens; they attend to all tokens.

        x and position: [K, 1 + Q, d]; box_bias: of all queries, or None where only the presence
        token is kept. Returns [K, kept, d].
        """
        located = x + position  # [K, 1 + Q, d]
        attended = self.self_attn.exactly(located[:, :kept], located, x)  # [K, kept, d]
        position = position[:, :kept]
        x = self.norm2(x[:, :kept] + attended)
        attended = self.ca_text.exactly(x + position, scene.prompt, scene.prompt, scene.prompt_mask)
        x = self.catext_norm(x + attended)
        x = self.norm1(x + self._read_image(x + position, scene, box_bias))
        output: Tensor = self.norm3(x + self.linear2(F.relu(self.linear1(x))))
        return output

    def _read_image(self, located: Tensor, scene: FusedScene, box_bias: BoxBias | None) -> Tensor:
        attention = self.cross_attn
        if box_bias is None:
            attended: Tensor = attention(located, scene.located_memory, scene.memory)
            return attended
        return attention.project_output(
            self.attend_image(
                attention.project_query(located),
                attention.project_key(scene.located_memory),
                attention.project_value(scene.memory),
                box_bias,
            )
        )


class FusedScene(NamedTuple):
    """The context of the object queries: K pairs of image and prompt after their fusion.

    memory: [K, N, d] fused image tokens; located_memory: the same plus position; prompt: [K, T, d];
    prompt_mask: bool [K, 1, 1, T], True = attend; height, width: the token grid.
    """

    memory: Tensor
    located_memory: Tensor
    prompt: Tensor
    prompt_mask: Tensor
    height: int
    width: int


class Decoder(nn.Module):
    """Object queries refine boxes layer by layer; a presence token scores the prompt."""

    def __init__(self, config: Sam3Config, attend_image: Attention = box_attention) -> None:
        super().__init__()
        width, heads = config.d_model, config.attention_heads
        self.width = width
        self.query_embed = nn.Embedding(config.num_queries, width)
        self.reference_points = nn.Embedding(config.num_queries, 4)
        self.presence_token = nn.Embedding(1, width)
        self.layers = nn.ModuleList(
            DecoderLayer(width=width, heads=heads, hidden=config.ffn_dim, attend_image=attend_image)
            for _ in range(config.decoder_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.bbox_embed = Mlp([width, width, width, 4])
        self.ref_point_head = Mlp([2 * width, width, width])
        self.boxRPB_embed_x = Mlp([2, width, heads])
        self.boxRPB_embed_y = Mlp([2, width, heads])
        self.presence_token_head = Mlp([width, width, width, 1])
        self.presence_token_out_norm = nn.LayerNorm(width)
        # Untrained layers leave boxes at the reference points.
        nn.init.zeros_(self.bbox_embed.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.bbox_embed.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, scene: FusedScene) -> DecoderOutput:
        """Run all layers for every object query."""
        x, boxes = self._start(scene)
        hidden, references, presence = [], [boxes], []
        for layer in self.layers:
            x = layer(
                x, self._position(boxes), scene, self._box_bias(boxes, scene), kept=x.shape[1]
            )
            normed = self.norm(x[:, 1:])  # [K, Q, d]
            boxes = self._refined(boxes, normed)
            hidden.append(normed)
            references.append(boxes)
            presence.append(self._presence_logit(x))
        return DecoderOutput(
            torch.stack(hidden), torch.stack(references[:-1]), torch.stack(presence), boxes
        )

    def presence(self, scene: FusedScene, part: DecoderPart | None = None) -> Tensor:
        """Presence logits [K] of the last layer of ``part``, None for the whole decoder.

        For the whole decoder they equal forward's within rounding. The last layer runs for the
        presence token only, since nothing reads its other tokens.
        """
        layers, queries = part or DecoderPart(len(self.layers), self.query_embed.num_embeddings)
        x, boxes = self._start(scene, queries)
        *earlier, last = self.layers[:layers]
        for layer in earlier:
            x = layer(
                x, self._position(boxes), scene, self._box_bias(boxes, scene), kept=x.shape[1]
            )
            boxes = self._refined(boxes, self.norm(x[:, 1:]))
        return self._presence_logit(last(x, self._position(boxes), scene, None, kept=1))

    def _start(self, scene: FusedScene, queries: int | None = None) -> tuple[Tensor, Tensor]:
        """Tokens [K, 1 + Q, d] and boxes [K, Q, 4] before the first layer.

        queries: Q, None for all.
        """
        pairs = scene.memory.shape[0]
        learned, points = self.query_embed.weight[:queries], self.reference_points.weight[:queries]
        x = torch.cat((self.presence_token.weight, learned))  # [1 + Q, d]
        boxes = at_least_float32(points).repeat(pairs, 1, 1).sigmoid()  # [K, Q, 4]
        # repeat, not expand: with strides as after a layer, one compiled layer serves all.
        return x.repeat(pairs, 1, 1), boxes

    def _position(self, boxes: Tensor) -> Tensor:
        """Positions of all tokens -> [K, 1 + Q, d]; that of the presence token is zero."""
        cx, cy, w, h = sine_features(boxes, self.width // 2).unbind(-2)  # [K, Q, d / 2] each
        sines = torch.cat((cy, cx, w, h), dim=-1).to(self.query_embed.weight.dtype)  # [K, Q, 2d]
        return F.pad(self.ref_point_head(sines), (0, 0, 1, 0))

    def _box_bias(self, boxes: Tensor, scene: FusedScene) -> BoxBias:
        """Bias from the log-distance of every image token to the edges of boxes [K, Q, 4]."""
        cx, cy, w, h = boxes.unbind(-1)  # [K, Q] each
        columns = torch.arange(scene.width, dtype=boxes.dtype, device=boxes.device) / scene.width
        rows = torch.arange(scene.height, dtype=boxes.dtype, device=boxes.device) / scene.height
        horizontal = self._axis_bias(self.boxRPB_embed_x, columns, cx - w / 2, cx + w / 2)
        vertical = self._axis_bias(self.boxRPB_embed_y, rows, cy - h / 2, cy + h / 2)
        return BoxBias(vertical, horizontal)

    def _axis_bias(self, mlp: Mlp, steps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """steps [L], low and high [K, Q] -> [K, heads, Q, L]."""
        # [K, Q, L, 2]
        offset = torch.stack((steps - low[..., None], steps - high[..., None]), dim=-1)
        offset = offset * BOX_BIAS_SCALE
        offset = offset.sign() * torch.log2(offset.abs() + 1) / math.log2(BOX_BIAS_SCALE)
        bias: Tensor = mlp(offset.to(self.query_embed.weight.dtype))  # [K, Q, L, heads]
        return bias.permute(0, 3, 1, 2)

    def _refined(self, boxes: Tensor, normed: Tensor) -> Tensor:
        """Boxes [K, Q, 4] refined by the normed queries [K, Q, d]."""
        offsets: Tensor = self.bbox_embed(normed)  # [K, Q, 4]
        return (_inverse_sigmoid(boxes) + at_least_float32(offsets)).sigmoid()

    def _presence_logit(self, x: Tensor) -> Tensor:
        logit: Tensor = self.presence_token_head(self.presence_token_out_norm(x[:, 0]))  # [K, 1]
        return logit[..., 0]


def _inverse_sigmoid(x: Tensor) -> Tensor:
    eps = INVERSE_SIGMOID_EPS
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))
