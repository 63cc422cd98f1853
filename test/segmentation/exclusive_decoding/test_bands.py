"""A whole image decoded in bands equals the formulas, in bounded memory."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from activesam_ros.segmentation.exclusive_decoding import bands
from activesam_ros.segmentation.exclusive_decoding.bands import decode_concepts
from activesam_ros.segmentation.exclusive_decoding.decoder import first_highest
from activesam_ros.segmentation.fuse import Evidence
from activesam_ros.segmentation.score_maps import tiles

if TYPE_CHECKING:
    from test.fixtures.concept_scenes import Scene
else:
    from concept_scenes import Scene

sides = st.integers(1, 80)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    classes=st.one_of(st.integers(1, 9), st.just(200)),
    size=st.tuples(sides, st.integers(1, 40)),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    queries=st.integers(0, 4),
    rejected=st.integers(0, 3),
    background=st.booleans(),
)
def test_bands_give_what_the_formulas_say(
    seed: int,
    classes: int,
    size: tuple[int, int],
    grid: tuple[int, int],
    queries: int,
    rejected: int,
    background: bool,
) -> None:
    scene = Scene.random(
        seed, classes, size, grid=grid, queries=queries, rejected=rejected, background=background
    )
    kept = np.zeros((2 * (classes + rejected), *size), np.float16)
    evidence = list(zip(scene.places, scene.evidence, strict=True))
    labels, best = decode_concepts(scene.decoder(), evidence, size, kept)
    expected, highest, clear = scene.expected()
    np.testing.assert_allclose(best.numpy(), highest, rtol=0, atol=1e-5)
    assert (labels.numpy() == expected)[clear].all()
    np.testing.assert_allclose(kept[scene.active], scene.scores(), rtol=0, atol=1e-3)
    assert not np.delete(kept, scene.active, axis=0).any()
    again, _ = decode_concepts(scene.decoder(), evidence, size)
    assert torch.equal(labels, again), "wanted scores change no label"


def test_the_labels_do_not_depend_on_the_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene.random(3, 7, (150, 90), queries=5, most_maps=6)
    evidence = list(zip(scene.places, scene.evidence, strict=True))
    labels, best = decode_concepts(scene.decoder(), evidence, scene.size)
    monkeypatch.setattr(bands, "BAND_VALUES", 7 * 96 * 90)
    monkeypatch.setattr(bands, "DECODED_VALUES", 1000)
    others, scores = decode_concepts(scene.decoder(), evidence, scene.size)
    assert torch.equal(best, scores)
    assert (labels == others).float().mean() > 0.999
    assert len(labels.unique()) > 3


def test_maps_are_enlarged_only_where_they_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two maps of a class, one is the higher everywhere but in a corner."""
    scene = Scene.random(0, 1, (160, 160), rejected=0)
    wide, corner = torch.full((1, 40, 40), 2.0), torch.full((1, 40, 40), -9.0)
    corner[:, :4, 36:] = 6.0
    evidence = [(0, Evidence(torch.cat((wide, corner)), torch.tensor([0.8, 0.9])))]
    enlarged, shapes = tiles.enlarged, []

    def noted(*args: object) -> torch.Tensor:
        made: torch.Tensor = enlarged(*args)  # type: ignore[arg-type]
        shapes.append(tuple(made.shape))
        return made

    monkeypatch.setattr(bands, "enlarged", noted)
    _, best = decode_concepts(scene.decoder(), evidence, scene.size)
    assert sorted(shapes) == [(32, 32), (160, 160)]
    assert float(best[0, -1]) == pytest.approx(0.9 / (1 + np.exp(-6.0)))


@pytest.mark.parametrize("where", ["map", "weight"])
def test_what_is_no_number_shows_in_the_best_score(where: str) -> None:
    scene = Scene.random(5, 4, (60, 50), queries=2, grid=(6, 6), most_maps=4)
    maps, weights = scene.evidence[-1]
    maps, weights = torch.cat((maps, maps.new_zeros(1, 6, 6))), torch.cat((weights, torch.ones(1)))
    (maps[-1, 2, 3:4] if where == "map" else weights[-1:]).fill_(torch.nan)
    scene = dataclasses.replace(scene, evidence=(*scene.evidence[:-1], Evidence(maps, weights)))
    evidence = list(zip(scene.places, scene.evidence, strict=True))
    _, best = decode_concepts(scene.decoder(), evidence, scene.size)
    wanted = np.isnan(scene.scores()).any(0)
    assert (best.isnan().numpy() == wanted).all()
    assert wanted.any()
    assert wanted.all() == (where == "weight")


@given(
    st.integers(1, 300), st.integers(1, 4), st.integers(0, 2**31), st.sampled_from((1, 3, 10**6))
)
def test_the_first_of_the_highest_is_found(count: int, pixels: int, seed: int, levels: int) -> None:
    values = np.random.default_rng(seed).integers(0, levels, (2, count, pixels)).astype(np.float32)
    highest, first = first_highest(torch.from_numpy(values))
    assert (highest.numpy() == values.max(axis=1)).all()
    assert (first.numpy() == values.argmax(axis=1)).all()


MEMORY_SCRIPT = """
import resource
import numpy as np, torch
from activesam_ros.segmentation.exclusive_decoding.bands import decode_concepts
from activesam_ros.segmentation.exclusive_decoding.decoder import *
from activesam_ros.segmentation.fuse import Evidence
from activesam_ros.segmentation.score_maps import tiles
from activesam_ros.segmentation.signatures import Signatures

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def decode(size, evidence):
    return decode_concepts(decoder, evidence, size)

classes = 40
matrix = (0.6 * np.eye(classes) + 0.1).astype(np.float32)
signatures = Signatures(
    matrix, matrix, np.zeros(classes, np.float32), np.ones(classes, np.bool_), 0.1
)
decoder = ConceptDecoder(
    DeviceSignatures.of(signatures, torch.device("cpu")),
    torch.arange(classes),
    torch.ones(classes),
    ConceptRule(0.15, 1.0, 0),
)
# The official network's mask grid, a semantic map and twenty objects a class.
rows = torch.linspace(-1, 1, 288)
evidence = []
for place in range(classes):
    there = 6 * torch.cos(3 * rows + place)[:, None] * torch.cos(2 * rows - place)[None]
    centres = torch.linspace(-0.9, 0.9, 20)[:, None, None]
    spread = (rows[:, None] - centres) ** 2 + (rows[None] + centres) ** 2
    maps = torch.cat((there[None], 5 - 200 * spread))
    evidence.append((place, Evidence(maps, torch.linspace(1, 0.4, 21))))
decode((40, 50), evidence[:1])
before = peak_mib()
labels, best = decode((2160, 3840), evidence)
growth_mib = peak_mib() - before
assert labels.shape == best.shape == (2160, 3840)
print(len(labels.unique()), growth_mib)
"""


def test_memory_does_not_grow_with_classes_times_pixels() -> None:
    """4K with 40 classes with maps; all their score maps in float32 would take 1.3 GB.

    The 840 maps at the mask grid take 279 MB, which are there before.
    """
    command = [sys.executable, "-c", MEMORY_SCRIPT]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    ).stdout
    labels, growth_mib = output.split()
    assert int(labels) > 20
    assert float(growth_mib) < 256
