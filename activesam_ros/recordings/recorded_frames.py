"""Read a recording: its topics, and every image of chosen topics in order, in constant memory.

Reads rosbag2 recordings (.mcap and .db3; split; zstd by file or by message) and ROS 1 bags.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activesam_ros.errors import RecordingError, os_reason, printable
from activesam_ros.recordings.formats.decompression import (
    DEFAULT_MAX_MESSAGE_MIB,
    max_message_bytes,
)
from activesam_ros.recordings.formats.file_reader import (
    Channel,
    DamageError,
    RawMessage,
    decompressed,
    reason,
)
from activesam_ros.recordings.formats.find_files import (
    METADATA,
    RecordingFiles,
    find_files,
    open_file,
)
from activesam_ros.recordings.serialization import ENCODINGS, IMAGE_TYPES, deserialize

_log = logging.getLogger(__name__)

_NANOSECONDS = 1_000_000_000
# More than so many irregularities of a recording are not told one by one.
_MAX_NOTES = 50
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

    messages: their number. qos: the different qualities of service
    that its files state, as in :class:`Channel`.
    """

    name: str
    message_type: str
    encodings: tuple[str, ...]
    messages: int
    qos: tuple[str, ...] = ()


class Recording:
    """The recording at ``path``; no file stays open between calls.

    Messages of several files are merged by log time. A file is open while its messages are due.
    max_message_mib: what a message or a chunk may take when it is decompressed. Raises
    RecordingError when the path is no recording or none of its files can be read.
    """

    def __init__(self, path: Path, max_message_mib: int = DEFAULT_MAX_MESSAGE_MIB) -> None:
        self.path = path
        self._max_bytes = max_message_bytes(max_message_mib)
        self._source: RecordingFiles = find_files(path)
        self._notes: dict[str, None] = {}
        for note in self._source.notes:
            self._note(note)
        channels: list[Channel] = []
        failures: list[RecordingError] = []
        self._start_times_ns = [0] * len(self._source.files)
        # For each file, the messages of each topic.
        self._counts: list[Counter[str]] = [Counter() for _ in self._source.files]
        for place, file in enumerate(self._source.files):
            try:
                with open_file(file, self._max_bytes) as storage:
                    channels.extend(storage.channels)
                    self._start_times_ns[place] = storage.start_time_ns
                    for channel in storage.channels:
                        self._counts[place][channel.topic] += channel.messages
                    self._note_damage(file, storage.damage)
                    for note in storage.notes:
                        self._note(f"{file}: {note}")
            except RecordingError as error:
                failures.append(error)
                self._note(str(error).rstrip("."), error)
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
            raise self.refusal(f"{self.path} has no topic {name!r}; {self._listing()}.")
        images = [entry for entry in found if entry in self.image_topics]
        topic = max(images or found, key=lambda entry: entry.messages)
        if not images:
            raise self.refusal(
                f"{name!r} holds {topic.message_type or 'messages without a type'} in "
                f"{', '.join(topic.encodings)}; only sensor_msgs Image and CompressedImage in "
                f"{' or '.join(ENCODINGS)} can be read; {self._listing()}."
            )
        if all(entry.messages == 0 for entry in images):
            raise self.refusal(f"{name!r} is empty; {self._listing()}.")
        return topic

    def refusal(self, text: str) -> RecordingError:
        """An error that says ``text``, and what is wrong with the recording, which may explain it.

        The caller raises it.
        """
        return RecordingError(" ".join((text, *(f"{note}." for note in self._notes))))

    def message_count(self, topics: Sequence[str]) -> int:
        """The number of images on ``topics``."""
        return sum(topic.messages for topic in self.image_topics if topic.name in topics)

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
                    yield deserialize(self.unpacked(raw), raw.channel)

    def unpacked(self, raw: RawMessage) -> bytes:
        """The serialized message without compression; raises RecordingError if it has none."""
        if raw.problem is not None:
            raise RecordingError(raw.problem)
        return decompressed(raw.data, raw.channel.encoding, self._max_bytes)

    def _frames(self, topics: frozenset[str]) -> Iterator[RecordedFrame]:
        for raw in self.raw_messages(topics):
            if _are_images(raw.channel.message_type, (raw.channel.encoding,)):
                yield self._frame(raw)

    def raw_messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Every message on ``topics``, each once, in order of log time.

        Of one time, they come in order of the files. A damaged file is read up to the damage, which
        :attr:`notes` then reports, as it does what metadata.yaml counts and no file has.
        """
        opened: dict[int, Generator[RawMessage, None, None]] = {}  # by the file's place
        delivered: Counter[str] = Counter()
        # (log time, place of the file, its next message; None before it is opened)
        queue: list[tuple[int, int, RawMessage | None]] = [
            (time_ns, place, None) for place, time_ns in enumerate(self._start_times_ns)
        ]
        heapq.heapify(queue)
        try:
            while queue:
                time_ns, place, message = heapq.heappop(queue)
                if message is None:
                    opened[place] = self._messages_of(place, topics)
                else:
                    delivered[message.channel.topic] += 1
                    yield message
                following = next(opened[place], None)
                if following is not None:
                    # A file that is not in order of log time keeps its own order.
                    heapq.heappush(queue, (max(time_ns, following.log_time_ns), place, following))
        finally:
            for messages in opened.values():
                messages.close()
        for topic in topics:
            stated = self._source.counts.get(topic, delivered[topic])
            if stated != delivered[topic]:
                self._note(
                    f"{METADATA} counts {stated} messages on {topic}, and {delivered[topic]} are "
                    "in its files"
                )

    def _messages_of(
        self, place: int, topics: Collection[str]
    ) -> Generator[RawMessage, None, None]:
        file = self._source.files[place]
        delivered: Counter[str] = Counter()
        try:
            with open_file(file, self._max_bytes) as storage:
                for message in storage.messages(topics):
                    delivered[message.channel.topic] += 1
                    yield message
        except DamageError as damage:
            self._note_damage(file, str(damage), damage)
        except RecordingError as error:
            self._note(str(error).rstrip("."), error)
        except OSError as error:
            self._note_damage(file, f"it cannot be read further ({os_reason(error)})", error)
        except Exception as error:  # noqa: BLE001 whatever a parser raises
            self._note_damage(file, f"it cannot be read further ({reason(error)})", error)
        for topic in sorted(topics):
            number = self._counts[place][topic]
            if delivered[topic] != number:
                self._note(
                    f"{file}: {delivered[topic]} of {number} messages on {topic} can be read"
                )

    def _note_damage(
        self, file: Path, damage: str | None, cause: BaseException | None = None
    ) -> None:
        if damage is not None:
            self._note(f"{file} is read up to its damage: {damage}", cause)

    def _note(self, text: str, cause: BaseException | None = None) -> None:
        """Keep a sentence for :attr:`notes`; the log has the error behind it, for --debug."""
        if cause is not None:
            _log.debug("%s", printable(text), exc_info=cause)
        if len(self._notes) < _MAX_NOTES:
            self._notes[printable(text)] = None
        else:
            self._notes["and there are more irregularities"] = None

    def _frame(self, raw: RawMessage) -> RecordedFrame:
        """Deserialize a message. An error becomes the frame's ``problem``."""
        log_time_ns = min(max(raw.log_time_ns, 0), _STAMP_LIMIT_NS - 1)
        message, stamp_ns, frame_id, problem = None, None, "", None
        try:
            message = deserialize(self.unpacked(raw), raw.channel)
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

    def _listing(self) -> str:
        if not self.image_topics:
            return "it has no image topic"
        shown = ", ".join(f"{topic.name} ({topic.messages})" for topic in self.image_topics)
        return f"its image topics are {shown}"


def open_recording(path: Path, max_message_mib: int = DEFAULT_MAX_MESSAGE_MIB) -> Recording:
    """Open the recording at ``path``, a file or a folder; raises RecordingError.

    max_message_mib: as in :class:`Recording`.
    """
    return Recording(path, max_message_mib)


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
            sum(channel.messages for channel in group),
            tuple(dict.fromkeys(channel.qos for channel in group if channel.qos)),
        )
        for (name, message_type), group in sorted(grouped.items())
    )


def _are_images(message_type: str, encodings: Sequence[str]) -> bool:
    """Whether this package can deserialize the messages to images."""
    return message_type in IMAGE_TYPES and set(encodings) <= set(ENCODINGS)


def _stamp_ns(stamp: Any) -> int | None:
    """Nanoseconds; None for a stamp that is zero, negative or has nanosec >= 10^9."""
    seconds, nanoseconds = int(stamp.sec), int(stamp.nanosec)
    if not 0 <= seconds < 1 << 31 or not 0 <= nanoseconds < _NANOSECONDS:
        return None
    return seconds * _NANOSECONDS + nanoseconds or None
