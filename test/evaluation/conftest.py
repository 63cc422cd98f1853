"""Builders of recordings, a segmenter that needs no network, and the golden weights."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zstandard
from mcap.writer import CompressionType, Writer
from numpy.typing import NDArray
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_typestore

from activesam_ros.evaluation.datasets.sources import Part
from activesam_ros.evaluation.execution.part_journal import JOURNAL_NAME, PartJournal
from activesam_ros.evaluation.execution.worker import PartResult
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.recordings.message_types import (
    COMPRESSED_IMAGE,
    IMAGE,
    VOCABULARY,
    definition,
    header,
    new,
    ros2_types,
    serialize,
)
from activesam_ros.segmentation.result import ActiveClass, Reason, Segmentation

SECOND = 1_000_000_000
TIMINGS = ("frames_per_second", "latency_ms", "stage_latency_ms", "peak_memory_mib")


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A message to record: its CDR, or whatever else it consists of."""

    topic: str
    message_type: str
    log_time_ns: int
    data: bytes


@dataclasses.dataclass(frozen=True)
class BagBuilder:
    """Makes messages and recordings of them."""

    folder: Path

    def image(
        self,
        place: int,
        pixels: NDArray[np.uint8] | None = None,
        topic: str = "/camera/image_raw",
        *,
        encoding: str = "rgb8",
        stamp_ns: int | None = None,
        log_time_ns: int | None = None,
        data: bytes | None = None,
        step: int | None = None,
    ) -> Recorded:
        """The image of ``place``, stamped place + 1 seconds; its pixels default to place."""
        if pixels is None:
            pixels = np.full((4, 6, 3), place, np.uint8)
        stamp = (place + 1) * SECOND if stamp_ns is None else stamp_ns
        row = pixels.reshape(len(pixels), -1)
        message = new(
            IMAGE,
            {
                "header": header(stamp, "camera_optical"),
                "height": pixels.shape[0],
                "width": pixels.shape[1],
                "encoding": encoding,
                "is_bigendian": 0,
                "step": row.shape[1] * row.itemsize if step is None else step,
                "data": np.frombuffer(row.tobytes() if data is None else data, np.uint8),
            },
        )
        return Recorded(
            topic, IMAGE, stamp if log_time_ns is None else log_time_ns, serialize(message)
        )

    def compressed(
        self,
        place: int,
        pixels: NDArray[Any],
        topic: str = "/camera/image_raw/compressed",
        suffix: str = ".png",
    ) -> Recorded:
        """``pixels`` as a PNG or JPEG, stamped place + 1 seconds."""
        stamp = (place + 1) * SECOND
        stored = pixels[..., ::-1] if pixels.ndim == 3 else pixels
        _, data = cv2.imencode(suffix, stored)
        fields = {
            "header": header(stamp, "camera_optical"),
            "format": suffix.removeprefix("."),
            "data": data.reshape(-1),
        }
        return Recorded(topic, COMPRESSED_IMAGE, stamp, serialize(new(COMPRESSED_IMAGE, fields)))

    def vocabulary(
        self, names: dict[int, str], topic: str = "/ground_truth/vocabulary"
    ) -> Recorded:
        """A Vocabulary message that gives ids their names."""
        color = new("std_msgs/msg/ColorRGBA", {"r": 0.0, "g": 0.0, "b": 0.0, "a": 1.0})
        entries = [
            new(
                "activesam_ros/msg/VocabularyEntry",
                {"id": id, "name": name, "color": color, "pinned": False},
            )
            for id, name in names.items()
        ]
        fields = {"header": header(0, ""), "version": 1, "entries": entries}
        return Recorded(topic, VOCABULARY, SECOND, serialize(new(VOCABULARY, fields)))

    def rosbag2(
        self,
        messages: Sequence[Recorded],
        name: str = "bag",
        *,
        storage: StoragePlugin = StoragePlugin.MCAP,
        compression: CompressionMode = CompressionMode.NONE,
    ) -> Path:
        """A folder with metadata, as rosbag2 writes it."""
        path = self.folder / name
        writer = Ros2Writer(path, version=8, storage_plugin=storage)
        if compression is not CompressionMode.NONE:
            writer.set_compression(compression, CompressionFormat.ZSTD)
        with writer:
            connections = {(entry.topic, entry.message_type): None for entry in messages}
            open_connections = {
                key: writer.add_connection(*key, typestore=ros2_types()) for key in connections
            }
            for entry in messages:
                connection = open_connections[entry.topic, entry.message_type]
                writer.write(connection, entry.log_time_ns, entry.data)
        return path

    def mcap(
        self,
        messages: Sequence[Recorded],
        name: str = "bag.mcap",
        *,
        profile: str = "ros2",
        encoding: str = "cdr",
        chunked: bool = True,
        finished: bool = True,
        chunk_size: int = 1 << 20,
        compression: CompressionType = CompressionType.ZSTD,
        long_names: bool = True,
        zstd_messages: bool = False,
        schema_encoding: str = "ros2msg",
    ) -> Path:
        """A single MCAP file with the oddities asked for."""
        path = self.folder / name
        with path.open("wb") as stream:
            writer = Writer(
                stream, chunk_size=chunk_size, use_chunking=chunked, compression=compression
            )
            writer.start(profile=profile)
            channels: dict[tuple[str, str], int] = {}
            for entry in messages:
                key = (entry.topic, entry.message_type)
                if key not in channels:
                    known = entry.message_type in ros2_types().fielddefs
                    text = definition(entry.message_type).text if known else ""
                    type_name = entry.message_type
                    shown = type_name if long_names else type_name.replace("/msg/", "/")
                    schema = writer.register_schema(shown, schema_encoding, text.encode())
                    channels[key] = writer.register_channel(entry.topic, encoding, schema)
                data = zstandard.compress(entry.data) if zstd_messages else entry.data
                writer.add_message(
                    channels[key], log_time=entry.log_time_ns, data=data, publish_time=0
                )
            if finished:
                writer.finish()  # type: ignore[no-untyped-call]
            else:
                writer.flush()  # type: ignore[no-untyped-call]
        return path

    def ros1_data(self, message: Recorded) -> bytes:
        """The ROS 1 serialisation of an image message."""
        store = get_typestore(Stores.ROS1_NOETIC)
        source: Any = ros2_types().deserialize_cdr(message.data, message.message_type)
        stamp = store.types["builtin_interfaces/msg/Time"](
            sec=source.header.stamp.sec, nanosec=source.header.stamp.nanosec
        )
        head = store.types["std_msgs/msg/Header"](
            seq=0, stamp=stamp, frame_id=source.header.frame_id
        )
        fields = {
            field.name: getattr(source, field.name)
            for field in dataclasses.fields(source)
            if not field.name.startswith("__")
        }
        made = store.types[message.message_type](**(fields | {"header": head}))
        return bytes(store.serialize_ros1(made, message.message_type))

    def ros1(
        self,
        messages: Sequence[Recorded],
        name: str = "bag.bag",
        compression: Ros1Writer.CompressionFormat | None = None,
    ) -> Path:
        """A ROS 1 bag."""
        path = self.folder / name
        store = get_typestore(Stores.ROS1_NOETIC)
        writer = Ros1Writer(path)
        if compression is not None:
            writer.set_compression(compression)
        with writer:
            connections: dict[str, Any] = {}
            for entry in messages:
                if entry.topic not in connections:
                    connections[entry.topic] = writer.add_connection(
                        entry.topic, entry.message_type, typestore=store
                    )
                writer.write(connections[entry.topic], entry.log_time_ns, self.ros1_data(entry))
        return path


