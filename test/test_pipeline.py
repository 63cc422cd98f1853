"""Devices, precisions and configurations as the user names them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from activesam_ros.errors import CheckpointError, MissingDependencyError, UsageError
from activesam_ros.pipeline import (
    NetworkOptions,
    compiles,
    load_network,
    read_config,
    resolve_device,
    resolve_dtype,
)
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.sam3.acceleration.accelerated import AcceleratedModel
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.settings import Settings

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def weights(repository: Path) -> Path:
    return repository / "test/data/golden/model.pt"


def test_automatic_precision_follows_the_device() -> None:
    assert resolve_dtype("auto", CPU) == torch.float32
    assert resolve_dtype("auto", GPU) == torch.bfloat16
    assert resolve_dtype("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(UsageError, match="dtype='float16' is unknown; give auto, float32"):
        resolve_dtype("float16", CPU)


def test_devices() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cpu:0", "cuda:one", "cuda:"):
        with pytest.raises(UsageError, match="is unknown"):
            resolve_device(name)
    with pytest.raises(MissingDependencyError, match="CUDA devices; give device=cpu"):
        resolve_device("cuda:99")


def test_configuration_beside_the_weights_or_full_size(weights: Path, tmp_path: Path) -> None:
    beside = read_config(weights, None)
    assert beside.resolution == 168
    assert read_config(tmp_path / "sam3.pt", None) == Sam3Config()
    assert read_config(tmp_path / "sam3.pt", weights.parent / "config.json") == beside
    with pytest.raises(CheckpointError, match="no configuration file"):
        read_config(weights, tmp_path / "none.json")
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match="it is a named pipe, not a regular file"):
        read_config(tmp_path / "sam3.pt", None)


def test_a_hit_in_the_cache_does_not_read_the_text_encoder(
    weights: Path, tmp_path: Path, repository: Path
) -> None:
    vocabulary = load_vocabulary(str(repository / "test/data/golden/background.vocabulary.txt"))
    network = load_network(NetworkOptions(weights=weights, device="cpu", cache_dir=tmp_path))
    first = network.compile(vocabulary, Settings())
    again = network.compile(vocabulary, Settings())
    assert (first.cache_hit, again.cache_hit) == (False, True)
    assert torch.equal(first.table.features, again.table.features)
    assert network.dtype == torch.float32
    assert network.device == CPU


def test_what_is_compiled() -> None:
    answers = {
        (choice, device.type): compiles(Settings(compile=choice), device)
        for choice in ("auto", "always", "never")
        for device in (CPU, GPU)
    }
    assert [key for key, value in answers.items() if value] == [
        ("auto", "cuda"),
        ("always", "cpu"),
        ("always", "cuda"),
    ]


def test_the_network_is_compiled_where_the_settings_say_so(weights: Path) -> None:
    network = load_network(NetworkOptions(weights=weights, device="cpu"))
    assert network.model_for(Settings()) is network.model
    assert network.model_for(Settings(compile="auto")) is network.model  # on a CPU
    compiled = network.model_for(Settings(compile="always"))
    assert isinstance(compiled, AcceleratedModel)
    assert network.model_for(Settings(compile="always")) is compiled
    with pytest.raises(MissingDependencyError, match=r"compile=always cannot .* preset=fast"):
        network.model_for(Settings(compile="always", preset="fast"))


SEGMENT = """
import sys
from pathlib import Path
import numpy as np
from activesam_ros.demo.untrained import write_untrained
from activesam_ros.pipeline import NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import vocabulary_from_names
from activesam_ros.settings import Settings

folder = Path(sys.argv[1])
options = NetworkOptions(weights=write_untrained(folder), device="cpu", cache_dir=folder)
segmenter = load_network(options).segmenter(vocabulary_from_names(["road", "car"]), Settings())
segmenter.segment(np.zeros((50, 70, 3), np.uint8))
print({"torch._dynamo", "sympy", "triton"} & set(sys.modules))
"""


def test_pytorchs_compiler_is_not_imported_where_nothing_is_compiled(tmp_path: Path) -> None:
    """It takes longer to import than everything else a process needs together."""
    command = [sys.executable, "-c", SEGMENT, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "set()\n"
