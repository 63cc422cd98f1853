"""activesam segment: what it reads, what it writes, and what it never overwrites."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from activesam_ros.cli import main
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Segmentation, Wanted

ROAD, TREE, SKY = 0, 1, 7
Run = Callable[..., int]


@dataclasses.dataclass
class Network:
    """Labels each pixel by its red level: 0 is road, 1 tree, 7 sky, anything else no class."""

    fake: Any
    loads: int = 0
    images: list[NDArray[np.uint8]] = dataclasses.field(default_factory=list)
    before: Callable[[], None] = lambda: None

    method = Method.ACTIVESAM

    @property
    def prompts(self) -> SimpleNamespace:
        return SimpleNamespace(vocabulary=self.fake.vocabulary)

    def segmenter(self, *_: object) -> Network:
        return self

    def segment(self, image: NDArray[np.uint8], wanted: Wanted) -> Segmentation:
        self.before()
        self.images.append(image)
        result: Segmentation = self.fake.segment(image)
        if wanted.scores:
            scores = np.zeros((3, *image.shape[:2]), np.float16)
            result = dataclasses.replace(result, scores=scores)
        return result


@pytest.fixture
def network(fake: Any, monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network(fake)

    def load(_: object) -> Network:
        network.loads += 1
        return network

    monkeypatch.setattr("activesam_ros.commands.segment.load_network", load)
    return network


@pytest.fixture
def run(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in tmp_path; returns its exit code."""
    monkeypatch.chdir(tmp_path)

    def segment(*words: str, output: str = "out") -> int:
        options = ["--weights=none", "--vocabulary=cityscapes", f"--output={output}"]
        return main(["segment", *words, *options])

    return segment


