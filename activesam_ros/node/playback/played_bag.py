"""Read a recording for playback: serialised messages, and the quality of service of each topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosReliability
from rosbags.rosbag2.metadata import parse_qos

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.formats.decompression import DEFAULT_MAX_MESSAGE_MIB
from activesam_ros.recordings.formats.file_reader import CDR, reason
from activesam_ros.recordings.recorded_frames import Topic, open_recording

DEFAULT_DEPTH = 10
MAX_DEPTH = 1 << 16
# Topics that are latched by convention, in case the recording does not state a profile.
_LATCHED_TOPICS = ("/tf_static", "/robot_description")


@dataclass(frozen=True)
class BagTopic:
    """A recorded topic: its type ``package/msg/Name``, and the profile with which to publish it.

    messages: their number.
    """

    name: str
    message_type: str
    messages: int
    profile: QoSProfile


class PlayedBag:
    """The recording at ``path``; raises RecordingError if it cannot be read.

    topics: by name, those that can be played. warnings: a sentence for each topic that is not
    played or played otherwise than metadata.yaml says.
    """

    def __init__(self, path: Path, max_message_mib: int = DEFAULT_MAX_MESSAGE_MIB) -> None:
        self.path = path
        self._recording = open_recording(path, max_message_mib)
        self._unusable: Counter[str] = Counter()
        self.topics: dict[str, BagTopic] = {}
        self.warnings: list[str] = []
        grouped: dict[str, list[Topic]] = {}
        for topic in self._recording.topics:
            grouped.setdefault(topic.name, []).append(topic)
        for name, group in grouped.items():
            self._add(name, group)

    @property
    def notes(self) -> tuple[str, ...]:
        """Damage and irregularities of the part that has been read, as sentences."""
        damaged = (f"{times} x {text}." for text, times in self._unusable.most_common(5))
        return (*(f"{note}." for note in self._recording.notes), *damaged)

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Topic, recorded time [ns] and CDR bytes of each message of ``topics``, ordered by time.

        A damaged file is read up to its damage, which :attr:`notes` then reports.
        """
        for raw in self._recording.raw_messages(topics):
            topic = self.topics.get(raw.channel.topic)
            if topic is not None and raw.channel.message_type == topic.message_type:
                try:
                    data = self._recording.unpacked(raw)
                except RecordingError as error:
                    self._unusable[f"{topic.name}: {error}"] += 1
                else:
                    yield topic.name, raw.log_time_ns, data

    def _add(self, name: str, group: Sequence[Topic]) -> None:
        """Add a topic; of several types the one with the most messages is played."""
        playable = [topic for topic in group if topic.encodings == (CDR,)]
        chosen = max(playable, key=lambda topic: topic.messages, default=None)
        for topic in group:
            if topic not in playable:
                self.warnings.append(
                    f"{name} is not played: its messages are in {', '.join(topic.encodings)}, and "
                    f"only {CDR} can be played."
                )
            elif chosen is not None and topic is not chosen:
                self.warnings.append(
                    f"The {topic.message_type} on {name} are not played: the topic is played with "
                    f"the type that most of its messages have, {chosen.message_type}."
                )
        if chosen is None:
            return
        recorded = [qos for text in chosen.qos for qos in self._profiles(name, text)]
        if name in self._recording.metadata_qos:
            stated = self._profiles(name, self._recording.metadata_qos[name])
            if not recorded:
                recorded = stated
            elif set(recorded) != set(stated):
                self.warnings.append(
                    f"metadata.yaml states another quality of service for {name} than the "
                    "recording's files, whose own is used."
                )
        profile = offered_profile(name, recorded)
        self.topics[name] = BagTopic(name, chosen.message_type, chosen.messages, profile)

    def _profiles(self, topic: str, text: str) -> list[Qos]:
        try:
            return parse_qos(text)
        except Exception as error:  # noqa: BLE001 whatever a parser raises
            self.warnings.append(
                f"A quality of service that the recording states for {topic} cannot be read "
                f"({reason(error)})."
            )
            return []


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