@dataclasses.dataclass
class FakeSegmenter:
    """Labels each pixel by its red level; decodes ``active`` queries and counts its calls."""

    vocabulary: Vocabulary
    active: tuple[int, ...] = ()
    offset: int = 0
    images: list[NDArray[np.uint8]] = dataclasses.field(default_factory=list)
    before: Callable[[int], None] = lambda call: None

    def segment(self, image: NDArray[np.uint8], /) -> Segmentation:
        self.before(len(self.images))
        self.images.append(image.copy())
        labels = (image[..., 0] + np.uint8(self.offset)).astype(np.uint8)
        classes = tuple(
            ActiveClass(entry.id, entry.name, 0.5, int((labels == entry.id).sum()), Reason.UNPRUNED)
            for entry in self.vocabulary.classes
        )
        active = self.active or tuple(range(len(self.vocabulary.queries)))
        return Segmentation(
            labels=labels,
            presence=(None,) * len(self.vocabulary.queries),
            active_queries=active,
            classes=classes,
            timings_ms={"encode": 1.0, "total": 2.0},
        )


@dataclasses.dataclass(frozen=True)
class Interruptions:
    """Ends evaluations of ``images`` images early and looks at what they leave."""

    script: Path
    images: int

    def die(self, end: str, kept: int, command: Iterable[str]) -> int:
        """The exit code of a command that the signal ``end`` ends when so many images are kept."""
        words = [sys.executable, str(self.script), end, str(kept), *command]
        return subprocess.run(words, check=False, timeout=300).returncode

    def places(self, parts: Iterable[Part]) -> list[int]:
        """The images of ``parts``."""
        return [place for place in range(self.images) for part in parts if place in part]

    def kept(self, output: Path) -> list[int]:
        """Which images an evaluation that has ended keeps in its output."""
        with contextlib.closing(sqlite3.connect(output / JOURNAL_NAME)) as database:
            rows = database.execute("SELECT start, stop FROM parts").fetchall()
        return self.places([Part(*row) for row in rows])

    @staticmethod
    def results(output: Path) -> dict[str, Any]:
        """results.json without what a clock or a memory meter says, and who did the work."""
        content: dict[str, Any] = json.loads((output / "results.json").read_text())
        for entry in content["methods"].values():
            for key in TIMINGS:
                del entry[key]
        del content["finished"], content["executor"]
        return content


