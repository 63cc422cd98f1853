"""The kernel of exclusive decoding: interpreted against the bands, and compiled for GPUs."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from activesam_ros.pipeline import Network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.segmentation import decode
from activesam_ros.segmentation.device.support import DeviceSupport
from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.exclusive_decoding.bands import decode_concepts
from activesam_ros.segmentation.exclusive_decoding.class_maps import ClassMaps
from activesam_ros.segmentation.exclusive_decoding.decoder import ConceptDecoder
from activesam_ros.segmentation.exclusive_decoding.kernel_or_bands import ConceptKernel
from activesam_ros.segmentation.fuse import whole_axes
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Wanted
from activesam_ros.segmentation.score_maps.tiles import Axis
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings

pytest.importorskip("triton")
from activesam_ros.segmentation.exclusive_decoding import kernel

if TYPE_CHECKING:
    from test.fixtures.concept_scenes import Scene
else:
    from concept_scenes import Scene

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def maps_of(scene: Scene, dtype: torch.dtype = torch.float32, padding: int = 2) -> ClassMaps:
    """The maps of a scene, each query's with ``padding`` that do not count, in a random order."""
    generator = torch.Generator().manual_seed(len(scene.places))
    grid = scene.evidence[0].maps.shape[1:]
    maps, weights, places = [], [], []
    for place, one in zip(scene.places, scene.evidence, strict=True):
        maps += [one.maps, torch.full((padding, *grid), torch.nan)]
        weights += [one.weights, torch.zeros(padding)]
        places += [place] * (len(one.maps) + padding)
    mixed = torch.randperm(len(places), generator=generator)
    offsets = torch.arange(len(places)).remainder(3).div(4)
    logits = (torch.cat(maps)[mixed] - offsets[:, None, None]).to(dtype)
    parts = (logits, offsets, torch.cat(weights)[mixed], torch.tensor(places)[mixed])
    return ClassMaps.of(*(part.to(DEVICE) for part in parts), classes=len(scene.with_maps))


def launched(scene: Scene, maps: ClassMaps) -> tuple[Tensor, Tensor]:
    """What the kernel gives: labels and best scores [H, W]."""
    index, best = kernel.launch(scene.decoder(DEVICE), maps, *whole_axes(maps.maps, scene.size))
    return index.cpu(), best.cpu()


def by_bands(scene: Scene, maps: ClassMaps) -> tuple[Tensor, Tensor]:
    on_host = ClassMaps(*(part.cpu() for part in maps))
    return decode_concepts(scene.decoder(), on_host.evidence(), scene.size)


@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**31),
    classes=st.integers(1, 20),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    queries=st.integers(0, 4),
    rejected=st.integers(0, 3),
    background=st.booleans(),
    dtype=st.sampled_from(DTYPES),
)
def test_the_kernel_gives_what_the_bands_and_the_formulas_give(
    seed: int,
    classes: int,
    size: tuple[int, int],
    grid: tuple[int, int],
    queries: int,
    rejected: int,
    background: bool,
    dtype: torch.dtype,
) -> None:
    scene = Scene.random(
        seed, classes, size, grid=grid, queries=queries, rejected=rejected, background=background
    )
    maps = maps_of(scene, dtype)
    labels, best = launched(scene, maps)
    others, scores = by_bands(scene, maps)
    torch.testing.assert_close(best, scores, rtol=0, atol=1e-5)
    expected, _, clear = scene.expected()
    if dtype == torch.float32:
        assert (labels.numpy() == expected)[clear].all()
    assert (labels == others).numpy()[clear].all() or dtype != torch.float32
    assert (labels != others).float().mean() <= 0.01 + 1 / labels.numel()


@pytest.mark.parametrize("classes", [1, 16, 17, 64, 65, 200])
def test_any_number_of_classes(classes: int) -> None:
    """On both sides of a power of two, with several queries a class."""
    size = (11, 9) if classes < 65 else (5, 4)
    scene = Scene.random(classes, classes, size, queries=6, most_maps=2)
    maps = maps_of(scene, padding=1)
    labels, best = launched(scene, maps)
    expected, highest, clear = scene.expected()
    torch.testing.assert_close(best.numpy(), highest.astype("float32"), rtol=0, atol=1e-5)
    assert (labels.numpy() == expected)[clear].all()
    assert clear.mean() > 0.5


