"""The network's dimensions as a file."""

from __future__ import annotations

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
    ],
)
def test_bad_files_name_themselves(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        Sam3Config.from_json(path)
    assert str(path) in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no configuration file"):
        Sam3Config.from_json(tmp_path / "config.json")
