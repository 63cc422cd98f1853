"""``activesam evaluate bag``: recordings with and without ground truth."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from activesam_ros.cli import main
from activesam_ros.commands import evaluate_bag as bag_command
from activesam_ros.errors import OutputError, RecordingError, UsageError
from activesam_ros.evaluation.datasets.bag_label_ids import label_meaning
from activesam_ros.evaluation.execution import worker
from activesam_ros.pipeline import NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass, vocabulary_from_names
from activesam_ros.recordings.frame_pixels import label_map
from activesam_ros.recordings.recorded_frames import open_recording
from activesam_ros.recordings.serialization import VOCABULARY
from activesam_ros.segmentation.methods import Method, default_settings

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import BagBuilder, FakeSegmenter, Recorded, Terminal

IMAGES = "/camera/image_raw"
LABELS = "/ground_truth/labels"


def picture(*ids: int) -> NDArray[np.uint8]:
    """One row of pixels that the fake segmenter labels with ``ids``."""
    return np.repeat(np.array([ids], np.uint8)[..., None], 3, axis=2)


def labels(bags: BagBuilder, place: int, *ids: int) -> Recorded:
    return bags.image(place, np.array([ids], np.uint8), LABELS, encoding="mono8")


class Command:
    """Runs the command on fake segmenters, one per method, and reads its results."""

    def __init__(
        self, folder: Path, weights: Path, fake: FakeSegmenter, patch: pytest.MonkeyPatch
    ) -> None:
        self.output = folder / "results"
        self.weights = weights
        self.segmenters: dict[Method, FakeSegmenter] = {}
        network = SimpleNamespace(
            segmenter=self.segmenter,
            streaming_if_enabled=self.segmenter,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        self.vocabulary = fake.vocabulary
        self.kind = type(fake)
        patch.setattr(worker, "load_network", lambda options: network)
        patch.setattr(bag_command, "vocabulary_from", lambda args: self.vocabulary)

    def segmenter(self, vocabulary: Vocabulary, settings: object, method: Method) -> FakeSegmenter:
        return self.segmenters.setdefault(method, self.kind(vocabulary))

    def __call__(self, bag: Path, *options: str) -> dict[str, Any]:
        parser = argparse.ArgumentParser()
        bag_command.add_arguments(parser)
        fixed = f"{bag} --image-topic {IMAGES} --weights {self.weights} --vocabulary small"
        arguments = [*fixed.split(), "--output", str(self.output), *options]
        assert bag_command.run(parser.parse_args(arguments)) == 0
        content: dict[str, Any] = json.loads((self.output / "results.json").read_text())
        return content


@pytest.fixture
def command(
    tmp_path: Path, weights: Path, fake: FakeSegmenter, monkeypatch: pytest.MonkeyPatch
) -> Command:
    return Command(tmp_path, weights, fake, monkeypatch)


def test_labels_are_joined_by_stamp_and_matched_by_name(
    command: Command, bags: BagBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {3: "Hedge", 5: "sky", 9: "dragon"}
    path = bags.mcap(
        [
            bags.vocabulary(names),
            bags.image(0, picture(1, 1, 7, 7)),
            labels(bags, 0, 3, 3, 5, 3),
            bags.image(1, picture(0, 7)),
            labels(bags, 2, 9, 255),
            bags.image(2, picture(1, 1)),
        ]
    )
    content = command(path, "--label-topic", LABELS)
    results = content["methods"]["activesam2"]
    assert results["per_class_iou"] == {"road": None, "tree": 2 / 3, "sky": 1 / 2}
    assert results["labelled_frames"] == 2
    recording = content["recording"]
    assert recording["label_names_from"] == "/ground_truth/vocabulary"
    assert recording["label_names_not_in_vocabulary"] == ["dragon"]
    assert recording["uncounted_labels"] == {"dragon": 1}
    assert recording["label_pixels"] == 5
    assert recording["images_without_labels"] == 1
    printed = capsys.readouterr()
    assert "do not count, in % of the labelled pixels: dragon (20.0 %)." in printed.err
    assert "1 images have no labels of the same stamp" in printed.err
    assert printed.out.startswith("method")


def test_labels_without_stamps_are_joined_by_order_and_it_is_said(
    command: Command, bags: BagBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    """The image topic has another type of messages too."""
    messages = [bags.vocabulary({0: "road"}, IMAGES)]
    for place, id in enumerate((0, 1, 7)):
        time = (place + 2) * 1_000_000_000
        row = picture(id, id)
        messages.append(bags.image(place, row, stamp_ns=0, log_time_ns=time))
        ids = np.array([[id, 7]], np.uint8)
        late_ns = time + 2_500_000_000
        messages.append(
            bags.image(place, ids, LABELS, encoding="mono8", stamp_ns=0, log_time_ns=late_ns)
        )
    content = command(bags.mcap(messages), "--label-topic", LABELS)
    results = content["methods"]["activesam2"]
    assert results["per_class_iou"] == {"road": 0.5, "tree": 0.5, "sky": 0.5}
    assert results["labelled_frames"] == 3
    assert content["recording"]["labels_joined_by"] == "order"
    assert "the n-th labels are taken for the n-th image" in capsys.readouterr().err


def test_names_match_however_their_words_are_joined(
    bags: BagBuilder, vocabulary: Vocabulary
) -> None:
    lights = Vocabulary(
        "lights", (*vocabulary.classes, VocabularyClass(9, ("traffic light",), (1, 2, 3)))
    )
    path = bags.mcap([bags.vocabulary({4: "trafficlight", 5: "Road", 6: "dragon"})])
    meaning = label_meaning(open_recording(path), LABELS, lights)
    assert meaning.ids.indices(np.array([4, 5, 6], np.uint8)).tolist() == [3, 0, -1]
    assert meaning.unknown == {6: "dragon"}


def test_without_a_label_vocabulary_ids_are_the_vocabularys_own(
    command: Command, bags: BagBuilder
) -> None:
    path = bags.mcap([bags.image(0, picture(0, 7, 7)), labels(bags, 0, 0, 7, 99)])
    content = command(path, "--label-topic", LABELS)
    assert content["methods"]["activesam2"]["per_class_iou"] == {
        "road": 1.0, "tree": None, "sky": 1.0,
    }  # fmt: skip
    assert content["recording"]["uncounted_labels"] == {"id 99": 1}


def test_a_label_vocabulary_of_which_no_name_is_known_is_refused(
    bags: BagBuilder, vocabulary: Vocabulary
) -> None:
    path = bags.mcap([bags.vocabulary({1: "dragon", 2: "unicorn"}), labels(bags, 0, 1)])
    with pytest.raises(RecordingError, match=r"None of the 2 names.*dragon"):
        label_meaning(open_recording(path), LABELS, vocabulary)


def test_the_vocabulary_beside_the_labels_comes_first(
    bags: BagBuilder, vocabulary: Vocabulary
) -> None:
    path = bags.mcap(
        [bags.vocabulary({1: "road"}), bags.vocabulary({2: "road"}, "/left/vocabulary")]
    )
    meaning = label_meaning(open_recording(path), "/left/labels", vocabulary)
    assert meaning.source == "/left/vocabulary"
    assert meaning.ids.indices(np.array([2, 1], np.uint8)).tolist() == [0, -1]


def test_without_labels_the_unpruned_method_is_sampled(command: Command, bags: BagBuilder) -> None:
    path = bags.mcap([bags.image(place, picture(place)) for place in range(5)])
    content = command(path, "--agreement-every", "2")
    assert len(command.segmenters[Method.FULL].images) == 3
    results = content["methods"]["activesam2"]
    assert (results["agreement_with_full"], results["agreement_frames"]) == (1.0, 3)
    assert results["miou"] is None
    assert list(content["methods"]) == ["activesam2"]


def test_sampling_can_be_left_out(command: Command, bags: BagBuilder) -> None:
    path = bags.mcap([bags.image(0, picture(0))])
    results = command(path, "--agreement-every", "0")["methods"]["activesam2"]
    assert Method.FULL not in command.segmenters
    assert results["agreement_with_full"] is None
    with pytest.raises(UsageError, match="--agreement-every -1"):
        command(path, "--agreement-every", "-1", "--overwrite")


def test_methods_run_side_by_side_with_settings_of_their_own(
    command: Command, bags: BagBuilder
) -> None:
    path = bags.mcap([bags.image(0, picture(0))])
    content = command(path, "--method", "full,segearth,activesam", "--set", "max_active=7")
    assert list(content["methods"]) == ["full", "segearth", "activesam"]
    settings = content["settings"]
    assert {name: entry["max_active"] for name, entry in settings.items()} == {
        "full": 7, "segearth": 7, "activesam": 7,
    }  # fmt: skip
    assert settings["segearth"]["confidence_threshold"] == 0.5
    assert settings["activesam"]["confidence_threshold"] == 0.3


def test_bad_frames_are_counted_and_named(
    command: Command, bags: BagBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bags.mcap(
        [
            bags.image(0, picture(1, 1)),
            labels(bags, 0, 1, 1),
            bags.image(1, data=b"short"),
            bags.image(2, picture(1, 1)),
            labels(bags, 2, 1, 1, 1),
            bags.image(3, picture(1, 1)),
            bags.image(3, topic=LABELS),
        ]
    )
    content = command(path, "--label-topic", LABELS)
    recording = content["recording"]
    assert (recording["images"], recording["unusable_images"]) == (4, 1)
    assert recording["images_without_labels"] == 2
    assert sum(recording["problems"].values()) == 3
    assert content["methods"]["activesam2"]["labelled_frames"] == 1
    assert "labels must be mono8" in capsys.readouterr().err


def untimed(content: dict[str, Any]) -> dict[str, Any]:
    """results.json without timings."""
    timings = ("frames_per_second", "latency_ms", "peak_memory_mib", "stage_latency_ms")
    methods = [*content["methods"].values()]
    for run in content["corruptions"]["runs"].values():
        methods += run["methods"].values()
    for entry in methods:
        for key in timings:
            del entry[key]
    del content["finished"]
    return content


def test_an_interrupted_evaluation_goes_on_where_it_stopped(
    command: Command, bags: BagBuilder, fake: FakeSegmenter, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = []
    for place in range(6):
        image = np.random.default_rng(place).choice(np.array([0, 1, 7], np.uint8), (40, 40))
        rgb = np.repeat(image[..., None], 3, axis=2)
        messages.append(bags.image(place, rgb, data=b"short" if place == 1 else None))
        messages.append(bags.image(place, image, LABELS, encoding="mono8"))
    path = bags.mcap(messages)
    options: tuple[str, ...] = (
        "--label-topic",
        LABELS,
        "--corruption",
        "contrast:2",
        "--agreement-every",
        "2",
    )
    whole = untimed(command(path, *options))
    segmenter = command.segmenters[Method.ACTIVESAM2]
    assert len(segmenter.images) == 1 + 5 * 2  # the first is a warm-up
    assert not (command.output / "evaluation.partial").exists()
    segmenter.images.clear()

    def interrupt(call: int) -> None:
        if call == 6:  # the corrupted image of the third usable frame
            raise KeyboardInterrupt

    segmenter.before = interrupt
    capsys.readouterr()
    options = (*options, "--overwrite")
    with pytest.raises(KeyboardInterrupt):
        command(path, *options)
    assert "2 images are kept in" in capsys.readouterr().err
    with pytest.raises(UsageError, match="evaluation with another corruptions and report"):
        command(path, *options[:2], *options[4:], "--report", str(command.output / "page"))
    segmenter.before = lambda call: None
    segmenter.images.clear()
    assert untimed(command(path, *options)) == whole
    assert len(segmenter.images) == 1 + 3 * 2
    assert "has 2 images of this evaluation" in capsys.readouterr().err
    assert [entry.name for entry in command.output.iterdir()] == ["results.json"]


def test_progress_is_shown_on_a_terminal_and_nowhere_else(
    command: Command, bags: BagBuilder, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    path = bags.mcap([bags.image(place) for place in range(3)])
    command(path)
    assert "3/3" in terminal.getvalue()
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    terminal.truncate(0)
    command(path, "--overwrite")
    assert "3/3" not in terminal.getvalue()


def test_topics_whose_sizes_never_fit_are_refused(command: Command, bags: BagBuilder) -> None:
    path = bags.mcap([bags.image(0, picture(1, 1)), labels(bags, 0, 1, 1, 1)])
    with pytest.raises(RecordingError, match=r"are 3x1 and the images on .* 2x1"):
        command(path, "--label-topic", LABELS)


def test_a_recording_without_a_usable_image_gives_no_results(
    command: Command, bags: BagBuilder
) -> None:
    with pytest.raises(RecordingError, match="None of the 1 images"):
        command(bags.mcap([bags.image(0, data=b"short")]))
    assert not command.output.exists()


@pytest.mark.parametrize("kept", ["results", "page"])
def test_earlier_results_are_kept_unless_told_otherwise(
    command: Command, bags: BagBuilder, tmp_path: Path, kept: str
) -> None:
    labelled = bags.mcap([bags.image(0, picture(1)), labels(bags, 0, 1)], "labelled.mcap")
    other = bags.mcap([bags.image(0, picture(1))], "other.mcap")
    options = ("--report", str(tmp_path / "page"))
    command(labelled, "--label-topic", LABELS, *options)
    if kept == "page":
        command.output = tmp_path / "elsewhere"
    before = {path: path.read_bytes() for path in sorted((tmp_path / kept).iterdir())}
    with pytest.raises(OutputError, match=rf"{kept} has the results\.json of an earlier evalu"):
        command(other, *options)
    assert {path: path.read_bytes() for path in sorted((tmp_path / kept).iterdir())} == before
    content = command(other, *options, "--overwrite")
    assert content["recording"]["path"] == str(other)


def test_wrong_topics_are_refused_before_anything_is_loaded(
    command: Command, bags: BagBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(worker, "load_network")
    path = bags.mcap([bags.image(0, topic="/other")])
    with pytest.raises(RecordingError, match=r"image topics are /other \(1\)"):
        command(path)
    with pytest.raises(UsageError, match=r"--label-topic /camera/image_raw is the image topic"):
        command(path, "--label-topic", IMAGES)


def labelled_pixels(bag: Path, *names: str) -> list[int]:
    """How many pixels of a drive's label images have each name."""
    recording = open_recording(bag)
    (message,) = recording.messages("/ground_truth/vocabulary", VOCABULARY)
    id_of = {entry.name: entry.id for entry in message.entries}
    labels = np.stack([label_map(frame) for frame in recording.frames([LABELS])])
    return [int((labels == id_of[name]).sum()) for name in names]


