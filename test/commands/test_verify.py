"""How verify compares and what it reports; the reference itself needs a GPU and Meta's package."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from activesam_ros.commands.verify import (
    OUTPUTS,
    compare,
    encode_prompts,
    relative_difference,
    report,
)
from activesam_ros.errors import MissingDependencyError
from activesam_ros.reference import ReferenceOutputs, require_cuda
from activesam_ros.sam3.checkpoint import load_image_model
from activesam_ros.sam3.config import Sam3Config

CPU = torch.device("cpu")


@torch.inference_mode()
def test_each_output_is_compared(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = repository / "test/data/golden/model.pt"
    config = Sam3Config.from_json(weights.with_name("config.json"))
    model = load_image_model(weights, config, CPU, torch.float32)
    prompts = encode_prompts(weights, config, ["road", "car"], CPU)
    pixels = torch.rand(1, 3, 84, 84, generator=torch.Generator().manual_seed(0)) * 2 - 1
    detections = model.detect(model.encode_image(pixels), prompts)
    outputs = {
        "presence_logits": detections.presence_logits[0],
        "logits": detections.logits[0],
        "boxes": detections.boxes[0],
        "masks": torch.stack([detections.masks(0, index, slice(None)) for index in range(2)]),
        "semantic": detections.semantic[0],
    }
    assert set(outputs) == set(OUTPUTS)
    equal = compare(model, prompts, ReferenceOutputs(**outputs), pixels)
    assert all(value < 1e-4 for value in equal.values())
    for name in OUTPUTS:
        changed = outputs[name].clone()
        changed.view(-1)[0] += changed.abs().max()
        differences = compare(
            model, prompts, ReferenceOutputs(**{**outputs, name: changed}), pixels
        )
        assert differences[name] > 0.1
        assert all(value < 1e-4 for key, value in differences.items() if key != name)
    assert report([("street.jpg", equal)], tolerance=1e-2) == 0
    assert "equal within the tolerance" in capsys.readouterr().out
    assert report([("a.jpg", equal), ("b.jpg", differences)], tolerance=1e-2) == 1
    printed = capsys.readouterr().out
    assert "DIFFERENT" in printed
    assert "b.jpg" in printed


@pytest.mark.parametrize("place", range(len(OUTPUTS)))
def test_nan_never_passes(place: int, capsys: pytest.CaptureFixture[str]) -> None:
    values = [0.001] * len(OUTPUTS)
    values[place] = math.nan
    row = dict(zip(OUTPUTS, values, strict=True))
    good = dict.fromkeys(OUTPUTS, 0.002)
    assert report([("good.jpg", good), ("bad.jpg", row), ("good.jpg", good)], tolerance=1e-2) == 1
    assert "the largest relative difference is nan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ours", "theirs", "difference"),
    [
        ([0.0, math.nan], [0.0, 1.0], math.nan),
        ([0.0, 1.0], [math.nan, 1.0], math.nan),
        ([0.0, math.inf], [0.0, 1.0], math.inf),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([1.0, 2.0], [1.0, 4.0], 0.5),
    ],
)
def test_relative_difference(ours: list[float], theirs: list[float], difference: float) -> None:
    found = relative_difference(torch.tensor(ours), torch.tensor(theirs))
    assert found == pytest.approx(difference, nan_ok=True)


def test_a_cpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(MissingDependencyError, match="NVIDIA GPU and a CUDA build of PyTorch"):
        require_cuda(CPU)
