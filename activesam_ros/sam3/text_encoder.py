"""The text encoder: a causal transformer over byte-pair tokens, projected to the image side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from activesam_ros.sam3.attention import MultiheadAttention
from activesam_ros.sam3.config import Sam3Config

VOCABULARY_SIZE = 49408


class TextMlp(nn.Module):
    """Two linear layers with GELU between them; the hidden width is four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        output: Tensor = self.c_proj(F.gelu(self.c_fc(x)))
        return output


class ResidualBlock(nn.Module):
    """Pre-norm block with causal self-attention."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.attn = MultiheadAttention(width=width, heads=heads)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = TextMlp(width)

    def forward(self, x: Tensor, causal: Tensor) -> Tensor:
        """x [K, L, width], causal bool [L, L] with True = attend."""
        normed = self.ln_1(x)  # [K, L, width]
        x = x + self.attn(normed, normed, normed, causal)
        fed: Tensor = self.mlp(self.ln_2(x))
        return x + fed


class Transformer(nn.Module):
    """The stack of residual blocks."""

    def __init__(self, *, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            ResidualBlock(width=width, heads=heads) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[K, L, width] -> [K, L, width]."""
        length = x.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()  # [L, L]
        for block in self.resblocks:
            x = block(x, causal)
        return x


class TokenTransformer(nn.Module):
    """Token and position tables, the transformer and its last norm."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        width = config.text_width
        self.token_embedding = nn.Embedding(VOCABULARY_SIZE, width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.transformer = Transformer(
            width=width, heads=config.text_heads, layers=config.text_layers
        )
        self.ln_final = nn.LayerNorm(width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)

    def forward(self, token_ids: Tensor) -> Tensor:
        """int64 [K, L] -> [K, L, text_width]."""
        # [K, L, text_width]
        x = self.token_embedding(token_ids) + self.positional_embedding[: token_ids.shape[1]]
        output: Tensor = self.ln_final(self.transformer(x))
        return output


class TextEncoder(nn.Module):
    """Encodes prompts as features of width d_model; runs once per vocabulary."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        self.encoder = TokenTransformer(config)
        self.resizer = nn.Linear(config.text_width, config.d_model)

    def forward(self, token_ids: Tensor) -> Tensor:
        """int64 [K, L], 0 = padding -> features [K, L, d_model]."""
        return self.project(self.encoder(token_ids))

    def input_embeddings(self, token_ids: Tensor) -> Tensor:
        """int64 [K, L] -> rows of the token table [K, L, text_width], without positions."""
        rows: Tensor = self.encoder.token_embedding(token_ids)
        return rows

    def project(self, embeddings: Tensor) -> Tensor:
        """Apply the resizer, bias included: [..., text_width] -> [..., d_model]."""
        projected: Tensor = self.resizer(embeddings)
        return projected
