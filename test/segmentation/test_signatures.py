"""Signature files: what loads, what is refused, and how signatures follow a vocabulary."""

from __future__ import annotations

import json
import math
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


def test_a_file_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.npz"
    with path.open("wb") as file:
        np.savez(file, R_a=np.array([Exploit()], dtype=object))
    with pytest.raises(SignaturesError, match=r"bad\.npz is not a signature file; give one"):
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
