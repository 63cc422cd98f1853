"""CLIP's byte-pair tokenizer, with which the text encoder was trained.

The merge table is OpenAI CLIP's ``bpe_simple_vocab_16e6.txt.gz`` (MIT licence), shipped beside this
file. Ids count 256 bytes, 256 word-final bytes, the merges in order, then start and end of text.
"""

from __future__ import annotations

import functools
import gzip
import html
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import MissingDependencyError, VocabularyError

MERGES_FILE = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
WORD_END = "</w>"
# Merges that are used: as many as the 49,408 rows of the token embedding allow.
MERGE_COUNT = 49152 - 256 - 2
WORD_PATTERN = (
    r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


@functools.cache
def _cleaning() -> tuple[Callable[[str], str], Callable[[str], list[str]]]:
    """What mends the characters of a text, and what finds its words."""
    try:
        import ftfy
        import regex
    except ImportError as error:
        raise MissingDependencyError(
            f"The tokenizer needs the package {error.name!r}: pip install regex ftfy."
        ) from None
    return ftfy.fix_text, regex.compile(WORD_PATTERN, regex.IGNORECASE).findall


def cleaned(text: str) -> str:
    """``text`` as the tokenizer reads it: full-width letters, entities, case and spaces made plain.

    Raises MissingDependencyError without ``regex`` and ``ftfy``.
    """
    fix_text, _ = _cleaning()
    if not (text.isascii() and text.isprintable() and "&" not in text):  # else there is no fault
        text = html.unescape(html.unescape(fix_text(text)))
    return " ".join(text.split()).lower()


def words_of(text: str) -> list[str]:
    """The words whose byte pairs are the tokens of ``text``: texts with equal words are one prompt.

    Raises MissingDependencyError without ``regex`` and ``ftfy``.
    """
    _, find_words = _cleaning()
    return find_words(cleaned(text))


class Tokenizer:
    """Turns text into token ids. Raises MissingDependencyError without ``regex`` and ``ftfy``."""

    def __init__(self, context_length: int = 32) -> None:
        _cleaning()
        self.context_length = context_length
        self._byte_symbols = _byte_symbols()
        merges = _read_merges()
        self._rank = {pair: rank for rank, pair in enumerate(merges)}
        symbols = list(self._byte_symbols.values())
        symbols += [symbol + WORD_END for symbol in symbols]
        symbols += ["".join(pair) for pair in merges]
        self._id = {symbol: index for index, symbol in enumerate(symbols)}
        self._start, self._end = len(symbols), len(symbols) + 1
        self._specials = {"<start_of_text>": self._start, "<end_of_text>": self._end}

    def encode(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Token ids [len(texts), context_length], start and end included, padded with 0.

        Raises VocabularyError when a text needs more than ``context_length`` tokens.
        """
        ids = np.zeros((len(texts), self.context_length), dtype=np.int64)
        for row, text in zip(ids, texts, strict=True):
            tokens = self._tokens(text)
            if len(tokens) > self.context_length:
                raise VocabularyError(
                    f"The prompt {text!r} takes {len(tokens)} tokens, more than the "
                    f"{self.context_length} the text encoder reads; shorten it."
                )
            row[: len(tokens)] = tokens
        return ids

    def length(self, text: str) -> int:
        """Number of tokens of ``text``, start and end included."""
        return len(self._tokens(text))

    def _tokens(self, text: str) -> list[int]:
        tokens = [self._start]
        for word in words_of(text):
            if word in self._specials:
                tokens.append(self._specials[word])
            else:
                tokens.extend(self._id[symbol] for symbol in self._merged(word))
        return [*tokens, self._end]

    def _merged(self, word: str) -> list[str]:
        symbols = [self._byte_symbols[byte] for byte in word.encode("utf-8")]
        symbols[-1] += WORD_END
        while len(symbols) > 1:
            ranks = [self._rank.get(pair, len(self._rank)) for pair in itertools.pairwise(symbols)]
            best = min(ranks)
            if best == len(self._rank):
                break
            symbols = list(_join_pairs(symbols, ranks, best))
        return symbols


def _join_pairs(symbols: list[str], ranks: list[int], rank: int) -> Iterator[str]:
    """The symbols with every pair of the given rank joined, left to right."""
    index = 0
    while index < len(symbols):
        if index < len(ranks) and ranks[index] == rank:
            yield symbols[index] + symbols[index + 1]
            index += 2
        else:
            yield symbols[index]
            index += 1


def _byte_symbols() -> dict[int, str]:
    """A printable character for each byte: its own if that is printable, else one from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {byte: chr(byte) for byte in printable}
    symbols.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return symbols


def _read_merges() -> list[tuple[str, str]]:
    lines = gzip.decompress(MERGES_FILE.read_bytes()).decode("utf-8").split("\n")
    pairs = (line.split() for line in lines[1 : MERGE_COUNT + 1])  # line 0 is a version comment
    return [(first, second) for first, second in pairs]