def test_the_first_of_equal_classes_wins() -> None:
    """Two classes with the same maps, signatures, presence and mass; in every pixel a tie."""
    scene = Scene.random(4, 6, (9, 20), rejected=0, background=False)
    maps = torch.full((6, 5, 6), 0.5)
    scene.signatures.winning[:] = 0.3
    scene.signatures.exclusive[:] = 0.3
    scene.signatures.log_mass[:] = -1
    scene.presence[:] = 0.5
    parts = (maps, torch.zeros(6), torch.ones(6), torch.arange(6))
    given = ClassMaps.of(*(part.to(DEVICE) for part in parts), classes=6)
    labels, best = launched(scene, given)
    assert (labels == int(scene.active[0])).all()
    assert torch.equal(labels, by_bands(scene, given)[0])
    torch.testing.assert_close(best, torch.full((9, 20), 0.5).sigmoid())


@pytest.mark.parametrize("background", [False, True])
def test_where_nothing_scores_it_is_as_without_the_kernel(background: bool) -> None:
    for seed in range(4):
        scene = Scene.random(seed, 3, (9, 20), background=background, rejected=2)
        parts = (torch.zeros(3, 4, 4), torch.zeros(3), torch.zeros(3), torch.arange(3))
        nothing = ClassMaps.of(*(part.to(DEVICE) for part in parts), classes=3)
        labels, best = launched(scene, nothing)
        others, scores = by_bands(scene, nothing)
        assert torch.equal(labels, others)
        assert not best.any()
        assert not scores.any()
        assert (labels.numpy() == Scene.expected(without_evidence(scene))[0]).all()


def without_evidence(scene: Scene) -> Scene:
    return dataclasses.replace(scene, places=(), evidence=())


@pytest.mark.parametrize("where", ["map", "weight"])
def test_what_is_no_number_shows_as_without_the_kernel(where: str) -> None:
    scene = Scene.random(5, 4, (40, 30), grid=(6, 6), most_maps=4)
    maps = maps_of(scene)
    if where == "map":
        maps.maps[int(maps.order[0]), 2, 3] = torch.nan
        maps.weights[0] = 1.0
    else:
        maps.weights[0] = torch.nan
    labels, best = launched(scene, maps)
    others, scores = by_bands(scene, maps)
    torch.testing.assert_close(best, scores, rtol=0, atol=1e-5, equal_nan=True)
    there = best.isfinite()
    assert there.any() == (where == "map")
    assert not there.all()
    assert (labels != others)[there].sum() <= 0.01 * there.sum()


