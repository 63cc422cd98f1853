"""The network's dimensions as a file."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from activesam_ros.errors import CheckpointError
from activesam_ros.sam3.config import Sam3Config


def test_round_trip(tmp_path: Path, golden_dir: Path) -> None:
    config = Sam3Config.from_json(golden_dir / "config.json")
    (tmp_path / "config.json").write_text(config.to_json())
    assert Sam3Config.from_json(tmp_path / "config.json") == config
    assert config.global_attention_blocks == (1, 3)


def test_the_default_is_the_full_size() -> None:
    config = Sam3Config()
    assert (config.resolution, config.vision_layers, config.num_queries) == (1008, 32, 200)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable JSON"),
        ("[]", "one JSON object"),
        ('{"depth": 3}', "unknown dimension 'depth'"),
        ('{"d_model": 2.5}', "d_model=2.5 must be an integer"),
        ('{"d_model": true}', "must be an integer"),
        ('{"d_model": -8}', "must be positive"),
        ('{"d_model": 100}', "multiple of 8"),
        ('{"vision_mlp_ratio": "4"}', "must be a number"),
        ('{"resolution": 1000}', "multiple of 14"),
        ('{"vision_heads": 7}', "multiple of 28"),
        ('{"global_attention_blocks": 7}', "list of integers"),
        ('{"global_attention_blocks": [7, 15]}', "must end with the last"),
        ('{"mask_upsampling_stages": 1}', "at least 2"),
        ('{"vision_layers": 100000000}', "vision_layers=100000000 .* must be at most 128"),
        ('{"vision_mlp_ratio": NaN}', "NaN is no number"),
        ('{"vision_mlp_ratio": Infinity}', "Infinity is no number"),
        ('{"vision_mlp_ratio": 1e999}', "must be at most 16"),
        ('{"vision_mlp_ratio": 0}', "must be at least 0.25"),
        (f'{{"vision_mlp_ratio": {"9" * 400}}}', "must be at most 16"),
        (f'{{"vision_layers": {"9" * 4000}}}', "must be at most 128"),
        (f'{{"vision_layers": {"9" * 5000}}}', "not a readable JSON|must be at most 128"),
        ("[" * 100_000, "it nests too deep"),
        ('{"d_model":' + "[" * 500 + "]" * 500 + "}", "must be an integer"),
        (f'{{"{"x" * 100_000}": 1}}', "unknown dimension 'x"),
        ('{"global_attention_blocks": [31, 7]}', "must rise from block to block"),
        ('{"global_attention_blocks": []}', "list of integers"),
        ('{"num_queries": null}', "must be an integer"),
        ('{"context_length": 2}', "must be at least 3"),
    ],
)
def test_bad_files_name_themselves(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        Sam3Config.from_json(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 800


def test_every_dimension_has_a_range() -> None:
    """One above its upper bound is refused, whatever the dimension is."""
    for field in dataclasses.fields(Sam3Config):
        huge = (10**9,) if isinstance(field.default, tuple) else 10**9
        with pytest.raises(CheckpointError, match=rf"^{field.name}=.* must be at most"):
            Sam3Config(**{field.name: huge})  # type: ignore[arg-type]
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(CheckpointError, match="vision_mlp_ratio="):
            Sam3Config(vision_mlp_ratio=value)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "pipe", "a named pipe, not a regular file"),
        (Path("/dev/zero"), "a device, not a regular file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(CheckpointError, match=message):
            Sam3Config.from_json(path)
    (tmp_path / "large").write_bytes(bytes(2 << 20))
    with pytest.raises(CheckpointError, match="more than the 1,048,576 allowed"):
        Sam3Config.from_json(tmp_path / "large")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no configuration file"):
        Sam3Config.from_json(tmp_path / "config.json")
