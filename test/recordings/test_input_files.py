"""What the names on a command line stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from activesam_ros.errors import UsageError
from activesam_ros.recordings.input_files import InputFile, InputKind, expand_inputs, kind_of


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def names(files: tuple[InputFile, ...]) -> list[str]:
    return [file.path.name for file in files]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", InputKind.IMAGE),
        ("A.JPG", InputKind.IMAGE),
        ("a.b.jpeg", InputKind.IMAGE),
        ("v.mp4", InputKind.VIDEO),
        ("v.MOV", InputKind.VIDEO),
        ("d.mcap", InputKind.RECORDING),
        ("d.db3.zstd", InputKind.RECORDING),
        ("d.bag.active", InputKind.RECORDING),
        ("photo", InputKind.OTHER),
        ("notes.txt", InputKind.OTHER),
    ],
)
def test_the_suffix_says_what_a_file_is(name: str, kind: InputKind) -> None:
    assert kind_of(Path(name)) is kind


def test_files_keep_their_order_and_appear_once(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.png", "v.mp4", "photo")
    given = [tmp_path / name for name in ("b.png", "photo", "a.png", "b.png", "v.mp4")]
    found = expand_inputs(given)
    assert names(found) == ["b.png", "photo", "a.png", "v.mp4"]
    assert found[1].kind is InputKind.OTHER


def test_a_folder_stands_for_its_images_in_order_of_their_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "f10.png", "f2.png", "f1.JPG", "notes.txt", ".hidden.png")
    touch(tmp_path, "f1.labels.png", "f1.overlay.png", "f1.json", "c.mp4")
    touch(tmp_path / "below", "deep.png")
    assert names(expand_inputs([tmp_path])) == ["c.mp4", "f1.JPG", "f2.png", "f10.png"]


@pytest.mark.parametrize(
    "recorded", [["d_0.mcap", "d_1.mcap"], ["metadata.yaml", "d.mcap", "a.png"]]
)
def test_a_folder_of_a_recording_is_one_input(recorded: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *recorded)
    assert expand_inputs([tmp_path]) == (InputFile(tmp_path, InputKind.RECORDING),)


def test_a_pattern_stands_for_what_it_matches(tmp_path: Path) -> None:
    touch(tmp_path, "f10.png", "f2.png", "g.png", "f3.txt")
    assert names(expand_inputs([tmp_path / "f*.png"])) == ["f2.png", "f10.png"]
    touch(tmp_path / "x", "1.png")
    touch(tmp_path / "y", "0.png")
    assert names(expand_inputs([tmp_path / "[xy]" / "*"])) == ["1.png", "0.png"]
    assert names(expand_inputs([tmp_path / "?"])) == ["1.png", "0.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "[1].png", "1.png")
    assert names(expand_inputs([tmp_path / "[1].png"])) == ["[1].png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.png", "There is no file or folder"),
        ("no*.png", "No file matches"),
        ("below", "no image, video or recording"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused(name: str, message: str, tmp_path: Path) -> None:
    touch(tmp_path / "below" / "further", "a.png")
    with pytest.raises(UsageError, match=message):
        expand_inputs([tmp_path / name])
