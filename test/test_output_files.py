"""Outputs: refused before any work, and written whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from activesam_ros.errors import OutputError
from activesam_ros.output_files import (
    check_output_file,
    check_output_folder,
    make_folder,
    whole_file,
    whole_path,
    write_whole,
)

CHINESE = "字" * 82  # 246 bytes; most file systems allow 255


@contextmanager
def small_disk(largest_file: int) -> Iterator[None]:
    """Every file that this process writes may have ``largest_file`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def below_a_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("mine")
    return folder / "notes.txt" / "deep" / "out"


def dangling(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nowhere")
    return folder / "link"


def below_a_dangling_link(folder: Path) -> Path:
    return dangling(folder) / "out"


def looping(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def long_name(folder: Path) -> Path:
    return folder / (CHINESE + ".overlay.png") / "out"


UNUSABLE = [
    (below_a_file, "notes.txt is not a folder"),
    (lambda _: Path("/proc/out"), "/proc refuses files"),
    (dangling, "is a link to .*nowhere, which does not exist"),
    (below_a_dangling_link, "is a link to .*nowhere, which does not exist"),
    (looping, "is a link to .*loop, which does not exist"),
    (long_name, "has 258 bytes, and .* allows 255"),
]


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
@pytest.mark.parametrize(("place", "sentence"), UNUSABLE)
def test_an_output_that_cannot_be_written_is_refused_in_one_sentence(
    check: Callable[[Path], None], place: Callable[[Path], Path], sentence: str, tmp_path: Path
) -> None:
    path = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=sentence) as refused:
        check(path)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"--output {path} cannot be written: ")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", [place for place, _ in UNUSABLE])
def test_writing_there_all_the_same_is_no_traceback(
    place: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = place(tmp_path)
    if path.name == "link":  # writing through a link makes its target
        path = path / "out"
    with pytest.raises(OutputError):
        write_whole(path, "text")
    with pytest.raises(OutputError):
        make_folder(path)


def test_the_names_of_files_to_come_count(tmp_path: Path) -> None:
    check_output_folder(tmp_path / CHINESE, longest_name="a.png")
    with pytest.raises(OutputError, match="has 258 bytes"):
        check_output_folder(tmp_path, longest_name=CHINESE + ".overlay.png")
    check_output_file(tmp_path / CHINESE)
    with pytest.raises(OutputError, match="has 258 bytes"):
        check_output_file(tmp_path / CHINESE, longest_suffix=".partial-wal")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_seen_before_any_work(tmp_path: Path) -> None:
    with small_disk(100), pytest.raises(OutputError, match="File too large"):
        check_output_folder(tmp_path / "new")
    check_output_folder(tmp_path / "new")


def test_folder_and_file_are_not_mixed_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file; give a folder"):
        check_output_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="is a folder; give the name of a file"):
        check_output_file(tmp_path)
    check_output_file(tmp_path / "file")
    check_output_folder(tmp_path)


def test_a_full_disk_leaves_the_older_file_and_no_part_of_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "labels.png"
    with small_disk(1000):
        write_whole(path, b"old")
        with pytest.raises(OutputError, match=r"labels\.png cannot be written: File too large"):
            write_whole(path, bytes(2000))
        with pytest.raises(OutputError, match="File too large"):
            write_whole(tmp_path / "other.png", bytes(2000))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["labels.png"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["deep"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_no_part(error: type[BaseException], tmp_path: Path) -> None:
    def write() -> None:
        with whole_file(tmp_path / "a") as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert not list(tmp_path.iterdir())


def test_an_error_about_another_file_is_not_the_outputs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a"):
        (tmp_path / "input").read_bytes()


def test_files_have_the_usual_permissions_and_suffix(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_whole(tmp_path / "whole", "")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with whole_path(tmp_path / "film.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"film")
    assert (tmp_path / "film.mp4").read_bytes() == b"film"


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_a_device_is_written_and_stays_one() -> None:
    check_output_file(Path("/dev/null"))
    write_whole(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_a_pipe_receives_the_content(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, "text")
        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    def write() -> None:
        with whole_path(tmp_path / "a", replace=False) as made:
            made.write_text("ours")
            (tmp_path / "a").write_text("theirs")

    with pytest.raises(OutputError, match="meanwhile"):
        write()
    assert (tmp_path / "a").read_text() == "theirs"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("number", "written"), [(errno.EINVAL, True), (errno.EIO, False), (errno.EDQUOT, False)]
)
def test_only_a_file_system_that_cannot_wait_for_the_disk_is_excused(
    number: int, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("activesam_ros.output_files.os.fsync", refuse)
    with nullcontext() if written else pytest.raises(OutputError, match=os.strerror(number)):
        write_whole(tmp_path / "a", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"] * written


def test_a_library_that_wrote_nothing_is_not_a_success(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"), whole_path(tmp_path / "a"):
        pass


@pytest.mark.parametrize("plant", ["link", "file"])
def test_what_is_planted_at_the_temporary_name_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    planted = tmp_path / ".guessed.png"
    planted.symlink_to(victim) if plant == "link" else planted.hardlink_to(victim)
    with pytest.raises(OutputError, match="File exists"):
        write_whole(tmp_path / "a.png", b"labels")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "a.png").exists()
