"""Loading: the official layout as it is, and one sentence for each file that cannot be used."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from activesam_ros.errors import CheckpointError
from activesam_ros.sam3.checkpoint import (
    TEXT_STAGE,
    is_ignored,
    load_image_model,
    load_text_encoder,
    parameter_shapes,
    text_fingerprint,
    unused_shapes,
    weights_fingerprint,
)
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import Sam3ImageModel

CPU = torch.device("cpu")
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state(golden_dir: Path) -> State:
    loaded: State = torch.load(golden_dir / "model.pt", weights_only=True)["model"]
    return loaded


def load(path: Path, config: Sam3Config) -> Sam3ImageModel:
    return load_image_model(path, config, CPU, torch.float32)


def test_full_size_keys_and_shapes_are_the_official_ones(golden_dir: Path) -> None:
    official = json.loads((golden_dir / "full_size" / "keys.json").read_text())
    ours = {**parameter_shapes(Sam3Config()), **unused_shapes(Sam3Config())}
    expected = {
        key: tuple(shape) for key, (_, shape) in official.items() if not key.endswith("freqs_cis")
    }
    assert ours == expected


def test_weights_arrive_frozen_in_the_wanted_precision(
    golden_dir: Path, golden_config: Sam3Config, state: State
) -> None:
    model = load_image_model(golden_dir / "model.pt", golden_config, CPU, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    key = "detector.transformer.decoder.query_embed.weight"
    assert torch.equal(model.decoder.query_embed.weight, state[key].to(torch.bfloat16))


def test_bare_table_tracker_and_derived_buffers_are_fine(
    tmp_path: Path, golden_config: Sam3Config, state: State
) -> None:
    extra = {
        "tracker.maskmem_tpos_enc": torch.zeros(7),
        "detector.backbone.vision_backbone.sam2_convs.0.conv_1x1.bias": torch.zeros(3),
        "detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis": torch.zeros(2),
    }
    assert all(map(is_ignored, extra))
    torch.save({**state, **extra}, tmp_path / "bare.pt")
    load(tmp_path / "bare.pt", golden_config)


def test_safetensors_with_the_same_names(
    tmp_path: Path, golden_config: Sam3Config, golden_model: Sam3ImageModel, state: State
) -> None:
    used = parameter_shapes(golden_config)
    save_file({key: state[key] for key in used}, tmp_path / "model.safetensors")
    model = load(tmp_path / "model.safetensors", golden_config)
    for name, parameter in golden_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], parameter)
    load_text_encoder(tmp_path / "model.safetensors", golden_config, CPU, torch.float32)


class Payload:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, ("raise SystemExit('code from a weights file ran')",)


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


BAD_FILES: dict[str, tuple[Callable[[Path, bytes], object], str]] = {
    "git-lfs": (
        lambda path, _: write(path, b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n"),
        "git-lfs pointer.*git lfs pull",
    ),
    "login page": (
        lambda path, _: write(path, b"\n<!DOCTYPE html><html><title>Log in</title></html>"),
        "web page.*accept the licence",
    ),
    "truncated": (lambda path, good: write(path, good[: len(good) // 2]), "truncated or damaged"),
    "almost whole": (lambda path, good: write(path, good[:-100]), "truncated or damaged"),
    "empty": (lambda path, _: write(path, b""), r"neither a PyTorch .*\(0 bytes"),
    "text": (lambda path, _: write(path, b"hello" * 30), "neither a PyTorch nor a safetensors"),
    "code": (lambda path, _: torch.save({"model": Payload()}, path), "could run code"),
    "bare pickle": (lambda path, _: write(path, pickle.dumps(Payload())), "never executed"),
    "a list": (lambda path, _: torch.save([torch.zeros(2)], path), "not a table of tensors"),
    "safetensors, cut": (
        lambda path, _: write(path, (2**40).to_bytes(8, "little") + b'{"a": 1}'),
        "truncated or damaged",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_in_one_sentence(
    name: str, tmp_path: Path, golden_dir: Path, golden_config: Sam3Config
) -> None:
    make, message = BAD_FILES[name]
    path = tmp_path / "sam3.pt"
    make(path, (golden_dir / "model.pt").read_bytes())
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path, golden_config)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_config(tmp_path: Path, golden_config: Sam3Config) -> None:
    with pytest.raises(CheckpointError, match=r"no weights at .*weights/README\.md"):
        load(tmp_path / "sam3.pt", golden_config)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path, golden_config)
    with pytest.raises(CheckpointError, match="cannot be read"):
        weights_fingerprint(tmp_path / "sam3.pt")


def test_wrong_tables_are_refused(tmp_path: Path, golden_config: Sam3Config, state: State) -> None:
    path = tmp_path / "sam3.pt"
    key = "detector.transformer.decoder.query_embed.weight"
    without = {name: tensor for name, tensor in state.items() if name != key}
    for table, message in (
        (without, f"lacks 1 of the .*{key}"),
        ({}, "belongs to another model or another configuration"),
        ({**state, "detector.extra.weight": torch.zeros(1)}, "1 tensors.*detector.extra.weight"),
        ({**state, key: torch.zeros(21, 64)}, r"shape \(21, 64\).*says \(20, 64\)"),
    ):
        torch.save({"model": table}, path)
        with pytest.raises(CheckpointError, match=message):
            load(path, golden_config)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    ("key", "loader"),
    [
        ("detector.transformer.decoder.query_embed.weight", load_image_model),
        ("detector.dot_prod_scoring.hs_proj.bias", load_image_model),
        (f"{TEXT_STAGE}.resizer.bias", load_text_encoder),
    ],
)
def test_a_number_that_is_not_finite_is_refused_with_its_tensor(
    tmp_path: Path,
    golden_config: Sam3Config,
    state: State,
    key: str,
    loader: Callable[..., object],
    value: float,
) -> None:
    spoilt = state[key].clone()
    spoilt.view(-1)[-1] = value
    path = tmp_path / "weights.safetensors"
    save_file({**state, key: spoilt}, path)
    message = f"{path}: 1 of the {spoilt.numel()} numbers of '{key}' are NaN or infinite"
    with pytest.raises(CheckpointError, match=re.escape(message)):
        loader(path, golden_config, CPU, torch.float32)


def test_a_number_too_large_for_the_dtype_is_refused(
    tmp_path: Path, golden_config: Sam3Config, state: State
) -> None:
    key = "detector.transformer.decoder.query_embed.weight"
    path = tmp_path / "weights.safetensors"
    save_file({**state, key: torch.full(state[key].shape, 3.4e38)}, path)
    with pytest.raises(CheckpointError, match="NaN or infinite in bfloat16"):
        load_image_model(path, golden_config, CPU, torch.bfloat16)


def test_fingerprint_follows_every_byte(golden_dir: Path, tmp_path: Path) -> None:
    data = bytearray((golden_dir / "model.pt").read_bytes() + bytes(3 * 2**20))
    copy = tmp_path / "copy.pt"
    copy.write_bytes(data)
    whole = weights_fingerprint(copy)
    assert whole == weights_fingerprint(copy)
    for place in (0, 1000, 70_001, len(data) // 2, len(data) - 1):
        data[place] ^= 1
        copy.write_bytes(data)
        assert weights_fingerprint(copy) != whole
        data[place] ^= 1


def test_text_fingerprint_follows_every_tensor_of_the_text_encoder_and_no_other(
    tmp_path: Path, golden_config: Sam3Config, state: State
) -> None:
    def fingerprint(table: State, name: str = "weights.pt") -> str:
        path = tmp_path / name
        if path.suffix == ".pt":
            torch.save({"model": table}, path)
        else:
            save_file(table, path)
        return text_fingerprint(path, golden_config)

    original = fingerprint(state)
    assert fingerprint(state, "weights.safetensors") == original
    text = [key for key in parameter_shapes(golden_config) if key.startswith(TEXT_STAGE)]
    assert f"{TEXT_STAGE}.resizer.bias" in text
    for key in text:
        tuned = state[key].clone()
        tuned.view(-1)[-1] += 1e-3
        assert fingerprint({**state, key: tuned}) != original, key
    key = "detector.transformer.decoder.query_embed.weight"
    assert fingerprint({**state, key: state[key] + 1}) == original
    assert fingerprint({**state, text[0]: state[text[0]].bfloat16()}) != original


MEMORY_SCRIPT = """
import sys, threading, torch
from pathlib import Path
from activesam_ros.sam3.checkpoint import load_image_model, parameter_shapes
from activesam_ros.sam3.config import Sam3Config

