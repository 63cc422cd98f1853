"""Compare the package with a folder of golden data, another network's or vocabulary's too.

    python -m benchmarks.check_golden activesam2 test/data/golden/v2 \
        --weights test/data/golden/model.pt

Prints the largest difference of each array and exits with 1 where one is above its bound.
test/data/golden/v2/README.md describes the layout.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.errors import ActiveSamError, UsageError
from activesam_ros.image_files import read_image
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.segmentation.active_set import PreviewAll, Selection
from activesam_ros.segmentation.methods import METHODS, Method, default_settings
from activesam_ros.segmentation.pixels import NetworkInputs, network_pixels
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings

EXIT_ABOVE_BOUND = 1
EXIT_BAD_INPUT = 2
PRESENCE_BOUND = 2e-3
SCORE_BOUND = 1e-2
# Share of the pixels that may have another label.
LABEL_BOUND = 2e-3
SAME_SETTINGS = (
    *("resolution", "preview_resolution", "preview_layers", "preview_queries", "tau", "sigma"),
    *("confidence_threshold", "neighbor_tokens", "hypernym_tokens", "background_offset"),
)

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Difference:
    """The largest difference of an array, and what is allowed."""

    array: str
    largest: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the difference is within the bound; false for NaN."""
        return self.largest <= self.bound


def case_settings(recorded: Mapping[str, Any], vocabulary: Vocabulary, folder: Path) -> Settings:
    """The settings of a golden case."""
    values = {name: recorded[name] for name in SAME_SETTINGS if name in recorded}
    background = recorded.get("background_label")
    if background is not None:
        values["background_class"] = vocabulary.classes[background].name
    if "signatures" in recorded:
        values["signatures"] = str(folder / recorded["signatures"])
    values["screening_chunk"] = recorded["bucket_size"]
    return default_settings(Method.ACTIVESAM2).replace(values)


class StoredInputs(NetworkInputs):
    """One image, given as the network sees it: uint8 [1, 3, R, R] for each resolution R."""

    def __init__(self, stored: Mapping[int, Tensor], dtype: torch.dtype) -> None:
        super().__init__([], dtype)
        self._stored = {
            side: network_pixels(levels, side, dtype) for side, levels in stored.items()
        }

    def one(self, place: int, resolution: int) -> Tensor:
        """See NetworkInputs."""
        return self._stored[resolution]


class StoredPixels(Segmenter):
    """Segments images whose resized pixels are given, since kernels resize differently."""

    stored: Mapping[int, Tensor]

    def network_inputs(self, sources: Sequence[Tensor]) -> NetworkInputs:
        """The stored pixels by resolution, in place of resized ones."""
        return StoredInputs(self.stored, self.model.dtype)


class RecordedPresence(PreviewAll):
    """Remembers the presence of the admitted queries."""

    presence: Mapping[int, float]

    def finish(self, presence: Mapping[int, float]) -> None:
        self.presence = presence


def golden_segmenter(
    network: Network, folder: Path, recorded: Mapping[str, Any], arrays: Arrays
) -> Segmenter:
    """What segments the image of a golden case, from its stored pixels where they are given."""
    vocabulary = load_vocabulary(str(folder / recorded["vocabulary"]))
    settings = case_settings(recorded, vocabulary, folder)
    table = network.compile(vocabulary, settings, Method.ACTIVESAM2).table
    segmenter = StoredPixels(
        network.model_for(settings),
        table.to(network.device, network.dtype),
        settings,
        Method.ACTIVESAM2,
        support=network.support,
    )
    segmenter.stored = {
        arrays[name].shape[-1]: torch.from_numpy(arrays[name])[None]
        for name in ("pixels", "preview_pixels")
        if name in arrays
    }
    return segmenter


