"""Measures how far the references themselves are from float64 when they run in float32.

    python test/data/golden/measure_noise.py

Writes noise.json and prints the table of README.md beside this file. Every column is a process
whose libraries are held to other instructions, every figure the largest over Meta's modules and
transformers', prompts together and one by one, 168 and 112 pixels, one and two threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from methods import CASES, Case, Frame, class_scores, object_probabilities, segment
from numpy.typing import NDArray
from references import FOLDER, MetaModules, Transformers, in_double
from torch import Tensor

# Of each column: the environment variables, and the numbers of threads.
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
SSE4 = {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
COLUMNS: dict[str, tuple[dict[str, str], tuple[int, ...]]] = {
    "as it is": ({}, (1, 2)),
    "AVX2": ({"ATEN_CPU_CAPABILITY": "avx2", **AVX2}, (1,)),
    "ATen default": ({"ATEN_CPU_CAPABILITY": "default", **AVX2}, (1,)),
    "SSE4": ({"ATEN_CPU_CAPABILITY": "default", **SSE4}, (1,)),
}
BUCKETS = (32, 1)
STORED = "stored, AVX-512"

# Of each stage one number; of a frame one for each query or class.
Errors = dict[str, NDArray[Any]]


def largest(*measured: Errors) -> Errors:
    """Element by element."""
    worst: Errors = {}
    for errors in measured:
        for name, value in errors.items():
            worst[name] = np.maximum(worst.get(name, 0.0), value)
    return worst


def relative(found: Tensor, truth: NDArray[Any]) -> NDArray[Any]:
    """Largest difference by largest true value, []."""
    expected = torch.from_numpy(truth)
    return ((found - expected).abs().max() / expected.abs().max()).numpy()


def stage_runs(resolution: int, stored: Any) -> Iterator[dict[str, Tensor]]:
    """Every way in which the references compute the stages in float32."""
    token_ids = torch.from_numpy(stored["text.token_ids"])
    pixels = torch.from_numpy(stored[f"r{resolution}.pixels"])
    for network in (MetaModules(resolution), Transformers(resolution)):
        yield network.stages(pixels, token_ids)
        alone = [network.stages(pixels, token_ids[k : k + 1]) for k in range(len(token_ids))]
        # Where the prompts are, which is nowhere in what depends on the image alone.
        axes = {"geometry.tokens": 1, "encoder.memory": 1, "decoder": 2}
        yield {
            name: tensor
            if name.startswith("vision")
            else torch.cat(
                [one[name] for one in alone], dim=axes.get(name, axes.get(name.split(".")[0], 0))
            )
            for name, tensor in alone[0].items()
        }


def stage_errors() -> Errors:
    """Of each stage, the largest of all runs and of both resolutions."""
    found: list[Errors] = []
    with np.load(FOLDER / "stages.npz") as stored, np.load(FOLDER / "stages_float64.npz") as truth:
        for resolution in (168, 112):
            for run in stage_runs(resolution, stored):
                found.append(
                    {
                        name: relative(tensor, truth[f"r{resolution}.{name}"])
                        for name, tensor in run.items()
                    }
                )
        features, _ = MetaModules(112).text(torch.from_numpy(stored["text.token_ids"]))
        found.append({"text.features": relative(features.transpose(0, 1), truth["text.features"])})
    return largest(*found)


def frame_truth(case: Case) -> dict[str, NDArray[Any]]:
    """What decisions_float64.npz says of a case, and the pixels of its image."""
    with np.load(FOLDER / "decisions_float64.npz") as file:
        truth = {
            key.removeprefix(f"{case.key}."): file[key]
            for key in file.files
            if key.rpartition(".")[0] == case.key
        }
        for name in ("pixels", "preview_pixels"):
            truth[name] = file[f"{case.name}.{name}"]
    return truth


def run_frame(case: Case, bucket: int) -> tuple[Frame, Tensor]:
    """A case in the current precision, with the true active set; and the scores [C, H, W]."""
    truth = frame_truth(case)
    active = truth["active"].tolist() if "active" in truth else None
    frame = segment(case, truth["pixels"], truth["preview_pixels"], bucket, active)
    threshold = case.settings["confidence_threshold"]
    return frame, class_scores(case, frame, threshold, truth["labels"].shape)


def frame_errors(case: Case, true_scores: NDArray[Any], bucket: int) -> Errors:
    """Differences of each query's presence and of each class's scores where not contested."""
    truth = frame_truth(case)
    frame, scores = run_frame(case, bucket)
    objects = object_probabilities(frame.outputs).numpy()
    errors: Errors = {
        f"{case.key}.scores": score_errors(scores.numpy(), true_scores, truth["contested"]),
        f"{case.key}.objects": np.abs(objects - truth["objects"]).max(),
    }
    if frame.presence is not None:
        errors[f"{case.key}.presence"] = np.abs(frame.presence.numpy() - truth["presence"])
    return errors


def score_errors(
    scores: NDArray[Any], true_scores: NDArray[Any], contested: NDArray[np.bool_]
) -> NDArray[Any]:
    """The largest of each class, [C]."""
    errors: NDArray[Any] = np.abs(scores - true_scores)[:, ~contested].max(axis=1)
    return errors


@torch.inference_mode()
def measure(truths: Path) -> Errors:
    """Everything in this process; truths: a folder with the true scores of each case."""
    found = [stage_errors()]
    for case in CASES:
        true_scores = np.load(truths / f"{case.key}.npy")
        found += [frame_errors(case, true_scores, bucket) for bucket in BUCKETS]
    return largest(*found)


def stored_errors(truths: Path) -> Errors:
    """Of the tensors and results that are stored in float32, from a CPU with AVX-512."""
    found: list[Errors] = []
    with np.load(FOLDER / "stages.npz") as stored, np.load(FOLDER / "stages_float64.npz") as truth:
        for key in truth.files:
            name = key.partition(".")[2] if key.startswith("r1") else key
            found.append({name: relative(torch.from_numpy(stored[key]), truth[key])})
    for case in CASES:
        if case.segearth:
            continue
        with np.load(FOLDER / f"{case.key}.npz") as stored:
            scores = stored["scores"].astype(np.float32)
            found.append(
                {
                    f"{case.key}.scores": score_errors(
                        scores, np.load(truths / f"{case.key}.npy"), frame_truth(case)["contested"]
                    ),
                    f"{case.key}.presence": np.abs(
                        stored["presence"] - frame_truth(case)["presence"]
                    ),
                }
            )
    return largest(*found)


@torch.inference_mode()
def write_truths(folder: Path) -> None:
    """The scores of every case in float64, rounded to float32."""
    with in_double():
        for case in CASES:
            _, scores = run_frame(case, 32)
            np.save(folder / f"{case.key}.npy", scores.numpy().astype(np.float32))


def in_child(variables: dict[str, str], threads: int, truths: Path) -> Errors:
    """What :func:`measure` finds in a process with these variables."""
    environment = {**os.environ, **variables, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-W", "ignore", __file__, str(truths)]
    printed = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return {name: np.array(value) for name, value in json.loads(printed).items()}


def write(columns: dict[str, Errors]) -> None:
    """Write noise.json, and print the table."""
    columns["largest"] = largest(*columns.values())
    rounded = {
        name: [float(f"{number:.1e}") for number in value.tolist()]
        if value.ndim
        else float(f"{value:.1e}")
        for name, value in columns["largest"].items()
    }
    (FOLDER / "noise.json").write_text(json.dumps(rounded) + "\n")
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in columns["largest"]:
        shown = [
            f"{column[name].max():.1e}" if name in column else "" for column in columns.values()
        ]
        print(f"| {name} | " + " | ".join(shown) + " |")


def main() -> None:
    """Measure, write noise.json and print the table; as a child only print the measurements."""
    if sys.argv[1:]:
        found = measure(Path(sys.argv[1]))
        print(json.dumps({name: value.tolist() for name, value in found.items()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        truths = Path(folder)
        write_truths(truths)
        columns = {STORED: stored_errors(truths)}
        for name, (variables, threads) in COLUMNS.items():
            columns[name] = largest(*(in_child(variables, count, truths) for count in threads))
            print(f"{name}: done", file=sys.stderr)
    write(columns)


if __name__ == "__main__":
    main()