def anonymous_mib():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024

config = Sam3Config.from_json(Path(sys.argv[2]))
parameter_shapes(config)  # imports what building on the meta device needs
samples, finished = [anonymous_mib()], threading.Event()

def watch():
    while not finished.wait(0.001):
        samples.append(anonymous_mib())

watcher = threading.Thread(target=watch)
watcher.start()
model = load_image_model(Path(sys.argv[1]), config, torch.device("cpu"), torch.float32)
finished.set()
watcher.join()
size = sum(parameter.numel() * 4 for parameter in model.parameters()) / 2**20
print(size, max(samples) - samples[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_there_is_never_a_second_copy_of_the_weights(tmp_path: Path) -> None:
    config = Sam3Config(vision_width=256, vision_layers=8, global_attention_blocks=(7,))
    (tmp_path / "config.json").write_text(config.to_json())
    torch.save(
        {key: torch.ones(shape) for key, shape in parameter_shapes(config).items()},
        tmp_path / "sam3.pt",
    )
    script = [sys.executable, "-c", MEMORY_SCRIPT]
    files = [str(tmp_path / "sam3.pt"), str(tmp_path / "config.json")]
    result = subprocess.run([*script, *files], check=True, capture_output=True, text=True)
    size_mib, growth_mib = map(float, result.stdout.split())
    assert size_mib > 80
    assert growth_mib < 1.2 * size_mib
