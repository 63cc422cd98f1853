"""Read a recording for playback: serialised messages, and the quality of service of each topic.

``rosbags`` reads rosbag2 folders and single .mcap and .db3 files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    Qos,
    QosDurability,
    QosHistory,
    QosReliability,
)
from rosbags.rosbag2 import Reader, ReaderError

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.file_reader import CDR, decompressed, full_type_name
from activesam_ros.recordings.find_files import METADATA, find_files

DEFAULT_DEPTH = 10
MAX_DEPTH = 1 << 16
# Topics that are latched by convention, in case the recording does not state a profile.
_LATCHED_TOPICS = ("/tf_static", "/robot_description")


@dataclass(frozen=True)
class BagTopic:
    """A recorded topic: its type ``package/msg/Name``, and the profile with which to publish it."""

    name: str
    message_type: str
    messages: int
    profile: QoSProfile


class PlayedBag:
    """An open recording of one file or several."""

    def __init__(self, path: Path, readers: Sequence[Reader]) -> None:
        self.path = path
        self._readers = tuple(readers)
        self.topics = _topics([entry for reader in readers for entry in reader.connections])

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Topic, recorded time [ns] and CDR bytes of each message of ``topics``, ordered by time.

        Raises RecordingError where the recording is damaged.
        """
        try:
            for reader in self._readers:
                chosen = [entry for entry in reader.connections if entry.topic in topics]
                if not chosen:
                    continue  # rosbags reads all topics if it is given none
                for entry, time_ns, data in reader.messages(chosen):
                    yield entry.topic, time_ns, decompressed(bytes(data), CDR)
        except ReaderError as error:
            raise RecordingError(f"The recording {self.path} is damaged: {error}") from error


@contextmanager
def open_bag(path: Path) -> Iterator[PlayedBag]:
    """Open the recording; a folder without metadata is read file by file.

    Raises RecordingError if it cannot be read.
    """
    whole = not path.is_dir() or (path / METADATA).is_file()
    files = (path,) if whole else find_files(path).files
    if not path.exists():
        raise RecordingError(f"There is no recording {path}.")
    with ExitStack() as stack:
        try:
            readers = [stack.enter_context(Reader(file)) for file in files]
        except (ReaderError, OSError) as error:
            raise RecordingError(f"The recording {path} cannot be read: {error}") from error
        yield PlayedBag(path, readers)


def _topics(connections: Sequence[Connection]) -> dict[str, BagTopic]:
    """Topics by name; a topic with several types has the first one."""
    grouped: dict[str, list[Connection]] = {}
    for entry in connections:
        group = grouped.setdefault(entry.topic, [])
        if not group or entry.msgtype == group[0].msgtype:
            group.append(entry)
    return {
        name: BagTopic(
            name=name,
            message_type=full_type_name(group[0].msgtype),
            messages=sum(entry.msgcount for entry in group),
            profile=offered_profile(name, [qos for entry in group for qos in _recorded(entry)]),
        )
        for name, group in grouped.items()
    }


def _recorded(connection: Connection) -> list[Qos]:
    ext = connection.ext
    return ext.offered_qos_profiles if isinstance(ext, ConnectionExtRosbag2) else []


def offered_profile(topic: str, recorded: Sequence[Qos]) -> QoSProfile:
    """The profile with which to publish ``topic``: the strongest of those that were recorded.

    A reliable publisher also serves best-effort subscribers, and a transient local publisher also
    serves volatile ones.
    """
    reliable = not recorded or any(
        qos.reliability != QosReliability.BEST_EFFORT for qos in recorded
    )
    latched = any(qos.durability == QosDurability.TRANSIENT_LOCAL for qos in recorded)
    latched = latched or (not recorded and topic in _LATCHED_TOPICS)
    depths = [qos.depth if 0 < qos.depth < MAX_DEPTH else DEFAULT_DEPTH for qos in recorded]
    keep_all = any(qos.history == QosHistory.KEEP_ALL for qos in recorded)
    return QoSProfile(
        history=HistoryPolicy.KEEP_ALL if keep_all else HistoryPolicy.KEEP_LAST,
        # one latched publisher replaces several, so it keeps as many messages as all of them
        depth=min((sum if latched else max)(depths), MAX_DEPTH) if depths else DEFAULT_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
