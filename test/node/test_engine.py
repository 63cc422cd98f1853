"""Loading, warming up, and memory that is excluded from garbage collections."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from activesam_ros.errors import SignaturesError
from activesam_ros.node import engine
from activesam_ros.node.budget.degradation import BudgetLevel, Step
from activesam_ros.node.engine import (
    CompiledVocabulary,
    load_engine,
    release_memory,
    settle_memory,
    use_cpu_threads,
    warm_up,
)
from activesam_ros.node.parameters.options import NodeOptions, NodeParameters
from activesam_ros.pipeline import NetworkOptions
from activesam_ros.prompts.vocabulary import vocabulary_from_names
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.resources import default_weights
from activesam_ros.sam3.checkpoint import weights_fingerprint
from activesam_ros.segmentation.active_set import Chooser
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.segmentation.signatures import read_signatures
from activesam_ros.settings import Settings

if TYPE_CHECKING:
    from test.fixtures.signature_fixtures import SignatureFile


@dataclass
class FakeSegmenter:
    """Segments nothing; notes the sizes of batches and of the previews that choosers ask for."""

    batches: list[int] = field(default_factory=list)
    previewed: list[int] = field(default_factory=list)

    def segment_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        wanted: Sequence[Wanted],
        choosers: Sequence[Chooser | None],
    ) -> Iterator[Segmentation]:
        self.batches.append(len(images))
        for chooser in choosers:
            if chooser is not None:
                queries = chooser.choose_preview(np.zeros((8, 8, 3), np.uint8))
                self.previewed.append(len(queries))
                chosen = chooser.choose_decode(torch.full((len(queries),), 0.5))
                chooser.finish(dict.fromkeys(chosen, 0.0))
        return iter(())


def compiled(settings: Settings, *segmenters: FakeSegmenter) -> CompiledVocabulary:
    vocabulary = vocabulary_from_names([f"class {number}" for number in range(10)])
    levels = tuple(BudgetLevel(Step(place), settings) for place in range(len(segmenters)))
    fakes = cast("tuple[Segmenter, ...]", segmenters)
    return CompiledVocabulary(vocabulary, levels, fakes, cache_hit=False)


def parameters(camera_batch: int, cameras: int) -> NodeParameters:
    names = [f"camera{number}" for number in range(cameras)]
    return NodeParameters.from_mapping({"camera_batch": camera_batch, "cameras": names})


@pytest.mark.parametrize(
    ("camera_batch", "cameras", "batches"),
    [(1, 4, [1]), (4, 4, [1, 2, 3, 4]), (4, 3, [1, 2, 3]), (3, 8, [1, 2, 3]), (8, 0, [1])],
)
def test_every_level_is_warmed_up_with_every_number_of_images(
    camera_batch: int, cameras: int, batches: list[int]
) -> None:
    segmenters = [FakeSegmenter() for _ in range(3)]
    warm_up(compiled(Settings(), *segmenters), parameters(camera_batch, cameras))
    assert [segmenter.batches for segmenter in segmenters] == [batches] * 3


def test_a_stream_is_warmed_up_with_a_full_preview_and_a_slice() -> None:
    segmenter = FakeSegmenter()
    settings = Settings(max_active=2, preview_interval=5, streaming=True)
    warm_up(compiled(settings, segmenter), parameters(camera_batch=2, cameras=2))
    assert segmenter.previewed == [10, 2, 10, 10, 2, 2]


def test_what_was_settled_is_freed_when_it_is_dropped() -> None:
    class Knot:
        """Refers to itself, so that only the garbage collector can free it."""

        def __init__(self) -> None:
            self.itself = self

    knot = Knot()
    settled = weakref.ref(knot)
    settle_memory()
    del knot
    gc.collect()
    assert settled() is not None, "the collector passes over it"
    later = weakref.ref(Knot())
    gc.collect()
    assert later() is None, "and finds what comes later"
    release_memory()
    assert settled() is None
    gc.unfreeze()


@pytest.mark.parametrize(("cores", "threads"), [({0}, 1), ({0, 2, 5}, 2), (set(range(9)), 8)])
def test_one_of_the_cores_that_the_process_may_use_is_left_to_others(
    cores: set[int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores)
    try:
        use_cpu_threads(0)
        assert torch.get_num_threads() == threads
        use_cpu_threads(3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_paths_of_parameters_may_be_in_the_home_folder(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("model.pt", "config.json"):
        (tmp_path / name).symlink_to(golden / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    options = NodeOptions(
        weights="~/model.pt", config_file="~/config.json", cache_dir="~/cache", device="cpu"
    )
    engine = load_engine(options)
    engine.compile(vocabulary_from_names(["road"]), NodeParameters(options))
    assert list((tmp_path / "cache").iterdir())


def test_a_node_without_weights_takes_the_default_of_the_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[NetworkOptions] = []
    monkeypatch.setattr(engine, "load_network", asked.append)
    load_engine(NodeOptions())
    load_engine(NodeOptions(weights="~/sam3.pt"))
    assert [options.weights for options in asked] == [
        default_weights(),
        Path("~/sam3.pt").expanduser(),
    ]


def test_signatures_of_other_weights_or_without_names_are_used_with_a_warning(
    golden_dir: Path,
    golden_v2_dir: Path,
    tmp_path: Path,
    signature_file: SignatureFile,
    caplog: pytest.LogCaptureFixture,
) -> None:
    weights = golden_dir / "model.pt"
    loaded = load_engine(
        NodeOptions(
            method="activesam2", weights=str(weights), device="cpu", cache_dir=str(tmp_path)
        )
    )
    names = ["road", "car", "bus"]
    same = signature_file(names, weights_fingerprint(weights))
    other = signature_file(names, "0" * 64)
    given = {"method": "activesam2", "tau": 0.0}
    compiled = loaded.compile(
        vocabulary_from_names(names),
        NodeParameters.from_mapping(given | {"signatures": str(same)}),
    )
    assert compiled.signatures == "in use"
    assert caplog.messages == []
    # Named by a live change, kept by another.
    for sigma in (0.15, 0.2):
        changed = given | {"signatures": str(other), "sigma": sigma}
        compiled = loaded.with_parameters(compiled, NodeParameters.from_mapping(changed))
        assert compiled.signatures == "in use"
        (message,) = caplog.messages
        assert f"{other} was calibrated with other weights" in message
    caplog.clear()
    nameless = golden_v2_dir / "voc20.signatures.npz"
    parameters = NodeParameters.from_mapping(given | {"signatures": str(nameless)})
    twenty = load_vocabulary(str(golden_v2_dir / "voc20.vocabulary.txt"))
    assert loaded.compile(twenty, parameters).signatures == "in use"
    (message,) = caplog.messages
    assert f"{nameless} does not name its 20 classes" in message


def test_names_that_two_vocabularies_share_keep_their_signatures(
    golden_dir: Path, tmp_path: Path, signature_file: SignatureFile
) -> None:
    weights = golden_dir / "model.pt"
    file = signature_file(["road", "car", "bus"], "")
    loaded = load_engine(
        NodeOptions(
            method="activesam2", weights=str(weights), device="cpu", cache_dir=str(tmp_path)
        )
    )
    given = {"method": "activesam2", "tau": 0.0, "signatures": str(file)}
    parameters = NodeParameters.from_mapping(given)
    swapped = loaded.compile_for_swap(vocabulary_from_names(["dog", "bus", "road"]), parameters)
    assert swapped.signatures == "in use"
    written = read_signatures(file)
    concepts = swapped.segmenters[0]._labeller.concepts
    assert concepts is not None
    used, _ = concepts
    assert used.calibrated.tolist() == [False, True, True]
    assert used.winning[1, 2] == written.winning[2, 0]
    assert used.exclusive[2, 1] == written.exclusive[0, 2]
    other = vocabulary_from_names(["dog", "cat"])
    dropped = loaded.compile_for_swap(other, parameters)
    assert dropped.signatures.startswith("dropped: The signatures are of other classes ('road'")
    with pytest.raises(SignaturesError, match=r"of other classes \('road', ...\).*\('dog', ...\)"):
        loaded.compile(other, parameters)


def test_signatures_that_do_not_fit_a_new_vocabulary_are_dropped(
    golden_dir: Path, golden_v2_dir: Path, tmp_path: Path
) -> None:
    signatures = golden_v2_dir / "voc20.signatures.npz"  # of 20 classes without names
    loaded = load_engine(
        NodeOptions(
            method="activesam2",
            weights=str(golden_dir / "model.pt"),
            device="cpu",
            cache_dir=str(tmp_path),
        )
    )
    given = {"method": "activesam2", "signatures": str(signatures), "tau": 0.0}
    parameters = NodeParameters.from_mapping(given)
    twenty = load_vocabulary(str(golden_v2_dir / "voc20.vocabulary.txt"))
    fitting = loaded.compile(twenty, parameters)
    assert fitting.signatures == "in use"
    other = vocabulary_from_names(["road", "car"])
    with pytest.raises(SignaturesError, match="of 20 classes and the vocabulary has 2"):
        loaded.compile(other, parameters)
    swapped = loaded.compile_for_swap(other, parameters)
    assert swapped.signatures.startswith("dropped: The signatures are of 20 classes")
    # A change of another parameter neither brings them back nor fails.
    changed = loaded.with_parameters(swapped, NodeParameters.from_mapping(given | {"sigma": 0.3}))
    assert changed.dropped == swapped.dropped
    assert changed.segmenters[0].settings.sigma == 0.3
    without = loaded.with_parameters(
        swapped, NodeParameters.from_mapping(given | {"signatures": ""})
    )
    assert without.signatures == "none"
