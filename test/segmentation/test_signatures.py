"""Signature files: what loads, what is refused, and how signatures follow a vocabulary."""

from __future__ import annotations

import io
import json
import math
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from activesam_ros.errors import SignaturesError
from activesam_ros.segmentation.signatures import SIGNATURE_EPS, Signatures, read_signatures

FILES = ("coco_object", "context59", "street_aliases", "voc20")


@pytest.mark.parametrize("name", FILES)
def test_the_authors_files_load(golden_v2_dir: Path, name: str) -> None:
    path = golden_v2_dir / f"{name}.signatures.npz"
    signatures = read_signatures(path)
    with np.load(path) as arrays:
        assert (signatures.calibrated == ~arrays["uncalibrated"]).all()
        assert (signatures.winning == arrays["R_a"]).all()
        assert (signatures.exclusive == arrays["R_e"]).all()
        mass = float(arrays["m_bg"])
    assert signatures.background_mass == (None if math.isnan(mass) else mass)
    assert signatures.names is None


def of_names(*names: str) -> Signatures:
    count = len(names)
    rows = np.arange(count * count, dtype=np.float32).reshape(count, count) / np.float32(100)
    return Signatures(
        rows,
        rows + np.float32(0.5),
        -np.arange(count, dtype=np.float32),
        np.ones(count, bool),
        0.1,
        names,
    )


def test_signatures_follow_the_names_of_a_vocabulary() -> None:
    known = of_names("road", "car", "bus")
    moved = known.for_names(["bus", "dog", "road"])
    assert moved.names == ("bus", "dog", "road")
    assert moved.calibrated.tolist() == [True, False, True]
    assert moved.winning[0, 2] == known.winning[2, 0]
    assert moved.exclusive[2, 0] == known.exclusive[0, 2]
    assert moved.winning[0, 1] == moved.winning[1, 2] == np.float32(SIGNATURE_EPS)
    assert moved.log_mass.tolist() == [-2, -2, 0]
    assert known.for_names(["road", "car", "bus"]) is known


def test_signatures_of_other_names_or_another_size_are_refused(golden_v2_dir: Path) -> None:
    with pytest.raises(SignaturesError, match=r"of other classes \('road'.*'cat'"):
        of_names("road", "car").for_names(["cat", "dog"])
    with pytest.raises(SignaturesError, match="of 20 classes and the vocabulary has 3"):
        read_signatures(golden_v2_dir / "voc20.signatures.npz").for_names(["a", "b", "c"])


class Exploit:
    """What a pickle can run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


def test_a_file_runs_no_code(
    golden_v2_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(golden_v2_dir / "voc20.signatures.npz") as file:
        arrays = dict(file)
    path = tmp_path / "bad.npz"
    with path.open("wb") as file:
        np.savez(file, **{**arrays, "R_a": np.array([Exploit()], dtype=object)})
    with pytest.raises(SignaturesError, match=r"bad\.npz is not a signature file \(R_a is object"):
        read_signatures(path)
    assert capsys.readouterr().out == ""


def test_damaged_files_are_refused_in_one_sentence(golden_v2_dir: Path, tmp_path: Path) -> None:
    with np.load(golden_v2_dir / "voc20.signatures.npz") as file:
        good = dict(file)
    damaged = {
        "cut": {**good, "R_a": good["R_a"][:3]},
        "nan": {**good, "R_e": np.full_like(good["R_e"], np.nan)},
        "whole": {**good, "R_a": good["R_a"].astype(int)},
        "meta": {**good, "meta": np.array("[]")},
        "constants": {**good, "meta": np.array(json.dumps({"constants": {}}))},
        "missing": {name: array for name, array in good.items() if name != "log_mass"},
    }
    for name, arrays in damaged.items():
        path = tmp_path / f"{name}.npz"
        with path.open("wb") as file:
            np.savez(file, **arrays)
        with pytest.raises(SignaturesError):
            read_signatures(path)
    for name, content in {"empty": b"", "text": b"R_a", "zip": b"PK\x03\x04 cut"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SignaturesError, match=f"{name} "):
            read_signatures(tmp_path / name)
    with pytest.raises(SignaturesError, match="cannot be read"):
        read_signatures(tmp_path / "nowhere.npz")


def header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """The beginning of an array in a file."""
    stream = io.BytesIO()
    fields = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("R_a", header((8192, 8192))),  # 256 MiB that are not there
        ("R_a", header((1 << 40, 1 << 40))),
        ("R_a", header((-1, 4))),
        ("log_mass", header((1 << 20,))),
        ("meta", header((), "<U99999999")),
        ("m_bg", header((), "|V8")),
        ("mass_argmax", b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65535),
    ],
)
def test_what_an_array_claims_takes_no_memory(
    golden_v2_dir: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / "claims.npz"
    with (
        zipfile.ZipFile(golden_v2_dir / "voc20.signatures.npz") as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for entry in source.namelist():
            made.writestr(entry, content if entry == f"{name}.npy" else source.read(entry))
    tracemalloc.start()
    with pytest.raises(SignaturesError, match=r"claims\.npz is not a signature file"):
        read_signatures(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4 << 20


def test_a_pipe_or_a_huge_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    with (tmp_path / "sparse.npz").open("wb") as file:
        file.truncate(1 << 40)
    for name, reason in {"pipe.npz": "a named pipe", "sparse.npz": "more than the"}.items():
        with pytest.raises(SignaturesError, match=reason):
            read_signatures(tmp_path / name)


def test_compressed_and_transposed_arrays_are_read(golden_v2_dir: Path, tmp_path: Path) -> None:
    with np.load(golden_v2_dir / "voc20.signatures.npz") as file:
        arrays = dict(file)
    arrays["R_a"] = np.asfortranarray(arrays["R_a"]).astype(">f4")
    with (tmp_path / "other.npz").open("wb") as file:
        np.savez_compressed(file, **arrays)
    found = read_signatures(tmp_path / "other.npz")
    assert (found.winning == arrays["R_a"]).all()
    assert found.winning.dtype == np.float32
