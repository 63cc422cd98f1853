"""Whatever reads a file from outside refuses a pipe, a device and a huge sparse file at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from activesam_ros.commands.segment_outputs import LABELS, SUMMARY, Place, own_files
from activesam_ros.errors import ActiveSamError
from activesam_ros.evaluation.scoring.compare_runs import read_run
from activesam_ros.image_files import read_image
from activesam_ros.node.parameters.params_files import files_without_parameters
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.recordings.recorded_frames import open_recording
from activesam_ros.recordings.video_files import open_video
from activesam_ros.resumable_work import open_journal
from activesam_ros.sam3.checkpoint import check_weights, text_fingerprint, weights_fingerprint
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.segmentation.signatures import read_signatures

READERS: dict[str, Callable[[Path], object]] = {
    "image.png": read_image,
    "names.txt": lambda path: load_vocabulary(str(path)),
    "names.yaml": lambda path: load_vocabulary(str(path)),
    "results.json": read_run,
    "config.json": Sam3Config.from_json,
    "sam3.pt": lambda path: check_weights(path, Sam3Config()),
    "whole.pt": weights_fingerprint,
    "text.safetensors": lambda path: text_fingerprint(path, Sam3Config()),
    "drive.mcap": open_recording,
    "drive.db3": open_recording,
    "drive.bag": open_recording,
    "drive.mcap.zstd": open_recording,
    "drive.mp4": open_video,
    "signatures.npz": read_signatures,
    "out.partial": lambda path: open_journal(path, "CREATE TABLE a (b)", {}, "test"),
}


@pytest.fixture(autouse=True)
def _no_hanging() -> Iterator[None]:
    """A reader that waits fails the test instead."""

    def late(*_: object) -> None:
        raise AssertionError("the reader waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def as_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_sparse_file(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(100 << 30)


@pytest.mark.parametrize("make", [as_pipe, as_device, as_sparse_file])
@pytest.mark.parametrize("name", READERS)
def test_it_is_refused_in_one_sentence(
    name: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(ActiveSamError) as caught:
        READERS[name](path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [as_pipe, as_device])
def test_what_is_only_looked_at_is_passed_over(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "params.yaml")
    assert files_without_parameters(["--params-file", str(tmp_path / "params.yaml")], "/n") == ()
    place = Place(tmp_path, "image")
    make(place.file(SUMMARY))
    assert own_files(place) == frozenset()
    place.file(SUMMARY).unlink()
    make(place.file(LABELS))
    place.file(SUMMARY).write_text(
        '{"made_by": "activesam segment", "files": {"image.labels.png": ""}}'
    )
    assert place.file(LABELS) not in own_files(place)
