"""Only regular files of a bounded size are opened; nothing else makes the reader wait."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from activesam_ros.regular_files import check_regular, open_regular, read_regular


def refusal(path: Path, limit: int = 100, *, ours: bool = False) -> str:
    """What all three say of the file."""
    said = set()
    for look in (open_regular, read_regular, check_regular):
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            look(path, limit, ours=ours)
        said.add(caught.value.strerror)
    (sentence,) = said
    assert sentence
    assert "\n" not in sentence
    return sentence


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert read_regular(path, 7) == b"content"
    with open_regular(path, 7, ours=True) as stream:
        assert stream.read() == b"content"
    assert check_regular(path, 7).st_size == 7
    assert refusal(path, 6) == "it has 7 bytes, more than the 6 allowed"
    (tmp_path / "link").symlink_to(path)
    assert read_regular(tmp_path / "link", 7) == b"content"


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "it is a named pipe, not a regular file"
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    assert refusal(tmp_path / "link") == "it is a named pipe, not a regular file"
    assert refusal(Path("/dev/zero")) == "it is a device, not a regular file"
    assert refusal(tmp_path) == "Is a directory"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        assert refusal(tmp_path / "socket") == "it is a socket, not a regular file"
    assert refusal(tmp_path / "missing") == "No such file or directory"
    assert "no file can have this name" in refusal(Path("a\0b"))


def test_a_sparse_file_counts_with_its_whole_size(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(100 << 30)
    assert refusal(path, 1 << 30).startswith("it has 107,374,182,400 bytes, more than the")


def test_a_pipe_that_takes_the_place_of_a_file_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    status = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr("activesam_ros.regular_files.os.stat", lambda _: status)
    with pytest.raises(OSError, match="a named pipe"):
        open_regular(path, 100)


def test_a_file_that_others_may_write_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    for mode in (0o666, 0o620):
        path.chmod(mode)
        assert refusal(path, ours=True) == "other users may write it"
        assert read_regular(path, 100) == b"content"
    path.chmod(0o644)
    assert read_regular(path, 100, ours=True) == b"content"
    monkeypatch.setattr("activesam_ros.regular_files.os.geteuid", lambda: os.getuid() + 1)
    assert "not to you" in refusal(path, ours=True)
