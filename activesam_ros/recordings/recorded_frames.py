"""Read a recording: its topics, and every image of chosen topics in order, in constant memory.

Reads rosbag2 recordings (.mcap and .db3; split; zstd by file or by message) and ROS 1 bags.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.file_reader import Channel, DamageError, RawMessage
from activesam_ros.recordings.find_files import RecordingFiles, find_files, open_file
from activesam_ros.recordings.serialization import ENCODINGS, IMAGE_TYPES, deserialize

_NANOSECONDS = 1_000_000_000
_STAMP_LIMIT_NS = (1 << 31) * _NANOSECONDS  # a stamp's seconds are a signed 32-bit integer


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One image message of a recording.

    message: sensor_msgs/Image or CompressedImage; None when it cannot be deserialized, for the
    reason in ``problem``. stamp_ns: the stamp of its header, replaced by ``log_time_ns`` when it is
    zero or out of range (``stamp_is_log_time``). Times are nanoseconds since the epoch.
    """

    topic: str
    message_type: str
    stamp_ns: int
    log_time_ns: int
    frame_id: str
    stamp_is_log_time: bool
    message: Any = field(repr=False)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the whole recording, with the messages of one type.

    messages: their number, None when a file does not tell. qos: the different qualities of service
    that its files state, as in :class:`Channel`.
    """

    name: str
    message_type: str
    encodings: tuple[str, ...]
    messages: int | None
    qos: tuple[str, ...] = ()


class Recording:
    """The recording at ``path``; no file stays open between calls.

    Messages of several files are merged by log time. A file is open while its messages are due.
    Raises RecordingError when the path is no recording or none of its files can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._source: RecordingFiles = find_files(path)
        self._notes: dict[str, None] = dict.fromkeys(self._source.notes)
        channels: list[Channel] = []
        failures: list[RecordingError] = []
        self._start_times_ns = [0] * len(self._source.files)
        for place, file in enumerate(self._source.files):
            try:
                with open_file(file) as storage:
                    channels.extend(storage.channels)
                    self._start_times_ns[place] = storage.start_time_ns
                    self._note_damage(file, storage.damage)
            except RecordingError as error:
                failures.append(error)
                self._notes[str(error)] = None
        if len(failures) == len(self._source.files):
            raise failures[0]
        self.topics = _topics(channels)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the recording in order."""
        return self._source.files

    @property
    def notes(self) -> tuple[str, ...]:
        """Problems of the part that has been read so far, one sentence each, without full stops."""
        return tuple(self._notes)

    @property
    def metadata_qos(self) -> Mapping[str, str]:
        """The qualities of service that metadata.yaml states, by topic, as in :class:`Channel`."""
        return self._source.qos

    @property
    def image_topics(self) -> tuple[Topic, ...]:
        """Topics with readable images, in order of name."""
        return tuple(
            topic for topic in self.topics if _are_images(topic.message_type, topic.encodings)
        )

    def image_topic(self, name: str) -> Topic:
        """The image topic ``name``; of several types of images, that of most messages.

        Raises RecordingError listing the image topics when it is not one, or is empty.
        """
        found = [topic for topic in self.topics if topic.name == name]
        if not found:
            raise RecordingError(f"{self.path} has no topic {name!r}; {self._listing()}.")
        images = [entry for entry in found if entry in self.image_topics]
        topic = max(images or found, key=lambda entry: entry.messages or 0)
        if not images:
            raise RecordingError(
                f"{name!r} holds {topic.message_type or 'messages without a type'} in "
                f"{', '.join(topic.encodings)}; only sensor_msgs Image and CompressedImage in "
                f"{' or '.join(ENCODINGS)} can be read; {self._listing()}."
            )
        if all(entry.messages == 0 for entry in images):
            raise RecordingError(f"{name!r} is empty; {self._listing()}.")
        return topic

    def message_count(self, topics: Sequence[str]) -> int | None:
        """The number of images on ``topics``, None when a file does not tell."""
        return _sum([topic.messages for topic in self.image_topics if topic.name in topics])

    def frames(self, topics: Sequence[str]) -> Iterator[RecordedFrame]:
        """Every image on ``topics`` in order of recording.

        A damaged file is read up to the damage, which :attr:`notes` then reports. Raises
        RecordingError for a topic that :meth:`image_topic` refuses.
        """
        for name in topics:
            self.image_topic(name)
        return self._frames(frozenset(topics))

    def messages(self, topic: str, message_type: str) -> Iterator[Any]:
        """The messages of ``message_type`` on ``topic``, without those that are damaged."""
        for raw in self.raw_messages(frozenset((topic,))):
            if raw.channel.message_type == message_type:
                with contextlib.suppress(RecordingError):
                    yield deserialize(raw.data, raw.channel)

    def _frames(self, topics: frozenset[str]) -> Iterator[RecordedFrame]:
        for raw in self.raw_messages(topics):
            if _are_images(raw.channel.message_type, (raw.channel.encoding,)):
                yield _frame(raw)

    def raw_messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Every message on ``topics`` in order of log time; of one time, in order of the files.

        A damaged file is read up to the damage, which :attr:`notes` then reports.
        """
        opened: dict[int, Generator[RawMessage, None, None]] = {}  # by the file's place
        # (log time, place of the file, its next message; None before it is opened)
        queue: list[tuple[int, int, RawMessage | None]] = [
            (time_ns, place, None) for place, time_ns in enumerate(self._start_times_ns)
        ]
        heapq.heapify(queue)
        try:
            while queue:
                time_ns, place, message = heapq.heappop(queue)
                if message is None:
                    opened[place] = self._messages_of(self._source.files[place], topics)
                else:
                    yield message
                following = next(opened[place], None)
                if following is not None:
                    # A file that is not in order of log time keeps its own order.
                    heapq.heappush(queue, (max(time_ns, following.log_time_ns), place, following))
        finally:
            for messages in opened.values():
                messages.close()

    def _messages_of(
        self, file: Path, topics: Collection[str]
    ) -> Generator[RawMessage, None, None]:
        try:
            with open_file(file) as storage:
                yield from storage.messages(topics)
        except DamageError as damage:
            self._note_damage(file, str(damage))
        except RecordingError as error:
            self._notes[str(error)] = None
        except OSError as error:
            self._note_damage(file, f"it cannot be read further ({error.strerror or error})")

    def _note_damage(self, file: Path, damage: str | None) -> None:
        if damage is not None:
            self._notes[f"{file} is read up to its damage: {damage}"] = None

    def _listing(self) -> str:
        if not self.image_topics:
            return "it has no image topic"
        shown = ", ".join(
            topic.name + ("" if topic.messages is None else f" ({topic.messages})")
            for topic in self.image_topics
        )
        return f"its image topics are {shown}"


