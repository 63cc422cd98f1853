"""`--set streaming=true` and the densities through segment, replay and evaluate, with a network.

A look enters whatever it sees (enter_threshold 0) and nothing leaves, so that the counts are those
of the rules: of 12 queries ActiveSAM keeps 3, and each later frame looks at 2 more until 9.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from activesam_ros.cli import main
from activesam_ros.demo.untrained import write_untrained
from activesam_ros.image_files import write_png
from activesam_ros.pipeline import NetworkOptions, load_network
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.recordings.recorded_frames import open_recording
from activesam_ros.recordings.serialization import ACTIVE_CLASSES
from activesam_ros.replay.journal import JournalEntry, ReplayJournal
from activesam_ros.replay.segment_frames import segment_remaining
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Reason
from activesam_ros.settings import Settings

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import BagBuilder

SIZE = (48, 64)
NAMES = (
    *("road", "car", "tree", "sky", "person", "bus"),
    *("dog", "lamp", "wall", "sign", "bike", "hill"),
)
RULES = (
    "hypernym_tokens=0",
    "max_active=9",
    "enter_threshold=0",
    "leave_threshold=0",
    "scene_change_threshold=0",
    "max_gap_s=60",
)
STREAMING = (*RULES, "streaming=true")
GROWING = [3, 5, 7, 9, 9]
DENSITIES = (
    "encoder_attention_density=0.3",
    "encoder_mlp_density=0.3",
    "fusion_density=0.3",
    "fusion_mlp_density=0.3",
)


def noise(place: int) -> NDArray[np.uint8]:
    return np.random.default_rng(place).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights, a vocabulary and a cache of prompts."""
    made = tmp_path_factory.mktemp("network")
    write_untrained(made)
    (made / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    return made


def options(folder: Path, assignments: tuple[str, ...]) -> list[str]:
    return [
        f"--weights={folder / 'model.safetensors'}",
        f"--vocabulary={folder / 'names.txt'}",
        f"--cache-dir={folder / 'cache'}",
        "--device=cpu",
        "--method=activesam",
        *(f"--set={assignment}" for assignment in assignments),
    ]


def segmented(folder: Path, output: Path, count: int, *assignments: str) -> list[dict[str, Any]]:
    """The summaries that `segment` writes for ``count`` images."""
    images = [output / f"{place}.png" for place in range(count)]
    output.mkdir()
    for place, image in enumerate(images):
        write_png(image, noise(place))
    command = ["segment", *map(str, images), *options(folder, assignments), f"--output={output}"]
    assert main(command) == 0
    return [json.loads((output / f"{place}.json").read_text()) for place in range(count)]


def previewed(summary: dict[str, Any]) -> int:
    return sum(value is not None for value in summary["presence"])


def test_segment_carries_the_active_set_from_image_to_image(folder: Path, tmp_path: Path) -> None:
    alone = segmented(folder, tmp_path / "alone", 3, *RULES)
    assert [previewed(summary) for summary in alone] == [12, 12, 12]
    assert [len(summary["active_queries"]) for summary in alone] == [3, 3, 3]
    streamed = segmented(folder, tmp_path / "streamed", 5, *STREAMING)
    assert [previewed(summary) for summary in streamed] == [12, 2, 2, 2, 2]
    assert [len(summary["active_queries"]) for summary in streamed] == GROWING
    assert streamed[0]["presence"] == alone[0]["presence"]


@pytest.mark.parametrize("density", DENSITIES)
def test_a_density_reaches_the_network_of_segment(
    folder: Path, tmp_path: Path, density: str
) -> None:
    dense, sparse = (
        segmented(folder, tmp_path / name, 1, "hypernym_tokens=0", *given)[0]["classes"]
        for name, given in (("dense", ()), ("sparse", (density,)))
    )
    assert [entry["presence"] for entry in dense] != [entry["presence"] for entry in sparse]


def test_a_shared_preview_encodes_once(folder: Path, tmp_path: Path) -> None:
    given = (*STREAMING, "preview_encoding=shared")
    for summary in segmented(folder, tmp_path / "shared", 2, *given):
        assert "preview" in summary["timings_ms"]
        assert "preview_encode" not in summary["timings_ms"]


def two_cameras(bags: BagBuilder) -> Path:
    """Five frames of the front camera, the last stamped first, and two of the rear camera."""
    stamps_s = {"/front/image_raw": (1, 2, 3, 4, 0.5), "/rear/image_raw": (2.5, 3.5)}
    frames = [
        bags.image(
            10 * number + place,
            noise(10 * number + place),
            topic,
            stamp_ns=round(stamp_s * 1e9),
            log_time_ns=(100 + 10 * place + number) * 10**9,
        )
        for number, (topic, stamps) in enumerate(stamps_s.items())
        for place, stamp_s in enumerate(stamps)
    ]
    return bags.mcap(frames)


def test_replay_shows_every_decision_of_each_camera(folder: Path, bags: BagBuilder) -> None:
    output = bags.folder / "masks.mcap"
    bag = two_cameras(bags)
    given = options(folder, (*STREAMING, "pinned=hill"))
    assert main(["replay", str(bag), f"--output={output}", *given]) == 0
    recording = open_recording(output)

    def reasons(camera: str) -> list[dict[str, Reason]]:
        topic = f"/activesam/{camera}/active_classes"
        return [
            {entry.name: Reason(entry.reason) for entry in message.classes}
            for message in recording.messages(topic, ACTIVE_CLASSES)
        ]

    # 11 queries are not pinned: slices of 2. The fifth frame's stamp jumps back.
    front = reasons("front")
    for before, now in itertools.pairwise(front[:4]):
        assert set(before) < set(now)
        for name, reason in now.items():
            carried = Reason.CARRIED if name in before else Reason.PREVIEWED
            assert reason is (Reason.PINNED if name == "hill" else carried)
        assert len(set(now) - set(before)) == 2
    for restarted in (front[0], front[4], reasons("rear")[0]):
        assert len(set(restarted) - {"hill"}) <= 3
        assert Reason.CARRIED not in restarted.values()
    assert len(reasons("rear")) == 2


def test_an_interrupted_replay_goes_on_with_the_same_active_set(
    folder: Path, bags: BagBuilder
) -> None:
    settings = Settings().assign(STREAMING)
    weights = NetworkOptions(folder / "model.safetensors", device="cpu", cache_dir=folder / "cache")
    network, vocabulary = load_network(weights), load_vocabulary(str(folder / "names.txt"))
    recording = open_recording(two_cameras(bags))
    topics = ("/front/image_raw", "/rear/image_raw")

    def replayed(name: str, *pauses: int) -> list[JournalEntry]:
        """Entries of a replay that is interrupted when ``pauses`` frames are done, and resumed."""
        for pause in (*pauses, None):
            journal = ReplayJournal(bags.folder / name, {"job": 1})

            def advance(journal: ReplayJournal = journal, pause: int | None = pause) -> None:
                if journal.done == pause:
                    raise KeyboardInterrupt

            segmenter = network.streaming_if_enabled(vocabulary, settings)
            try:
                segment_remaining(recording.frames(topics), vocabulary, segmenter, journal, advance)
            except KeyboardInterrupt:
                journal.close()
        entries = list(journal.entries())
        journal.close()
        return entries

    def reasons(entries: list[JournalEntry]) -> list[list[tuple[str, float, int]]]:
        return [
            [(entry.name, entry.presence, entry.reason) for entry in _classes(each)]
            for each in entries
        ]

    whole, parts = replayed("whole"), replayed("parts", 1, 4, 5)
    assert reasons(parts) == reasons(whole)
    assert [entry.mask for entry in parts] == [entry.mask for entry in whole]
    assert any(reason == Reason.CARRIED for _, _, reason in reasons(parts)[2])


def _classes(entry: JournalEntry) -> list[Any]:
    from activesam_ros.recordings.serialization import ros2_types

    assert entry.active_classes is not None
    message: Any = ros2_types().deserialize_cdr(entry.active_classes, ACTIVE_CLASSES)
    return list(message.classes)


def test_evaluate_streams_where_asked_to_and_takes_densities(
    folder: Path, bags: BagBuilder
) -> None:
    """The ground truth is the dense network's segmentation of each single frame."""
    settings = Settings().assign(RULES)
    weights = NetworkOptions(folder / "model.safetensors", device="cpu", cache_dir=folder / "cache")
    segmenter = load_network(weights).segmenter(
        load_vocabulary(str(folder / "names.txt")), settings, Method.ACTIVESAM
    )
    messages = []
    for place in range(5):
        messages.append(bags.image(place, noise(place)))
        labels = segmenter.segment(noise(place)).labels.astype(np.uint8)
        messages.append(bags.image(place, labels, "/labels", encoding="mono8"))
    bag = bags.mcap(messages)

    def evaluated(name: str, *assignments: str) -> dict[str, Any]:
        output = bags.folder / name
        topics = ["--image-topic=/camera/image_raw", "--label-topic=/labels"]
        given = options(folder, (*RULES, *assignments))
        command = ["evaluate", "bag", str(bag), *topics, *given, f"--output={output}"]
        assert main(command) == 0
        results: dict[str, Any] = json.loads((output / "results.json").read_text())
        found: dict[str, Any] = results["methods"]["activesam"]
        return found

    dense = evaluated("dense")
    assert dense["pixel_accuracy"] == 1
    assert dense["active_classes_over_time"]["active_classes"] == [3] * 5
    streamed = evaluated("streamed", "streaming=true")
    assert streamed["active_classes_over_time"]["active_classes"] == GROWING
    assert evaluated("sparse", *DENSITIES)["pixel_accuracy"] < 1
