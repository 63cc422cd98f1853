"""Show a vocabulary as the network reads it: classes, prompts, hypernyms and neighbours."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from activesam_ros.commands.options.network import (
    add_vocabulary_arguments,
    add_weights_arguments,
    vocabulary_from,
    weights_from,
)
from activesam_ros.errors import MissingDependencyError
from activesam_ros.pipeline import read_config
from activesam_ros.progress import working
from activesam_ros.prompts.compile import neighbor_names, prompt_words
from activesam_ros.prompts.hypernyms import with_hypernyms
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_writer import vocabulary_to_yaml
from activesam_ros.sam3.checkpoint import load_text_encoder
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.settings import Settings

HEADER = (
    "id", "class", "query", "prompt", "tokens", "hypernyms", "neighbours", "pinned", "threshold",
    "colour",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam vocabulary show``."""
    add_vocabulary_arguments(parser, positional=True)
    add_weights_arguments(parser)
    parser.add_argument(
        "--yaml", action="store_true", help="print a YAML file of the vocabulary, with hypernyms"
    )


def run(args: argparse.Namespace) -> int:
    """Print a table, or with --yaml a file of the same vocabulary."""
    vocabulary = vocabulary_from(args)
    settings = Settings().assign(args.assignments)
    if args.yaml:
        print(vocabulary_to_yaml(with_hypernyms(vocabulary, settings.hypernym_tokens)), end="")
        return 0
    print(
        f"{vocabulary.name}: {len(vocabulary.classes)} classes, {len(vocabulary.queries)} queries"
    )
    try:
        weights = weights_from(args)
    except MissingDependencyError:
        weights = None
    with working(f"compiling the vocabulary {vocabulary.name}"):
        rows = _rows(vocabulary, settings, weights, args.config)
    _print_table([HEADER, *rows])
    if weights is None:
        print("The neighbours of a query depend on the weights; --weights PATH shows them.")
    return 0


def _rows(
    vocabulary: Vocabulary, settings: Settings, weights: Path | None, config_file: Path | None
) -> list[tuple[str, ...]]:
    words = prompt_words(vocabulary, settings)
    neighbors: Sequence[Sequence[str]] = [("?",)] * len(words.prompts)
    tokenizer = Tokenizer()
    if weights is not None:
        config = read_config(weights, config_file)
        tokenizer = Tokenizer(config.context_length)
        encoder = load_text_encoder(weights, config, torch.device("cpu"), torch.float32)
        neighbors = neighbor_names(words, encoder, tokenizer)
    rows: list[tuple[str, ...]] = []
    for query, index in enumerate(vocabulary.query_class):
        entry = vocabulary.classes[index]
        rows.append(
            (
                str(entry.id),
                entry.name,
                vocabulary.queries[query],
                words.prompts[query],
                str(tokenizer.length(words.prompts[query])),
                ", ".join(words.hypernyms[query]) or "-",
                ", ".join(neighbors[query]) or "-",
                "pinned" if entry.pinned else "",
                f"{entry.threshold:g}" if entry.threshold else "",
                "#{:02x}{:02x}{:02x}".format(*entry.color),
            )
        )
    return rows


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of texts in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
