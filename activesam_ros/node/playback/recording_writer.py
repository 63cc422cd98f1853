"""Write ROS 2 messages to one MCAP file, with the definition of every message type.

Foxglove, rosbags and ``ros2 bag play`` read the file without the message packages.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from mcap.writer import CompressionType, Writer
from rclpy.qos import QoSProfile

from activesam_ros import __version__
from activesam_ros.errors import RecordingError, os_reason

# The depth to write for a profile that does not state one.
UNKNOWN_DEPTH = 100
_FOREVER = {"sec": 9223372036, "nsec": 854775807}
_SEPARATOR = "=" * 80
_PRIMITIVES = frozenset(
    {"bool", "byte", "char", "string", "wstring", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


class RecordingWriter:
    """A recording that is being written; the file is complete when the context is left.

    Raises RecordingError if the file exists or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("xb")
        except FileExistsError:
            raise RecordingError(
                f"The recording {path} exists already; choose another name or remove it."
            ) from None
        except OSError as error:
            raise RecordingError(f"{path} cannot be written: {os_reason(error)}.") from error
        self._writer = Writer(self._stream, compression=CompressionType.ZSTD)
        self._writer.start(profile="ros2", library=f"activesam_ros {__version__}")
        self._schemas: dict[str, int] = {}
        self._counts: dict[int, int] = {}

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.finish()
        self._stream.close()

    def add_topic(self, topic: str, message_type: str, type_hash: str, profile: QoSProfile) -> int:
        """The number of the topic's channel; raises RecordingError if its type is not installed."""
        if message_type not in self._schemas:
            text = message_definition(message_type)
            schema = self._writer.register_schema(message_type, "ros2msg", text.encode())
            self._schemas[message_type] = schema
        metadata = {"offered_qos_profiles": qos_text(profile), "topic_type_hash": type_hash}
        channel = self._writer.register_channel(topic, "cdr", self._schemas[message_type], metadata)
        self._counts[channel] = 0
        return channel

    def write(self, channel: int, time_ns: int, data: bytes) -> None:
        """Add the CDR bytes of a message that was received at ``time_ns``."""
        self._writer.add_message(
            channel,
            log_time=time_ns,
            data=data,
            publish_time=time_ns,
            sequence=self._counts[channel],
        )
        self._counts[channel] += 1


def qos_text(profile: QoSProfile) -> str:
    """A profile in YAML, with the numbers that rosbag2 reads in Humble and later."""
    fields = {
        "history": 1,
        "depth": profile.depth or UNKNOWN_DEPTH,
        "reliability": int(profile.reliability),
        "durability": int(profile.durability),
        "deadline": dict(_FOREVER),
        "lifespan": dict(_FOREVER),
        "liveliness": 1,
        "liveliness_lease_duration": dict(_FOREVER),
        "avoid_ros_namespace_conventions": False,
    }
    return yaml.safe_dump([fields], sort_keys=False)


def message_definition(message_type: str) -> str:
    """The ros2msg text of ``package/msg/Name``, followed by the texts of all types within it.

    Raises RecordingError if the definition is not installed.
    """
    texts: dict[str, str] = {}
    _collect(message_type, texts)
    first, *others = texts.items()
    return "\n".join(
        [
            first[1],
            *(f"{_SEPARATOR}\nMSG: {name.replace('/msg/', '/')}\n{text}" for name, text in others),
        ]
    )


def _collect(message_type: str, texts: dict[str, str]) -> None:
    """Add the text of a type and of all types within it, unless it is there."""
    if message_type in texts:
        return
    texts[message_type] = text = _installed(message_type)
    package = message_type.partition("/")[0]
    for line in text.splitlines():
        inner = _type_within(line, package)
        if inner is not None:
            _collect(inner, texts)


def _installed(message_type: str) -> str:
    package, _, name = message_type.partition("/msg/")
    try:
        path = Path(get_package_share_directory(package)) / "msg" / f"{name}.msg"
        return path.read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError) as error:
        raise RecordingError(
            f"The definition of {message_type} is not installed, so it cannot be recorded: {error}."
        ) from error


def _type_within(line: str, package: str) -> str | None:
    """The message type of a field, as ``package/msg/Name``; None if the line has none."""
    words = line.partition("#")[0].split()
    if len(words) < 2:
        return None
    name = words[0].partition("[")[0].partition("<")[0]
    if name in _PRIMITIVES:
        return None
    return name.replace("/", "/msg/") if "/" in name else f"{package}/msg/{name}"
