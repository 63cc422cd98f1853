"""Makes stages_float64.npz and decisions_float64.npz: the references in float64.

    python test/data/golden/make_float64.py

README.md beside this file says what the two files hold, what this needs and how to run it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from methods import CASES, Case, class_scores, labels, object_probabilities, resized, segment
from numpy.typing import NDArray
from PIL import Image
from references import CONFIG, FOLDER, MetaModules, Transformers, in_double

RESOLUTIONS = (168, 112)
BUCKET = 32
# Of all class scores, every so many rows and columns are kept.
SAMPLE = 7
# Objects whose probability is this near to the threshold may count in float32 or not: seven times
# the noise of most queries; objects of noisier ones are further away. A pixel is contested where
# the score of a class depends on that and comes so near to the best.
NEAR = 4e-3
REACH = 0.02

Arrays = dict[str, NDArray[Any]]


def stages() -> Arrays:
    """Every tensor of stages.npz that is computed from others."""
    golden = np.load(FOLDER / "stages.npz")
    token_ids = torch.from_numpy(golden["text.token_ids"])
    made: Arrays = {}
    for resolution in RESOLUTIONS:
        network = MetaModules(resolution)
        features, embeddings = network.text(token_ids)
        made["text.features"] = features.transpose(0, 1).numpy()
        made["text.token_embeddings"] = embeddings.transpose(0, 1).numpy()
        pixels = torch.from_numpy(golden[f"r{resolution}.pixels"]).double()
        witness = Transformers(resolution).stages(pixels, token_ids)
        for name, tensor in network.stages(pixels, token_ids).items():
            made[f"r{resolution}.{name}"] = tensor.numpy()
            error = float((witness[name] - tensor).abs().max() / tensor.abs().max())
            print(f"r{resolution}.{name}: transformers' is {error:.1e} away")
            assert error < 1e-9
    for name, array in made.items():
        assert array.dtype == np.float64, name
        assert array.shape == golden[name].shape, name
    return made


def decisions(case: Case) -> Arrays:
    """What the methods make of a case, and the pixels that they saw."""
    settings = case.settings
    image = np.array(Image.open(FOLDER / settings["image"]).convert("RGB"))
    size = (image.shape[0], image.shape[1])
    threshold = settings["confidence_threshold"]
    pixels = resized(image, CONFIG.resolution)
    preview = resized(image, settings["preview_resolution"])
    frame = segment(case, pixels, preview, BUCKET)
    scores = class_scores(case, frame, threshold, size)
    best, second = scores.topk(2, dim=0).values
    most = class_scores(case, frame, threshold - NEAR, size)
    least = class_scores(case, frame, threshold + NEAR, size)
    differs = most > least  # [C, H, W]
    made: Arrays = {
        "labels": labels(case, scores),
        "best": best.numpy().astype(np.float32),
        "contested": (differs & (most > best - REACH)).any(dim=0).numpy(),
        "contested_classes": differs.flatten(1).any(dim=1).numpy(),
        "objects": object_probabilities(frame.outputs).numpy(),
    }
    if frame.presence is not None:
        made |= {
            "active": np.array(frame.active),
            "presence": frame.presence.numpy(),
            "scores": scores[:, ::SAMPLE, ::SAMPLE].numpy().astype(np.float32),
            "pixels": pixels,
            "preview_pixels": preview,
        }
    _report(case, made, float((best - second).min()))
    return made


def _report(case: Case, made: Arrays, margin: float) -> None:
    """Say how near to a tie the case is, and how far the stored float32 results are."""
    golden = np.load(FOLDER / f"{case.key}.npz")
    print(case.key)
    print(f"  labels equal to the float32 ones: {(golden['labels'] == made['labels']).mean():.4%}")
    print(f"  smallest best - second: {margin:.1e}")
    print(f"  contested pixels: {made['contested'].mean():.2%}")
    print(f"  contested classes: {made['contested_classes'].sum()}")
    if case.segearth:
        top = golden["top_score"].astype(np.float64)
        print(f"  top score, float32 - float64: {np.abs(top - made['best']).max():.1e}")
        return
    presence, active = made["presence"], made["active"]
    assert np.array_equal(active, golden["active"])
    print(f"  presence, float32 - float64: {np.abs(golden['presence'] - presence).max():.1e}")
    error = np.abs(golden["scores"][:, ::SAMPLE, ::SAMPLE].astype(np.float64) - made["scores"])
    print(f"  scores, float32 - float64: {error.max():.1e}")
    dropped = np.delete(presence, active)
    if len(dropped):
        gap = presence[active].min() - dropped.max()
        print(f"  lowest presence kept - highest dropped: {gap:.1e}")


def save(name: str, arrays: Arrays) -> None:
    """Write an archive beside this script."""
    save_arrays: Any = np.savez_compressed
    save_arrays(FOLDER / name, **arrays)


@torch.inference_mode()
def main() -> None:
    """Write both files beside this script."""
    with in_double():
        save("stages_float64.npz", stages())
        made = {
            f"{case.key}.{name}": array for case in CASES for name, array in decisions(case).items()
        }
        save("decisions_float64.npz", made)


if __name__ == "__main__":
    main()