def test_the_command_evaluates_a_demo_drive_with_the_real_network(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("road\nsky\ncar\n")
    bag, output = tmp_path / "drive.mcap", tmp_path / "results"
    assert main(f"demo drive --frames 2 --size 96x64 --output {bag}".split()) == 0
    command = (
        f"evaluate bag {bag} --image-topic {IMAGES} --label-topic {LABELS} --weights {weights} "
        f"--vocabulary {names} --cache-dir {tmp_path} --method activesam,sam3 "
        f"--report {tmp_path}/report --output {output}"
    )
    assert main(command.split()) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count('class="layer answer"') == 2
    assert (tmp_path / "report" / "results.json").read_bytes() == (
        output / "results.json"
    ).read_bytes()
    content = json.loads((output / "results.json").read_text())
    for results in content["methods"].values():
        assert results["frames"] == results["labelled_frames"] == 2
        assert results["confusion_matrix"]["classes"] == ["road", "sky", "car"]
        counts = np.array(results["confusion_matrix"]["counts"])
        assert counts.sum(axis=1).tolist() == [*labelled_pixels(bag, "road", "sky", "car"), 0]
        correct = np.diagonal(counts)[:-1]
        union = counts.sum(axis=0)[:-1] + counts.sum(axis=1)[:-1] - correct
        assert results["miou"] == pytest.approx((correct[union > 0] / union[union > 0]).mean())
        assert results["peak_memory_mib"] > 0
    assert content["methods"]["activesam"]["agreement_with_full"] == 1.0
    assert "building" in content["recording"]["label_names_not_in_vocabulary"]
    capsys.readouterr()
    assert main([*command.split()[:-1], str(bag)]) == 2
    assert capsys.readouterr().err.startswith("activesam: --output")
    assert main([*command.split(), "--overwrite", "--report", str(bag)]) == 2
    assert capsys.readouterr().err.startswith("activesam: --report")


def test_a_part_of_the_recording_is_evaluated(command: Command, bags: BagBuilder) -> None:
    """Labels are joined as in the whole, and those outside are not called lonely."""
    right, wrong = (0, 7), (7, 0)
    messages = []
    for place in range(8):
        messages.append(labels(bags, place, *(right if place in (2, 3) else wrong)))
        messages.append(bags.image(place, picture(*right)))
    path = bags.mcap(messages)
    content = command(path, "--label-topic", LABELS, "--start", "1.5", "--end", "3")
    results = content["methods"]["activesam2"]
    assert (results["frames"], results["labelled_frames"]) == (2, 2)
    assert results["pixel_accuracy"] == 1.0
    assert content["recording"]["range"] == {"start_s": 1.5, "end_s": 3.0, "limit": None}
    assert content["recording"]["labels_without_image"] == 0
    command.output = command.output.with_name("limited")
    results = command(path, "--label-topic", LABELS, "--limit", "4")["methods"]["activesam2"]
    assert (results["frames"], results["pixel_accuracy"]) == (4, 0.5)


def test_a_part_without_images_is_refused(command: Command, bags: BagBuilder) -> None:
    with pytest.raises(RecordingError, match="--start and --end"):
        command(bags.mcap([bags.image(0)]), "--start", "9")


NAMES = ("road", "sky", "car", "building", "tree", "person")


def signature_file(path: Path) -> Path:
    """Signatures by which the class before the highest one often wins."""
    count = len(NAMES)
    means = np.full((count, count), 0.3, np.float32) + 0.2 * np.eye(count, k=1, dtype=np.float32)
    np.savez(
        path,
        R_a=means,
        R_e=means,
        log_mass=np.full(count, -np.log(count), np.float32),
        mass_argmax=np.full(count, 1e6),
        mass_excl=np.full(count, 1e6),
        m_bg=np.float64("nan"),
        meta=json.dumps({"constants": {"CORE_MIN_PX": 2000}, "names": NAMES}),
    )
    return path


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_without_labels_it_says_what_signatures_change(
    bags: BagBuilder,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    streaming: str,
) -> None:
    rng = np.random.default_rng(4)
    images = [rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(3)]
    path = bags.mcap([bags.image(place, image) for place, image in enumerate(images)])
    values = {
        "tau": 1e-6, "leave_threshold": 0.0, "confidence_threshold": 0.0, "resolution": 112,
        "scene_change_threshold": 0.0, "signatures": str(signature_file(tmp_path / "s.npz")),
    }  # fmt: skip
    output = tmp_path / "results"
    words = (
        f"evaluate bag {path} --image-topic {IMAGES} --weights {weights} --device cpu "
        f"--cache-dir {tmp_path} --method activesam2 --agreement-every 2 --output {output} "
        f"--report {output} --set streaming={streaming} "
        + " ".join(f"--set {name}={value}" for name, value in values.items())
    )
    assert main([*words.split(), "--classes", ", ".join(NAMES)]) == 0
    entry = json.loads((output / "results.json").read_text())["methods"]["activesam2"]
    assert entry["admitted_classes_mean"] == len(NAMES)

    network = load_network(NetworkOptions(weights, device="cpu", cache_dir=tmp_path))
    vocabulary = vocabulary_from_names(NAMES)
    settings = default_settings(Method.ACTIVESAM2).replace(values)
    signed = network.segmenter(vocabulary, settings, Method.ACTIVESAM2)
    plain = signed.with_settings(settings.replace({"signatures": ""}))
    moves: Counter[tuple[int, int]] = Counter()
    for image in (images[0], images[2]):
        pair = (plain.segment(image).labels.flatten(), signed.segment(image).labels.flatten())
        moves.update(Counter(zip(*(labels.tolist() for labels in pair), strict=True)))
    names = {entry.id: entry.name for entry in vocabulary.classes}
    expected = {
        (names[before], names[after]): pixels / (2 * 40 * 60)
        for (before, after), pixels in moves.items()
        if before != after
    }
    assert sum(expected.values()) > 0.05
    changes = entry["concept_changes"]
    assert changes["frames"] == 2
    assert changes["share"] == pytest.approx(sum(expected.values()))
    found = {(pair["from"], pair["to"]): pair["share"] for pair in changes["pairs"]}
    assert found == pytest.approx(expected)
    assert [pair["share"] for pair in changes["pairs"]] == sorted(expected.values(), reverse=True)
    most = changes["pairs"][0]
    told = capsys.readouterr().out
    assert f"change the class of {changes['share'] * 100:.1f} % of the pixels of 2 frames" in told
    assert f"{most['from']} -> {most['to']}" in told
    assert 'id="concepts-title"' in (output / "index.html").read_text()
