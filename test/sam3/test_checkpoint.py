"""Loading: the official layout as it is, and one sentence for each file that cannot be used."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

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


class Allocation:
    """Would fill 1 GB with zeros when unpickled, which PyTorch's weights_only allows."""

    def __reduce__(self) -> tuple[type[bytearray], tuple[int]]:
        return bytearray, (1 << 30,)


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
    "a function of PyTorch": (
        lambda path, _: torch.save({"model": Allocation()}, path),
        "could run code",
    ),
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


ODD_KEY = "detector.dot_prod_scoring.hs_proj.bias"


def named(state: State, value: object) -> dict[str, object]:
    """The table with ``value`` in the place of one tensor."""
    return {"model": {**state, ODD_KEY: value}}


def quantised(size: int) -> torch.Tensor:
    return torch.quantize_per_tensor(torch.zeros(size), 0.1, 0, torch.qint8)


ODD_VALUES: dict[str, tuple[Callable[[int], object], str]] = {
    "sparse": (lambda size: torch.zeros(size).to_sparse(), "a sparse tensor"),
    "sparse rows": (lambda size: torch.zeros(1, size).to_sparse_csr(), "a sparse tensor"),
    "meta": (lambda size: torch.zeros(size, device="meta"), "a meta tensor"),
    "nested": (lambda size: torch.nested.nested_tensor([torch.zeros(size)]), "a nested tensor"),
    "quantised": (quantised, "a quantised tensor"),
    "integers": (lambda size: torch.zeros(size, dtype=torch.int64), "a tensor of int64"),
    "complex": (lambda size: torch.zeros(size, dtype=torch.complex64), "a tensor of complex64"),
    "bool": (lambda size: torch.zeros(size, dtype=torch.bool), "a tensor of bool"),
    "a list": (lambda size: [0.0] * size, "a Python list"),
    "text": (lambda size: "x" * size, "a Python str"),
    "none": (lambda size: None, "a Python NoneType"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ODD_VALUES)
def test_what_is_no_plain_tensor_is_refused_by_name(
    kind: str, tmp_path: Path, golden_config: Sam3Config, state: State
) -> None:
    make, message = ODD_VALUES[kind]
    path = tmp_path / "sam3.pt"
    torch.save(named(state, make(64)), path)
    with pytest.raises(
        CheckpointError, match=f"'detector.dot_prod_scoring.hs_proj.bias' is {message}"
    ):
        load(path, golden_config)


def test_integers_in_safetensors_are_refused_by_name(
    tmp_path: Path, golden_config: Sam3Config, state: State
) -> None:
    key = "detector.dot_prod_scoring.hs_proj.bias"
    path = tmp_path / "model.safetensors"
    save_file({**state, key: torch.zeros(64, dtype=torch.int8)}, path)
    with pytest.raises(CheckpointError, match=f"'{key}' is a tensor of I8"):
        load(path, golden_config)


def with_pickle(path: Path, good: Path, data: bytes, **kinds: int) -> None:
    """The archive ``good`` with another pickle; kinds: of its compression."""
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            is_pickle = member.filename.endswith("data.pkl")
            content = data if is_pickle else old.read(member)
            new.writestr(member.filename, content, **kinds if is_pickle else {})


MALFORMED = {
    "nothing": b"",
    "no end": b"\x80\x02}q\x00",
    "no stack": b"\x80\x02.",
    "no mark": b"\x80\x02u.",
    "no memo": b"\x80\x02h\x07.",
    "unknown opcode": b"\x80\x02\xff.",
    "text that is not UTF-8": b"\x80\x02X\x01\x00\x00\x00\xff.",
    "a negative length": b"\x80\x02X\xff\xff\xff\xff.",
    "a list appended to a number": b"\x80\x02K\x01K\x02a.",
    "a call of a number": b"\x80\x02K\x01)R.",
    "a state of a number": b"\x80\x02K\x01K\x02b.",
    "a storage of nothing": b"\x80\x02NQ.",
    "a storage of one word": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "a key that cannot be one": b"\x80\x02}}K\x01s.",
    "a tensor of nothing": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "a parameter of a number": b"\x80\x02ctorch._utils\n_rebuild_parameter\nK\x01\x88N\x87R.",
    "a named module": b"\x80\x02\x8c\x02os\x8c\x06system\x93.",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_pickle_is_refused_in_one_sentence(
    name: str, tmp_path: Path, golden_dir: Path, golden_config: Sam3Config
) -> None:
    path = tmp_path / "sam3.pt"
    with_pickle(path, golden_dir / "model.pt", MALFORMED[name])
    with pytest.raises(CheckpointError) as caught:
        load(path, golden_config)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_compressed_or_huge_pickle_is_refused_before_it_is_read(
    tmp_path: Path, golden_dir: Path, golden_config: Sam3Config
) -> None:
    path = tmp_path / "sam3.pt"
    with_pickle(path, golden_dir / "model.pt", bytes(1 << 28), compress_type=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed inside"):
        load(path, golden_config)
    with_pickle(path, golden_dir / "model.pt", bytes(17 << 20))
    with pytest.raises(CheckpointError, match="17,825,792 bytes of pickle beside its tensors"):
        load(path, golden_config)


def test_files_that_are_not_regular_are_refused_at_once(
    tmp_path: Path, golden_config: Sam3Config
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(100 << 30)
    for path, message in (
        (tmp_path / "pipe", "it is a named pipe, not a regular file"),
        (Path("/dev/zero"), "it is a device, not a regular file"),
        (tmp_path / "sparse", "it has 107,374,182,400 bytes, more than"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load(path, golden_config)
        with pytest.raises(CheckpointError, match=message):
            weights_fingerprint(path)
        with pytest.raises(CheckpointError, match=message):
            text_fingerprint(path, golden_config)


def test_layers_are_compared_with_the_file_before_any_is_built(
    golden_dir: Path, golden_config: Sam3Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(*_: object) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr("activesam_ros.sam3.checkpoint.Sam3ImageModel", built)
    monkeypatch.setattr("activesam_ros.sam3.checkpoint.TextEncoder", built)
    for name in ("text_layers", "encoder_layers", "decoder_layers", "geometry_layers"):
        config = dataclasses.replace(golden_config, **{name: 64})  # type: ignore[arg-type]
        for loader in (load_image_model, load_text_encoder):
            with pytest.raises(CheckpointError, match=rf"\({name}=64\).*the --config"):
                loader(golden_dir / "model.pt", config, CPU, torch.float32)


def test_zeroed_embeddings_have_another_fingerprint(
    tmp_path: Path, golden_config: Sam3Config, state: State
) -> None:
    """Also where the file keeps its name, size and time, as whoever changes it may see to."""
    key = f"{TEXT_STAGE}.encoder.token_embedding.weight"
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    before, times = text_fingerprint(path, golden_config), path.stat()
    zeroed = state[key].clone()
    zeroed.view(-1)[:758_517] = 0
    assert not torch.equal(zeroed, state[key])
    content = save({**state, key: zeroed})
    assert len(content) == times.st_size
    with path.open("r+b") as stream:
        stream.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert text_fingerprint(path, golden_config) != before


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
