from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from activesam_ros.demo.untrained import write_untrained
from activesam_ros.errors import UsageError
from activesam_ros.pipeline import NetworkOptions, load_network
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Segmentation
from training import measure


def _arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    measure.add_arguments(parser)
    return parser.parse_args(words)


def test_the_wide_vocabulary_has_150_classes_that_do_not_overlap() -> None:
    wide = measure.wide_vocabulary()
    assert len(wide.classes) == 150
    cityscapes = load_vocabulary("cityscapes")
    assert wide.classes[:19] == cityscapes.classes
    others = {entry.name for entry in wide.classes[19:]}
    assert not others & {"house", "van", "minibike", "road", "earth", "traffic light"}


def test_objects_stand_before_a_background() -> None:
    question = measure.ask("objects")
    names = [entry.name for entry in question.vocabulary.classes]
    assert names[:3] == ["background", "trafficlight", "trafficsign"]
    assert len(names) == 11
    truth = {names[index] for identity, index in question.truth.items() if identity > 0}
    assert truth == set(names)
    assert question.truth[13] == names.index("car")
    assert question.truth[10] == question.truth[0] == 0
    settings = question.settings(Method.SEGEARTH)
    assert (settings.background_threshold, settings.background_id) == (0.4, 0)
    assert settings.confidence_threshold == 0.5


def test_what_the_preview_found_is_counted() -> None:
    vocabulary = load_vocabulary("cityscapes")
    labels = np.zeros((10, 100), np.uint8)  # road, with a visible sky and a car of three pixels
    labels[:2] = 10
    labels[2, :3] = 13
    sky = vocabulary.queries.index("sky")
    result = Segmentation(
        labels=labels,
        preview_presence=(0.25,) * len(vocabulary.queries),
        active_queries=(sky,),
        classes=(),
        timings_ms={},
    )
    tally = measure.PreviewTally()
    tally.add(result, measure.ask("cityscapes"), labels)
    assert (tally.visible, tally.found) == (2, 1)
    assert tally.absent == len(vocabulary.queries) - 3
    assert tally.absent_presence == pytest.approx(0.25 * tally.absent)


def test_the_command_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = write_untrained(tmp_path / "weights")
    output = tmp_path / "figures.json"
    words = ("--weights", str(weights), "--frames", "1", "--output", str(output))
    assert measure.run(_arguments(*words, "--method", "activesam", "--question", "wide")) == 0
    figures = json.loads(output.read_text())
    assert (figures["frames"], figures["classes"]) == (1, 150)
    assert "activesam: mIoU" in capsys.readouterr().out

    # The same figures, counted from the mask and the labels by hand.
    (frame,) = measure.test_frames(1)
    question = measure.ask("wide")
    network = load_network(NetworkOptions(weights=weights, device="auto"))
    settings = question.settings(Method.ACTIVESAM)
    result = network.segmenter(question.vocabulary, settings, Method.ACTIVESAM).segment(frame.image)
    known = frame.labels != 255
    pairs = [
        (known & (result.labels == label), known & (frame.labels == label))
        for label in np.unique(frame.labels[known])
    ]
    iou = [(one & other).sum() / (one | other).sum() for one, other in pairs]
    visible = [label for label in range(19) if (frame.labels == label).mean() > 0.005]
    classes = question.vocabulary.query_class
    active = {classes[query] for query in result.active_queries}
    absent = [
        presence
        for index, presence in zip(classes, result.preview_presence, strict=True)
        if presence is not None and not (frame.labels == index).any()
    ]
    method = figures["methods"]["activesam"]
    assert method["miou"] == pytest.approx(np.mean(iou))
    assert method["visible_classes_found"] == len(active & set(visible)) / len(visible)
    assert method["absent_presence_mean"] == pytest.approx(np.mean(absent))


def test_no_frames_are_refused(tmp_path: Path) -> None:
    words = ("--weights", "w", "--frames", "0", "--output", str(tmp_path / "out.json"))
    with pytest.raises(UsageError, match="--frames 0 is too small"):
        measure.run(_arguments(*words))


def test_settings_override_those_of_the_question(tmp_path: Path) -> None:
    weights = write_untrained(tmp_path / "weights")
    words = ("--weights", str(weights), "--frames", "1", "--method", "segearth")
    background = []
    for threshold in (0, 1):
        output = tmp_path / f"{threshold}.json"
        more = ("--question", "objects", "--set", f"background_threshold={threshold}")
        assert measure.run(_arguments(*words, *more, "--output", str(output))) == 0
        figures = json.loads(output.read_text())
        assert figures["settings"] == [f"background_threshold={threshold}"]
        background.append(figures["methods"]["segearth"]["per_class"]["background"])
    # With threshold 1 every pixel is background: its IoU is its share of the labels.
    assert background[1]["iou"] == background[1]["share"] > background[0]["iou"]
