"""From a vocabulary to its prompt table: from the cache on disk, else by the text encoder."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from activesam_ros.errors import CheckpointError
from activesam_ros.prompts.cache import (
    Layout,
    default_cache_dir,
    read_tensors,
    trusted_folder,
    write_tensors,
)
from activesam_ros.prompts.canonical import prompt_of
from activesam_ros.prompts.context import (
    hypernym_embeddings,
    nearest_queries,
    neighbor_embeddings,
    pooled_embeddings,
)
from activesam_ros.prompts.hypernyms import query_hypernyms
from activesam_ros.prompts.table import PromptTable
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.sam3.checkpoint import load_text_encoder, text_fingerprint
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.text_encoder import TextEncoder
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.settings import Settings

# Part of every fingerprint: a new number makes every table on disk stale.
_FORMAT = 1
# Prompts encoded at once.
_BATCH = 64


class PromptStyle(enum.Enum):
    """What a prompt consists of.

    EXPANDED: the canonical name, with neighbour and hypernym tokens (ActiveSAM). PLAIN: the name as
    it is written (SegEarth-OV3 and plain SAM 3).
    """

    EXPANDED = "expanded"
    PLAIN = "plain"


@dataclass(frozen=True)
class CompiledPrompts:
    """A prompt table, and whether it was read from the cache."""

    table: PromptTable
    cache_hit: bool


@dataclass(frozen=True)
class PromptWords:
    """All that the text encoder reads for K queries.

    prompts: one for each query. hypernyms: at most ``hypernym_count`` for each query.
    neighbor_count: prompts of other queries that extend each query.
    """

    prompts: tuple[str, ...]
    hypernyms: tuple[tuple[str, ...], ...]
    neighbor_count: int
    hypernym_count: int


def go_on() -> None:
    """What is called between steps where nothing ends the work."""


def compile_prompts(
    vocabulary: Vocabulary,
    settings: Settings,
    weights: Path,
    config: Sam3Config,
    cache_dir: Path | None,
    *,
    style: PromptStyle = PromptStyle.EXPANDED,
    device: torch.device | None = None,
    between_steps: Callable[[], None] = go_on,
) -> CompiledPrompts:
    """The prompt table of ``vocabulary`` for the network in ``weights``, on the CPU.

    The table is read from ``cache_dir`` (None: the default folder) if it is there and nobody else
    can write the folder. Otherwise the
    text encoder is loaded, run in float32 on ``device`` (None: the CPU) and dropped again.
    ``between_steps`` is called between batches of prompts; what it raises ends the compilation.

    Raises CheckpointError if the weights cannot be used, VocabularyError if a prompt is longer than
    the encoder's context.
    """
    folder = cache_dir or default_cache_dir()
    folder = None if folder is None else trusted_folder(folder)
    words = prompt_words(vocabulary, settings, style, folder)
    fingerprint = table_fingerprint(vocabulary, words, text_fingerprint(weights, config), config)
    tensors = read_tensors(folder, fingerprint, _layout(words, config)) if folder else None
    cache_hit = tensors is not None
    if tensors is None:
        encoder = load_text_encoder(weights, config, device or torch.device("cpu"), torch.float32)
        tensors = encode_words(words, encoder, Tokenizer(config.context_length), between_steps)
        if not all(part.isfinite().all() for part in tensors.values()):
            raise CheckpointError(
                f"The text encoder in {weights} makes prompts that are NaN or infinite; use other "
                "weights."
            )
        if folder:
            write_tensors(folder, fingerprint, tensors)
    table = PromptTable(
        vocabulary=vocabulary,
        fingerprint=fingerprint,
        features=tensors["features"],
        padding=tensors["padding"],
        context=tensors["context"],
        context_padding=tensors["context_padding"],
    )
    return CompiledPrompts(table=table, cache_hit=cache_hit)


def prompt_words(
    vocabulary: Vocabulary,
    settings: Settings,
    style: PromptStyle = PromptStyle.EXPANDED,
    cache_dir: Path | None = None,
) -> PromptWords:
    """The words of every query.

    Loads WordNet if a class has no hypernyms of its own and ``cache_dir`` does not have them.
    """
    queries = vocabulary.queries
    if style is PromptStyle.PLAIN:
        return PromptWords(
            prompts=queries, hypernyms=((),) * len(queries), neighbor_count=0, hypernym_count=0
        )
    hypernyms = query_hypernyms(vocabulary, settings.hypernym_tokens, cache_dir=cache_dir)
    return PromptWords(
        prompts=tuple(map(prompt_of, queries)),
        hypernyms=tuple(tuple(map(prompt_of, row)) for row in hypernyms),
        neighbor_count=settings.neighbor_tokens,
        hypernym_count=settings.hypernym_tokens,
    )


def table_fingerprint(
    vocabulary: Vocabulary, words: PromptWords, weights: str, config: Sam3Config
) -> str:
    """SHA-256, in hexadecimal, of all that decides a table: ids, colours and pins do not."""
    content = {
        "format": _FORMAT,
        "dtype": "float32",
        "weights": weights,
        "text_encoder": [
            config.context_length,
            config.text_width,
            config.text_heads,
            config.text_layers,
            config.d_model,
        ],
        "classes": [entry.names for entry in vocabulary.classes],
        "prompts": words.prompts,
        "hypernyms": words.hypernyms,
        "neighbor_count": words.neighbor_count,
        "hypernym_count": words.hypernym_count,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@torch.no_grad()
def encode_words(
    words: PromptWords,
    encoder: TextEncoder,
    tokenizer: Tokenizer,
    between_steps: Callable[[], None] = go_on,
) -> dict[str, Tensor]:
    """The features, padding, context and context_padding of a table (see PromptTable).

    On the CPU, in the dtype of the encoder. ``between_steps`` is called before each batch.
    """

    def encoded(part: Tensor) -> Tensor:
        between_steps()
        features: Tensor = encoder(part)  # [batch, L, d]
        return features

    def pool(texts: Sequence[str]) -> Tensor:
        return _pooled(texts, encoder, tokenizer)

    ids, padding = _tokens(words.prompts, encoder, tokenizer)  # [K, L] each
    features = torch.cat(
        [encoded(ids[start : start + _BATCH]) for start in range(0, len(ids), _BATCH)]
    )  # [K, L, d]
    between_steps()
    parts = (
        neighbor_embeddings(pool(words.prompts), words.neighbor_count),
        hypernym_embeddings(words.hypernyms, words.hypernym_count, pool),
    )
    # [K, N + H, W] and bool [K, N + H]
    embeddings, missing = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    context = encoder.project(embeddings).masked_fill(missing.unsqueeze(-1), 0)  # [K, N + H, d]
    return {
        "features": features.cpu(),
        "padding": padding.cpu(),
        "context": context.cpu(),
        "context_padding": missing.cpu(),
    }


@torch.no_grad()
def neighbor_names(
    words: PromptWords, encoder: TextEncoder, tokenizer: Tokenizer
) -> tuple[tuple[str, ...], ...]:
    """The neighbour prompts of each query, nearest first."""
    pooled = _pooled(words.prompts, encoder, tokenizer)  # [K, W]
    _, indices = nearest_queries(pooled, words.neighbor_count)
    return tuple(tuple(words.prompts[index] for index in row) for row in indices.tolist())


def _tokens(
    texts: Sequence[str], encoder: TextEncoder, tokenizer: Tokenizer
) -> tuple[Tensor, Tensor]:
    """Token ids int64 and padding bool of N texts, [N, L] each, on the encoder's device."""
    ids = torch.from_numpy(tokenizer.encode(texts)).to(encoder.resizer.weight.device)
    return ids, ids == 0


def _pooled(texts: Sequence[str], encoder: TextEncoder, tokenizer: Tokenizer) -> Tensor:
    """The mean token embedding of each of N texts, [N, W]."""
    ids, padding = _tokens(texts, encoder, tokenizer)
    return pooled_embeddings(encoder.input_embeddings(ids), padding)


def _layout(words: PromptWords, config: Sam3Config) -> Layout:
    """What a cached table of ``words`` has to look like."""
    queries, length = len(words.prompts), config.context_length
    extra = words.neighbor_count + words.hypernym_count
    return {
        "features": (torch.float32, (queries, length, config.d_model)),
        "padding": (torch.bool, (queries, length)),
        "context": (torch.float32, (queries, extra, config.d_model)),
        "context_padding": (torch.bool, (queries, extra)),
    }