def picture(path: Path, red: int = ROAD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((24, 200, 3), (red, 90, 160), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def contents(folder: Path) -> Mapping[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def labels(path: Path) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def test_it_says_where_it_wrote_and_what_it_found(
    run: Run, vocabulary: Vocabulary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.array(Image.open(picture(tmp_path / "a.png")))
    pixels[:6, :, 0] = SKY
    pixels[:6, :20, 0] = 99  # no class
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert run("a.png") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(
        "a.png: road 75.0 %, sky 22.5 %, no class 2.5 %; 3 classes of 3, 2 ms; "
    )
    assert said[0].endswith("out/a.overlay.png")
    assert said[1] == (
        "out: 1 image segmented, each with NAME.labels.png, NAME.overlay.png, NAME.json"
    )
    np.testing.assert_array_equal(labels(tmp_path / "out/a.labels.png"), pixels[..., 0])
    overlay = np.array(Image.open(tmp_path / "out/a.overlay.png"))
    assert overlay.shape[1:] == (200, 3)
    road = np.array(vocabulary.classes[0].color)
    expected = (pixels[10, 10].astype(float) + road) / 2
    assert np.abs(overlay[10, 10] - expected).max() <= 1
    legend = overlay[24:]
    for entry, shown in zip(vocabulary.classes, (True, False, True), strict=True):
        assert (legend == entry.color).all(axis=2).any() == shown


def test_folders_and_patterns_are_expanded_and_written_files_are_no_input(
    run: Run, network: Network, tmp_path: Path
) -> None:
    for name in ("f2.png", "f10.jpg"):
        picture(tmp_path / "photos" / name)
    assert run("photos", output="photos") == 0
    assert sorted(contents(tmp_path / "photos")) == sorted(
        ["f2.png", "f10.jpg"]
        + [f"f{n}{suffix}" for n in (2, 10) for suffix in (".labels.png", ".overlay.png", ".json")]
    )
    assert run("photos", output="again") == 0
    assert run("photos/f*[0-9].jpg", output="pattern") == 0
    assert sorted(path.stem for path in (tmp_path / "pattern").glob("*.json")) == ["f10"]
    assert len(network.images) == 5


def test_a_video_becomes_numbered_frames(
    run: Run, write_video: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [np.full((48, 64, 3), (0, 80, 40 * number), np.uint8) for number in range(3)]
    write_video(tmp_path / "drive.mp4", frames)
    assert run("drive.mp4") == 0
    folder = tmp_path / "out" / "drive"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{number:06}{suffix}"
        for number in range(3)
        for suffix in (".json", ".labels.png", ".overlay.png")
    ]
    second = json.loads((folder / "000001.json").read_text())
    assert (second["image"], second["frame"]) == ("drive.mp4", 1)
    assert second["stamp_ns"] == 100_000_000
    overlay = np.array(Image.open(folder / "000002.overlay.png"))[:48, :64]
    expected = (frames[2].astype(float) + np.array([128, 64, 128])) / 2
    assert np.abs(overlay - expected).max() <= 12  # a lossy codec
    assert "3 frames; out/drive/000000.overlay.png and on" in capsys.readouterr().out

    write_video(tmp_path / "drive.mp4", frames[:2])  # a shorter version
    assert run("drive.mp4") == 2
    assert run("drive.mp4", "--overwrite") == 0
    assert sorted(path.name[:6] for path in folder.glob("*.json")) == ["000000", "000001"]
    assert not list(folder.glob("000002*"))


def test_a_part_of_a_video_keeps_its_frame_numbers(
    run: Run, write_video: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "drive.mp4", [np.zeros((48, 64, 3), np.uint8)] * 6)
    assert run("drive.mp4", "--start=0.2", "--end=0.45", "--limit=2") == 0
    folder = tmp_path / "out" / "drive"
    assert sorted(path.stem for path in folder.glob("*.json")) == ["000002", "000003"]
    assert run("drive.mp4", "--start=0.4", "--overwrite") == 0  # what lies before it stays
    assert sorted(path.stem for path in folder.glob("*.json")) == [
        f"00000{number}" for number in (2, 3, 4, 5)
    ]
    assert run("drive.mp4", "--start=9", output="none") == 2
    assert "No frame of drive.mp4 lies in the part" in capsys.readouterr().err


def test_a_limit_counts_images_and_times_need_a_video(
    run: Run, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    assert run("a.png", "b.png", "c.png", "--limit=2") == 0
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.json")) == ["a", "b"]
    assert run("c.png", "--end=3") == 2
    assert "no input is one" in capsys.readouterr().err
    assert network.loads == 1


def test_a_recording_is_sent_to_replay(
    run: Run, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "drive.mcap").touch()
    assert run("drive.mcap") == 2
    assert "'activesam replay drive.mcap' segments its images" in capsys.readouterr().err
    assert network.loads == 0


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("0001.json", b'{"version": "5.0.1", "shapes": []}'),  # labelme's
        ("0001.json", b"[" * 100_000),
        ("0001.labels.png", b"made by hand"),
        ("0001.overlay.png", b"made by hand"),
    ],
)
def test_what_segment_did_not_make_is_never_replaced(
    name: str,
    content: bytes,
    flags: tuple[str, ...],
    run: Run,
    network: Network,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture(tmp_path / "0001.jpg")
    (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)
    assert run("0001.jpg", *flags, output=".") == 2
    error = capsys.readouterr().err
    assert f"{name} was not written by 'activesam segment'" in error
    assert error.count("\n") == 1
    assert contents(tmp_path) == before
    assert network.loads == 0


def test_a_result_that_was_edited_is_no_longer_replaced(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    assert run("a.png") == 0
    corrected = np.full((24, 200), SKY, np.uint8)
    Image.fromarray(corrected).save(tmp_path / "out/a.labels.png")
    assert run("a.png", "--overwrite") == 2
    assert "or was changed since" in capsys.readouterr().err
    np.testing.assert_array_equal(labels(tmp_path / "out/a.labels.png"), corrected)


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
@pytest.mark.parametrize("linked", [False, True])
def test_an_input_is_never_replaced(
    linked: bool,
    flags: tuple[str, ...],
    run: Run,
    network: Network,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture(tmp_path / "a.png")
    other = picture(tmp_path / ("b.png" if linked else "a.overlay.png"), SKY)
    if linked:
        os.link(other, tmp_path / "a.overlay.png")
    before = contents(tmp_path)
    assert run("a.png", other.name, *flags, output=".") == 2
    assert "a.overlay.png is an input of this command" in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert network.loads == 0


def test_own_results_are_replaced_only_when_asked(
    run: Run, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    assert run("a.png", "--save-scores") == 0
    picture(tmp_path / "a.png", SKY)
    before = contents(tmp_path / "out")
    assert run("a.png") == 2
    assert "--overwrite replaces" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before
    assert run("a.png", "--overwrite") == 0
    assert (labels(tmp_path / "out/a.labels.png") == SKY).all()
    assert not (tmp_path / "out/a.scores.npy").exists()  # of the earlier image
    assert run("a.png", "--overwrite", "--save-scores") == 0
    assert network.loads == 3


def test_two_inputs_of_one_stem_do_not_replace_each_other(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "left" / "1.png", ROAD)
    picture(tmp_path / "right" / "1.png", SKY)
    assert run("left/1.png", "right/1.png") == 2
    assert "would both write 1.labels.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run("left/1.png") == 0
    assert run("right/1.png") == 2
    assert "exists from an earlier run" in capsys.readouterr().err
    assert (labels(tmp_path / "out/1.labels.png") == ROAD).all()


def test_a_file_that_appears_during_the_run_is_kept(
    run: Run, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "out").mkdir()

    def appear() -> None:
        (tmp_path / "out/a.labels.png").write_text("mine")

    network.before = appear
    assert run("a.png") == 2
    assert "meanwhile" in capsys.readouterr().err
    assert (tmp_path / "out/a.labels.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("file/out", "is not a folder"),
        ("file", "is a file; give a folder"),
        ("/proc/out", "refuses files"),
        ("link", "which does not exist"),
    ],
)
def test_a_useless_output_is_refused_before_the_network_is_loaded(
    output: str,
    sentence: str,
    run: Run,
    network: Network,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert run("a.png", output=output) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert network.loads == 0


def test_a_name_too_long_for_its_results_is_refused(
    run: Run, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / ("字" * 82 + ".png"))
    assert run("字" * 82 + ".png") == 2
    assert "has 258 bytes" in capsys.readouterr().err
    assert network.loads == 0


def test_a_full_disk_leaves_no_part_of_a_result(
    run: Run, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3)).astype(np.uint8)
    picture(tmp_path / "a.png")
    Image.fromarray(noise).save(tmp_path / "b.png")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        assert run("a.png", "b.png") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(contents(tmp_path / "out")) == ["a.json", "a.labels.png", "a.overlay.png"]
    assert "b.overlay.png cannot be written: File too large" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out")
    assert run("a.png", "b.png") == 0


def test_a_bad_image_or_video_does_not_stop_the_good_ones(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "c.mp4").write_bytes(b"no video")
    picture(tmp_path / "d.png")
    assert run("a.png", "b.png", "c.mp4", "d.png") == 1
    said = capsys.readouterr()
    assert "b.png (8 bytes) is not an image" in said.err
    assert "c.mp4 cannot be decoded" in said.err
    assert "out: 2 images segmented" in said.out


def test_where_no_input_can_be_used_it_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"no image")
    assert run("b.png") == 2


def test_an_image_over_which_a_library_fails_is_named_and_the_others_are_done(
    run: Run, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_once() -> None:
        network.before = lambda: None
        raise cv2.error("OpenCV: sizes do not match\n> in function 'resize'")

    network.before = fail_once
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    assert run("a.png", "b.png") == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "a.png cannot be segmented: error: OpenCV: sizes do not match." in said.err
    assert "out: 1 image segmented" in said.out


def test_the_setting_bounds_the_pixels_of_an_image(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    assert run("a.png", "--set=max_image_pixels=4799") == 2
    assert "200x24 pixels, more than max_image_pixels=4799" in capsys.readouterr().err


def test_12_bits_in_16_are_segmented_as_8(run: Run, network: Network, tmp_path: Path) -> None:
    eight = np.array([[0, 1, 7], [128, 200, 255]], np.uint8)
    twelve = np.round(eight * (4095 / 255)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), twelve)
    assert run("a.png", "--set=bit_depth=12") == 0
    np.testing.assert_array_equal(network.images[0], np.repeat(eight[..., None], 3, axis=2))


@pytest.mark.parametrize("command", ["segment", "replay"])
def test_a_background_that_is_a_class_is_refused_before_the_network_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.zeros((8, 8, 3), np.uint8))
    weights = tmp_path / "no_weights.pt"  # which is noticed when it is loaded
    words = [command, str(photo), "--classes", "road, car", "--weights", str(weights)]
    words += ["--set", "background_threshold=0.2", "--set", "background_id=1"]
    assert main([*words, "--output", str(tmp_path / "out.mcap")]) == 2
    error = capsys.readouterr().err
    assert "background_id=1" in error
    assert "no_weights" not in error
