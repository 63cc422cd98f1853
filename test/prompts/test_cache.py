"""The cache on disk: what is read is what was written, or nothing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from activesam_ros.prompts.cache import (
    Layout,
    cache_path,
    default_cache_dir,
    read_tensors,
    write_tensors,
)

KEY = "0123abcd"


def make(offset: float = 0.0) -> dict[str, Tensor]:
    return {
        "features": torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) + offset,
        "padding": torch.tensor([[False, True, True], [False, False, True]]),
        "context": torch.zeros(2, 0, 4),
    }


def layout(tensors: dict[str, Tensor]) -> Layout:
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def read(folder: Path, key: str = KEY) -> dict[str, Tensor] | None:
    return read_tensors(folder, key, layout(make()))


def equal(found: dict[str, Tensor] | None, expected: dict[str, Tensor]) -> bool:
    return (
        found is not None
        and found.keys() == expected.keys()
        and all(torch.equal(found[name], expected[name]) for name in expected)
    )


def test_what_is_written_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "new" / "folder"
    assert read(folder) is None
    write_tensors(folder, KEY, make())
    assert equal(read(folder), make())
    assert [path.name for path in folder.iterdir()] == [cache_path(folder, KEY).name]
    assert not caplog.records


def test_a_tensor_that_is_a_view_is_stored_whole(tmp_path: Path) -> None:
    tensors = make()
    views = {
        **tensors,
        "features": tensors["features"].transpose(0, 1).contiguous().transpose(0, 1),
    }
    write_tensors(tmp_path, KEY, views)
    assert equal(read(tmp_path), tensors)


def stored(tensors: dict[str, Tensor]) -> bytes:
    """The file of the tensors, with a checksum that is right."""
    with tempfile.TemporaryDirectory() as folder:
        write_tensors(Path(folder), KEY, tensors)
        return cache_path(Path(folder), KEY).read_bytes()


def bad_files() -> dict[str, bytes]:
    good = save(make(), {"fingerprint": KEY, "digest": "0"})
    return {
        "empty": b"",
        "text": b"not a table",
        "truncated": good[:-7],
        "longer": good + b"x",
        "header only": good[:8],
        "huge header": b"\xff" * 8 + good[8:],
        "no metadata": save(make()),
        "metadata is a list": b'\x16\x00\x00\x00\x00\x00\x00\x00{"__metadata__":["a"]}',
        "changed content": good,
        "other tensors": save({"features": torch.ones(1)}, {"fingerprint": KEY}),
        "other weights": save(make(), {"fingerprint": "other"}),
        "not finite": stored(make(float("nan"))),
        "infinite": stored(make(float("inf"))),
        "another dtype": stored({**make(), "padding": make()["padding"].to(torch.uint8)}),
        "far too large": stored(make()) + bytes(1 << 20),
    }


@pytest.mark.parametrize("kind", bad_files())
def test_a_file_that_cannot_be_trusted_is_reported_and_rewritten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    cache_path(tmp_path, KEY).write_bytes(bad_files()[kind])
    cache_path(tmp_path, KEY).chmod(0o600)
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path) is None
    assert len(caplog.records) == 1
    assert str(tmp_path) in caplog.text
    write_tensors(tmp_path, KEY, make())
    assert equal(read(tmp_path), make())


def test_a_table_of_another_fingerprint_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tensors(tmp_path, "other", make())
    cache_path(tmp_path, "other").rename(cache_path(tmp_path, KEY))
    assert read(tmp_path) is None
    assert "belongs to other weights, words or settings" in caplog.text


def test_a_table_of_another_shape_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tensors(tmp_path, KEY, {**make(), "features": torch.zeros(2, 3, 5)})
    assert read(tmp_path) is None
    assert "not those of a prompt table" in caplog.text


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_never_a_table(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    cache_path(folder, KEY).write_bytes(content)
    assert read(folder) is None


@settings(max_examples=150)
@given(place=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_changed_byte_never_changes_a_tensor(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    write_tensors(folder, KEY, make())
    path = cache_path(folder, KEY)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= flip
    path.write_bytes(data)
    found = read(folder)
    assert found is None or equal(found, make())


def test_a_folder_in_place_of_the_file_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache_path(tmp_path, KEY).mkdir()
    assert read(tmp_path) is None
    write_tensors(tmp_path, KEY, make())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert [path.name for path in tmp_path.iterdir()] == [cache_path(tmp_path, KEY).name]


def test_a_folder_that_cannot_be_made_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    write_tensors(tmp_path / "file" / "cache", KEY, make())
    assert len(caplog.records) == 1
    assert "ACTIVESAM_CACHE" in caplog.text


def test_a_full_disk_leaves_the_old_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_tensors(tmp_path, KEY, make())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    write_tensors(tmp_path, KEY, make(offset=1.0))
    assert "No space left on device" in caplog.text
    assert equal(read(tmp_path), make())
    assert len(list(tmp_path.iterdir())) == 1


def test_the_tables_used_longest_ago_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activesam_ros.prompts.cache.MAX_FILES", 3)
    for age, key in enumerate(["new", "middle", "old"]):
        write_tensors(tmp_path, key, make())
        os.utime(cache_path(tmp_path, key), (1000 - age, 1000 - age))
    (tmp_path / "somebody's own file").write_text("stays")
    assert read(tmp_path, "old") is not None  # which makes it the newest
    write_tensors(tmp_path, KEY, make())
    kept = {key for key in ("new", "middle", "old", KEY) if cache_path(tmp_path, key).exists()}
    assert kept == {"new", "old", KEY}
    assert (tmp_path / "somebody's own file").exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o1777])
def test_a_folder_that_others_may_write_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    write_tensors(tmp_path, KEY, make())
    tmp_path.chmod(mode)
    assert read(tmp_path) is None
    assert f"{tmp_path} can be written by other users; run chmod 700" in caplog.text
    before = cache_path(tmp_path, KEY).read_bytes()
    write_tensors(tmp_path, KEY, make(1.0))
    assert cache_path(tmp_path, KEY).read_bytes() == before
    tmp_path.chmod(0o700)
    assert equal(read(tmp_path), make())


def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tensors(tmp_path, KEY, make())
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert read(tmp_path) is None
    assert f"{tmp_path} belongs to the user with id" in caplog.text


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_folder_and_file_are_ours_alone_whatever_the_umask(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, umask: int
) -> None:
    folder, before = tmp_path / "new" / "cache", os.umask(umask)
    try:
        write_tensors(folder, KEY, make())
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache_path(folder, KEY).stat().st_mode & 0o777 == 0o600
    assert equal(read(folder), make())
    assert not caplog.records


def test_a_file_that_others_may_write_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tensors(tmp_path, KEY, make())
    cache_path(tmp_path, KEY).chmod(0o666)
    assert read(tmp_path) is None
    assert "other users may write it" in caplog.text
    write_tensors(tmp_path, KEY, make())
    assert equal(read(tmp_path), make())


def test_a_pipe_or_link_in_place_of_the_file_is_replaced_and_never_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, precious = tmp_path / "cache", tmp_path / "precious"
    folder.mkdir(0o700)
    os.mkfifo(cache_path(folder, KEY))
    assert read(folder) is None
    assert "it is a named pipe, not a regular file" in caplog.text
    write_tensors(folder, KEY, make())
    assert equal(read(folder), make())
    precious.write_text("stays")
    cache_path(folder, KEY).unlink()
    cache_path(folder, KEY).symlink_to(precious)
    write_tensors(folder, KEY, make())
    assert equal(read(folder), make())
    assert precious.read_text() == "stays"
    with cache_path(folder, KEY).open("wb") as stream:
        stream.truncate(100 << 30)
    assert read(folder) is None
    assert "it has 107,374,182,400 bytes, more than" in caplog.text


WRITER = """
import sys
from pathlib import Path
import torch
from activesam_ros.prompts.cache import write_tensors
for round in range(40):
    write_tensors(Path(sys.argv[1]), sys.argv[2], {"features": torch.full((64, 64), 7.0)})
"""


def test_processes_that_write_at_once_leave_a_whole_table(
    tmp_path: Path, repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = {"features": torch.full((64, 64), 7.0)}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), KEY], cwd=repository)
        for _ in range(2)
    ]
    while any(writer.poll() is None for writer in writers):
        found = read_tensors(tmp_path, KEY, layout(expected))
        assert found is None or equal(found, expected)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert equal(read_tensors(tmp_path, KEY, layout(expected)), expected)
    assert not caplog.records
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ACTIVESAM_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/activesam_ros"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/robot/.cache/activesam_ros"),
        ({"XDG_CACHE_HOME": "", "ACTIVESAM_CACHE": ""}, "/home/robot/.cache/activesam_ros"),
        ({}, "/home/robot/.cache/activesam_ros"),
    ],
)
def test_the_default_folder(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/robot")
    assert default_cache_dir(environment) == Path(expected)


def test_a_user_without_a_home_has_no_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert default_cache_dir({}) is None
