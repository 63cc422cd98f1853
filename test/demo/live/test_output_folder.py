"""The demo's output folder: what is cleared in it, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from activesam_ros.demo.drive.options import DriveOptions
from activesam_ros.demo.live.demo import DemoOptions, OwnRecording, run_demo
from activesam_ros.demo.live.live import LiveResult
from activesam_ros.errors import OutputError


class Reached(Exception):
    """The demo began its first step behind the check of the folder."""


class Progress:
    def say(self, text: str) -> None:
        raise Reached

    def playing(self) -> None: ...

    def show(self, live: LiveResult) -> None: ...


def options(output: Path, source: DriveOptions | OwnRecording | None = None) -> DemoOptions:
    return DemoOptions(
        output=output,
        source=source or DriveOptions(frames=1),
        weights=None,
        vocabulary="cityscapes",
        device="cpu",
        domain_id=1,
        localhost_only=True,
    )


@pytest.mark.parametrize("name", ["drive.mcap", "summary.json", "recorded.mcap", "overlays"])
def test_a_folder_with_files_that_no_demo_made_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=f"has {name}, .* no demo made"):
        run_demo(options(tmp_path), Progress())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_the_recording_that_is_played_is_not_cleared(tmp_path: Path) -> None:
    bag = tmp_path / "recorded.mcap"
    bag.write_text("mine")
    with pytest.raises(OutputError, match=r"plays .* and would replace it"):
        run_demo(options(tmp_path, OwnRecording(bag)), Progress())
    assert bag.read_text() == "mine"


def test_an_earlier_demo_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(Reached):
        run_demo(options(tmp_path), Progress())
    (tmp_path / "summary.json").write_text("of the earlier demo")
    with pytest.raises(Reached):
        run_demo(options(tmp_path), Progress())
    assert not (tmp_path / "summary.json").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