@pytest.fixture
def interruptions(repository: Path) -> Interruptions:
    return Interruptions(repository / "test/evaluation/in_workers/dying_command.py", images=6)


@pytest.fixture
def done_here(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """The parts that evaluations begun in this process do from now on."""
    parts: list[Part] = []
    keep = PartJournal.keep

    def noting(journal: PartJournal, part: Part, result: PartResult) -> None:
        parts.append(part)
        keep(journal, part, result)

    monkeypatch.setattr(PartJournal, "keep", noting)
    return parts


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> Terminal:
    """To be set as sys.stderr by the test: what a fixture sets there, pytest sets back."""
    return Terminal()


@pytest.fixture
def bags(tmp_path: Path) -> BagBuilder:
    return BagBuilder(tmp_path)


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """Classes road, tree (hedge) and sky with the ids 0, 1 and 7."""
    return Vocabulary(
        "small",
        (
            VocabularyClass(0, ("road",), (128, 64, 128)),
            VocabularyClass(1, ("tree", "hedge"), (107, 142, 35), pinned=True),
            VocabularyClass(7, ("sky",), (70, 130, 180)),
        ),
    )


@pytest.fixture
def fake(vocabulary: Vocabulary) -> FakeSegmenter:
    return FakeSegmenter(vocabulary)


@pytest.fixture(scope="session")
def found_bags(repository: Path) -> Path:
    """Recordings that others made."""
    return repository / "test" / "data" / "bags"


@pytest.fixture(scope="session")
def weights(repository: Path) -> Path:
    return repository / "test" / "data" / "golden" / "model.pt"
