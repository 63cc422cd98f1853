"""Fixtures that interrupt evaluations and read what they leave."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from activesam_ros.evaluation.execution.part_data import JOURNAL_NAME, PartResult
from activesam_ros.execution.part_journal import PartJournal
from activesam_ros.execution.task import Part

TIMINGS = ("frames_per_second", "latency_ms", "stage_latency_ms", "peak_memory_mib")


@dataclasses.dataclass(frozen=True)
class Interruptions:
    """Interrupts evaluations of ``images`` images and reads what they leave."""

    script: Path
    images: int

    def die(self, end: str, kept: int, command: Iterable[str]) -> int:
        """End a command by the signal ``end`` once it keeps ``kept`` images; its exit code."""
        words = [sys.executable, str(self.script), end, str(kept), *command]
        return subprocess.run(words, check=False, timeout=300).returncode

    def places(self, parts: Iterable[Part]) -> list[int]:
        """The images of ``parts``."""
        return [place for place in range(self.images) for part in parts if place in part]

    def kept(self, output: Path) -> list[int]:
        """The images in the journal of an ended evaluation."""
        with contextlib.closing(sqlite3.connect(output / JOURNAL_NAME)) as database:
            rows = database.execute("SELECT start, stop FROM parts").fetchall()
        return self.places([Part(*row) for row in rows])

    @staticmethod
    def results(output: Path) -> dict[str, Any]:
        """results.json without timings, memory and executor."""
        content: dict[str, Any] = json.loads((output / "results.json").read_text())
        for entry in content["methods"].values():
            for key in TIMINGS:
                del entry[key]
        del content["finished"], content["executor"]
        return content


@pytest.fixture
def interruptions(repository: Path) -> Interruptions:
    return Interruptions(
        repository / "test/evaluation/execution/in_workers/dying_command.py", images=6
    )


@pytest.fixture
def done_here(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """The parts that evaluations in this process add to their journals from now on."""
    parts: list[Part] = []
    keep = PartJournal.keep

    def noting(journal: PartJournal[PartResult], part: Part, result: PartResult) -> None:
        parts.append(part)
        keep(journal, part, result)

    monkeypatch.setattr(PartJournal, "keep", noting)
    return parts
