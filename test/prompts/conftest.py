"""The tokenizer, WordNet, and the text side of the golden network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from activesam_ros.errors import MissingDependencyError
from activesam_ros.prompts.hypernyms import HypernymLookup, load_wordnet
from activesam_ros.sam3.checkpoint import load_text_encoder
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.text_encoder import TextEncoder
from activesam_ros.sam3.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer()


@pytest.fixture(scope="session")
def unlimited_tokenizer() -> Tokenizer:
    return Tokenizer(context_length=10**6)


@pytest.fixture(scope="session")
def golden(repository: Path) -> Path:
    return repository / "test" / "data" / "golden"


@pytest.fixture(scope="session")
def weights(golden: Path) -> Path:
    return golden / "model.pt"


@pytest.fixture(scope="session")
def config(golden: Path) -> Sam3Config:
    return Sam3Config.from_json(golden / "config.json")


@pytest.fixture(scope="session")
def encoder(weights: Path, config: Sam3Config) -> TextEncoder:
    return load_text_encoder(weights, config, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def wordnet() -> HypernymLookup:
    try:
        return load_wordnet()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    """Writes a file of the given name and gives its path."""

    def write_file(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write_file
