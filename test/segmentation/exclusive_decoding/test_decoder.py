"""Exclusive concept decoding equals what the authors' code decides, pixel by pixel."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from activesam_ros.segmentation.exclusive_decoding.decoder import (
    ConceptDecoder,
    ConceptRule,
    DeviceSignatures,
)
from activesam_ros.segmentation.signatures import Signatures, read_signatures

CPU = torch.device("cpu")
SIZES = ("small", "medium", "large")
VARIANTS = ("plain", "sigma", "background", "background_floor")
CASES = (
    *("aliases_background", "background_rejected", "none_passes", "none_passes_background"),
    *("one_window_preview", "screening", "tau_zero"),
)


def decode(
    signatures: Signatures,
    active: NDArray[np.int64],
    presence: NDArray[np.float32],
    scores: NDArray[Any],
    rule: ConceptRule,
    dtype: torch.dtype,
) -> NDArray[np.int64]:
    """Labels [H, W] from the scores [C, H, W] of all classes; presence: [C]."""
    rows = torch.from_numpy(active)
    decoder = ConceptDecoder(
        DeviceSignatures.of(signatures, CPU),
        rows,
        torch.from_numpy(presence)[rows].to(dtype),
        rule,
    )
    maps = torch.from_numpy(scores[active]).to(dtype)  # [n, H, W]
    return decoder.labels(maps.flatten(1)).view(maps.shape[1:]).numpy()


def case(folder: Path, name: str) -> tuple[Mapping[str, Any], dict[str, Any]]:
    with np.load(folder / f"{name}.npz") as arrays:
        return json.loads((folder / f"{name}.json").read_text()), dict(arrays)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", SIZES)
def test_the_authors_labels(
    golden_v2_dir: Path, size: str, variant: str, dtype: torch.dtype
) -> None:
    settings, arrays = case(golden_v2_dir, "ecd_function")
    given = {name: arrays[f"{size}.{name}"] for name in ("scores", "active", "presence")}
    chosen = settings[size][variant]
    signatures = Signatures(
        winning=arrays[f"{size}.R_a"],
        exclusive=arrays[f"{size}.R_e"],
        log_mass=arrays[f"{size}.log_mass"],
        calibrated=~arrays[f"{size}.uncalibrated"],
        background_mass=chosen["m_bg"],
    )
    rule = ConceptRule(chosen["sigma"], chosen["background_offset"], chosen["background_label"])
    labels = decode(signatures, given["active"], given["presence"], given["scores"], rule, dtype)
    expected = arrays[f"{size}.{variant}.labels"]
    assert (labels == expected).all()
    assert len(np.unique(expected)) > 2, "the labels must tell something"


@pytest.mark.parametrize("name", CASES)
def test_the_labels_of_whole_frames(golden_v2_dir: Path, name: str) -> None:
    settings, arrays = case(golden_v2_dir, name)
    rule = ConceptRule(
        settings["sigma"], settings["background_offset"], settings["background_label"]
    )
    labels = decode(
        read_signatures(golden_v2_dir / settings["signatures"]),
        arrays["active_classes"],
        arrays["class_presence"],
        arrays["scores"],
        rule,
        torch.float32,
    )
    assert (labels == arrays["labels_ecd_of_float16"]).all()


def test_a_background_that_calibration_did_not_know_never_wins(golden_v2_dir: Path) -> None:
    settings, arrays = case(golden_v2_dir, "none_passes_background")
    signatures = read_signatures(golden_v2_dir / settings["signatures"])
    background = settings["background_label"]
    labels = decode(
        dataclasses.replace(signatures, background_mass=None),
        arrays["active_classes"],
        arrays["class_presence"],
        arrays["scores"],
        ConceptRule(settings["sigma"], settings["background_offset"], background),
        torch.float32,
    )
    assert (labels == arrays["labels_ecd_without_null"]).all()
    assert (labels != arrays["labels_ecd"]).any()