def check_case(network: Network, folder: Path, name: str) -> Iterator[Difference]:
    """The differences of one case of ActiveSAM 2: NAME.json, NAME.npz and its image."""
    recorded = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)
    segmenter = golden_segmenter(network, folder, recorded, arrays)
    vocabulary, settings = segmenter.prompts.vocabulary, segmenter.settings
    chooser = RecordedPresence(
        Selection(True, METHODS[Method.ACTIVESAM2].resolved(settings)),
        len(vocabulary.queries),
        METHODS[Method.ACTIVESAM2].admitted_always(vocabulary, settings),
    )
    result = segmenter.segment(read_image(folder / recorded["image"]), Wanted(scores=True), chooser)
    if "preview_presence" in arrays:
        yield _difference("preview_presence", result.preview_presence, arrays, PRESENCE_BOUND)
        yield _same("admitted", result.admitted_queries, arrays)
        final = [chooser.presence.get(query, 0.0) for query in range(len(vocabulary.queries))]
        yield _difference("presence", final, arrays, PRESENCE_BOUND)
    yield _same("survivors", result.active_queries, arrays)
    assert result.scores is not None
    yield _difference("scores", result.scores, arrays, SCORE_BOUND)
    classes = np.array([entry.id for entry in vocabulary.classes])
    expected = classes[arrays["labels_ecd" if settings.signatures else "labels_argmax"]]
    yield Difference("labels_ecd", float((result.labels != expected).mean()), LABEL_BOUND)
    plain = _without_signatures(segmenter, folder, recorded, chooser)
    different = plain.labels != classes[arrays["labels_argmax"]]
    yield Difference("labels_argmax", float(different.mean()), LABEL_BOUND)


def _without_signatures(
    segmenter: Segmenter, folder: Path, recorded: Mapping[str, Any], chooser: RecordedPresence
) -> Segmentation:
    assert isinstance(segmenter, StoredPixels)
    other = StoredPixels(
        segmenter.model,
        segmenter.prompts,
        segmenter.settings.replace({"signatures": ""}),
        segmenter.method,
        support=segmenter.support,
    )
    other.stored = segmenter.stored
    return other.segment(read_image(folder / recorded["image"]), chooser=chooser)


def _same(name: str, found: Sequence[int], arrays: Arrays) -> Difference:
    """How many entries one of two lists has alone."""
    return Difference(name, float(len(set(found) ^ set(arrays[name].tolist()))), 0.0)


def _difference(
    name: str, found: Sequence[float | None] | NDArray[Any], arrays: Arrays, bound: float
) -> Difference:
    error = np.asarray(found, np.float64) - arrays[name].astype(np.float64)
    return Difference(name, float(np.abs(error).max()), bound)


def case_names(folder: Path) -> list[str]:
    """The cases of a folder; raises UsageError if there is none."""
    names = [
        path.stem
        for path in sorted(folder.glob("*.json"))
        if "survivors" in _array_names(path.with_suffix(".npz"))
    ]
    if not names:
        raise UsageError(f"{folder} holds no golden case (NAME.json beside NAME.npz).")
    return names


def _array_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with np.load(path) as arrays:
        return list(arrays.files)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, and print a line for each array."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.check_golden", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("what", choices=["activesam2"], help="what the folder holds")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--config", type=Path, metavar="FILE", help="config.json of the weights")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args(argv)
    try:
        network = load_network(
            NetworkOptions(
                weights=arguments.weights,
                config=arguments.config,
                device=arguments.device,
                dtype="float32",
            )
        )
        held = True
        for name in case_names(arguments.folder):
            for difference in check_case(network, arguments.folder, name):
                mark = "" if difference.holds else "  ABOVE THE BOUND"
                print(
                    f"{name:24} {difference.array:18} {difference.largest:10.3g} of "
                    f"{difference.bound:g}{mark}",
                    flush=True,
                )
                held &= difference.holds
    except ActiveSamError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0 if held else EXIT_ABOVE_BOUND


if __name__ == "__main__":
    sys.exit(main())