def test_a_kernel_that_fails_is_said_once_and_left(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> tuple[Tensor, Tensor]:
        raise ValueError("no ptxas\nlong story")

    scene = Scene.random(2, 4, (20, 31))
    maps, by_kernel = maps_of(scene), ConceptKernel(broken)
    assert by_kernel.fits(DEVICE, torch.float32)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            labels, _ = by_kernel(scene.decoder(DEVICE), maps, scene.size)
    assert not by_kernel.fits(DEVICE, torch.float32)
    (record,) = caplog.records
    assert "ValueError: no ptxas)" in record.getMessage()
    assert torch.equal(labels.cpu(), by_bands(scene, maps)[0])


@pytest.mark.parametrize("part", [None, 0, 1])
def test_the_first_result_is_compared(part: int | None, caplog: pytest.LogCaptureFixture) -> None:
    def changed(
        decoder: ConceptDecoder, maps: ClassMaps, rows: Axis, columns: Axis
    ) -> tuple[Tensor, Tensor]:
        found = kernel.launch(decoder, maps, rows, columns)
        if part is not None:
            found[part][:3, :8] += 1
        return found

    scene = Scene.random(3, 5, (20, 31))
    maps, by_kernel = maps_of(scene), ConceptKernel(changed)
    with caplog.at_level(logging.WARNING):
        labels, best = by_kernel(scene.decoder(DEVICE), maps, scene.size)
    assert by_kernel.fits(DEVICE, torch.float32) == (part is None)
    assert ["differs from" in line for line in caplog.messages] == [True] * (part is not None)
    others, scores = by_bands(scene, maps)
    assert (labels.cpu() == others).float().mean() > 0.99
    torch.testing.assert_close(best.cpu(), scores, rtol=0, atol=1e-5)


def test_running_out_of_memory_is_not_the_kernels_failure() -> None:
    def full(*_: object) -> tuple[Tensor, Tensor]:
        raise torch.OutOfMemoryError("full")

    scene = Scene.random(2, 4, (20, 31))
    by_kernel = ConceptKernel(full)
    with pytest.raises(torch.OutOfMemoryError):
        by_kernel(scene.decoder(DEVICE), maps_of(scene), scene.size)
    assert by_kernel.fits(DEVICE, torch.float32)


def test_where_the_kernel_is_not_used() -> None:
    """Without a GPU it is not loaded, and it computes in float32 only."""
    assert not ConceptKernel().fits(torch.device("cpu"), torch.float32)
    assert not ConceptKernel(kernel.launch).fits(DEVICE, torch.float64)


@pytest.mark.parametrize("all_maps", [True, False])
def test_a_frame_by_kernel_equals_one_by_bands(
    network: Network, all_maps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all maps, and with those that count where all would take too much memory."""
    if not all_maps:
        monkeypatch.setattr(decode, "ALL_MAPS_BYTES", 0)
    calls = []

    def counted(*given: Any) -> tuple[Tensor, Tensor]:
        calls.append(len(given[1].maps))
        return kernel.launch(*given)

    names = tuple(
        VocabularyClass(
            id=i, names=(f"thing {i}", f"item {i}"), color=(0, 0, 0), hypernyms=((), ())
        )
        for i in range(6)
    )
    settings = Settings(tau=0.0, confidence_threshold=0.5, background_class="thing 2")
    signatures = Scene.random(0, 3, (1, 1), rejected=0).signatures
    prompts = network.segmenter(Vocabulary("things", names), settings, Method.ACTIVESAM2).prompts

    def segmenter(concepts: ConceptKernel) -> Segmenter:
        support = DeviceSupport(Transfer(network.device), concepts=concepts)
        return Segmenter(
            network.model,
            prompts,
            settings,
            Method.ACTIVESAM2,
            support=support,
            signatures=signatures,
        )

    image = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    by_kernel = segmenter(ConceptKernel(counted, compares=False))
    expected = segmenter(ConceptKernel()).segment(image, Wanted(confidence=True))
    found = by_kernel.segment(image, Wanted(confidence=True))
    assert len(calls) == 1
    assert (calls[0] == 12 * 201) <= all_maps
    assert (found.labels == expected.labels).mean() >= 0.999
    assert len(np.unique(found.labels)) > 1
    assert found.confidence is not None
    assert expected.confidence is not None
    assert np.abs(found.confidence.astype(int) - expected.confidence).max() <= 1
    kept = by_kernel.segment(image, Wanted(scores=True, confidence=True))
    assert len(calls) == 1, "the scores of all classes come from the bands"
    assert kept.scores is not None
    assert (kept.labels == expected.labels).all()
    assert np.abs(kept.scores.max(axis=0) * 255 - found.confidence).max() <= 1


COMPILE_SCRIPT = """
import json, re, subprocess, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from activesam_ros.segmentation.exclusive_decoding.kernel import (
    BLOCK, WARPS, concept_kernel, shape_of
)

POINTERS = {
    "index_ptr": "i32", "order_ptr": "i64", "starts_ptr": "i32", "row_cell_ptr": "i64",
    "column_cell_ptr": "i64", "classes_ptr": "i32", "calibrated_ptr": "i32",
    "unscored_ptr": "i32",
}
found = []
for capability, maps, classes in (
    (80, "bf16", 10), (87, "fp16", 40), (89, "bf16", 40), (90, "fp32", 40), (90, "bf16", 200)
):
    rows, tile_height, tile_width = shape_of(classes)
    constants = {
        "has_background": True, "rows": rows, "tile_height": tile_height,
        "tile_width": tile_width, "block": BLOCK,
    }
    signature = {
        name: "*" + (maps if name == "maps_ptr" else POINTERS.get(name, "fp32"))
        if name.endswith("_ptr") else "constexpr" if name in constants
        else "fp32" if name in ("null", "variance") else "i32"
        for name in concept_kernel.arg_names
    }
    source = ASTSource(concept_kernel, signature, constants)
    source.attrs = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(concept_kernel.arg_names) if name.endswith("_ptr")
    }
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": WARPS, "enable_fp_fusion": True},
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        tool = triton.knobs.nvidia.cuobjdump.path
        usage = subprocess.run(
            [tool, "--dump-resource-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    found.append({name: int(number) for name, number in re.findall("([A-Z]+):([0-9]+)", usage)})
print(json.dumps(found))
"""


def test_it_compiles_for_gpus() -> None:
    """For compute capability 8.0, 8.7, 8.9 and 9.0; the fits stay in registers."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", COMPILE_SCRIPT]
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    usages = json.loads(result.stdout)
    assert len(usages) == 5
    for usage in usages:
        assert 0 < usage["REG"] <= 255
        assert usage["STACK"] + usage["LOCAL"] <= 64, usages
        assert usage["SHARED"] <= 8192