def open_recording(path: Path) -> Recording:
    """Open the recording at ``path``, a file or a folder; raises RecordingError."""
    return Recording(path)


def _topics(channels: Sequence[Channel]) -> tuple[Topic, ...]:
    """Merge the channels of all files by topic and type, in order of name."""
    grouped: dict[tuple[str, str], list[Channel]] = {}
    for channel in channels:
        grouped.setdefault((channel.topic, channel.message_type), []).append(channel)
    return tuple(
        Topic(
            name,
            message_type,
            tuple(sorted({channel.encoding for channel in group})),
            _sum([channel.messages for channel in group]),
            tuple(dict.fromkeys(channel.qos for channel in group if channel.qos)),
        )
        for (name, message_type), group in sorted(grouped.items())
    )


def _are_images(message_type: str, encodings: Sequence[str]) -> bool:
    """Whether this package can deserialize the messages to images."""
    return message_type in IMAGE_TYPES and set(encodings) <= set(ENCODINGS)


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _frame(raw: RawMessage) -> RecordedFrame:
    """Deserialize a message. An error becomes the frame's ``problem``."""
    log_time_ns = min(max(raw.log_time_ns, 0), _STAMP_LIMIT_NS - 1)
    message, stamp_ns, frame_id, problem = None, None, "", None
    try:
        message = deserialize(raw.data, raw.channel)
        stamp_ns = _stamp_ns(message.header.stamp)
        frame_id = message.header.frame_id
    except RecordingError as error:
        problem = str(error)
    return RecordedFrame(
        topic=raw.channel.topic,
        message_type=raw.channel.message_type,
        stamp_ns=log_time_ns if stamp_ns is None else stamp_ns,
        log_time_ns=log_time_ns,
        frame_id=frame_id,
        stamp_is_log_time=stamp_ns is None,
        message=message,
        problem=problem,
    )


def _stamp_ns(stamp: Any) -> int | None:
    """Nanoseconds; None for a stamp that is zero, negative or has nanosec >= 10^9."""
    seconds, nanoseconds = int(stamp.sec), int(stamp.nanosec)
    if not 0 <= seconds < 1 << 31 or not 0 <= nanoseconds < _NANOSECONDS:
        return None
    return seconds * _NANOSECONDS + nanoseconds or None
