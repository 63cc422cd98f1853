"""The whole demo: a recording to play, the node that segments it, figures and pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from activesam_ros.demo.drive.bag_writer import CameraTopics, write_drive
from activesam_ros.demo.drive.options import DriveOptions
from activesam_ros.demo.live.live import LiveOptions, LiveResult, Progress, run_live
from activesam_ros.demo.live.pictures import Style, write_pictures
from activesam_ros.demo.live.processes import DemoError
from activesam_ros.demo.live.summary import (
    ActiveSummary,
    Summary,
    measure_accuracy,
    read_active_classes,
    read_drops,
)
from activesam_ros.demo.untrained import write_untrained
from activesam_ros.errors import OutputError, UsageError
from activesam_ros.output_files import check_output_folder, write_whole
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import chosen_vocabulary
from activesam_ros.recordings.recorded_frames import Recording, open_recording
from activesam_ros.recordings.serialization import COMPRESSED_IMAGE
from activesam_ros.recordings.topic_choice import chosen_topics
from activesam_ros.segmentation.methods import Method
from activesam_ros.setting_table import SettingValue

RECORDING_NAME = "recorded.mcap"
SUMMARY_NAME = "summary.json"
ANIMATION_NAME = "demo.webp"
_FORMER_ANIMATION_NAME = "demo.gif"
DRIVE_NAME = "drive.mcap"
STILLS_NAME = "overlays"
UNTRAINED_NAME = "untrained"
# A folder with this file is a demo's, which the next demo may clear.
MARKER_NAME = ".activesam_demo"
LABEL_TOPIC = CameraTopics.of_camera(0).labels
_LEGEND_ENTRIES = 24
_LEGEND_MIN_SHARE = 0.0005
_BANNER = "UNTRAINED NETWORK: THE COLOURS MEAN NOTHING"


@dataclass(frozen=True)
class OwnRecording:
    """A recording of the user's. None stands for the only topic that fits, and for all frames."""

    path: Path
    image_topic: str | None = None
    label_topic: str | None = None
    frames: int | None = None


@dataclass(frozen=True)
class DemoOptions:
    """What to play and which node plays along.

    source: a drive to render, or a recording. weights: None for random numbers. vocabulary: a
    bundled name or a file; classes: names in its place. domain_id: the ROS domain; localhost_only:
    no other computer takes part. method, settings: of the node, the latter by name.
    """

    output: Path
    source: DriveOptions | OwnRecording
    weights: Path | None
    vocabulary: str
    device: str
    domain_id: int
    localhost_only: bool
    classes: str = ""
    method: Method = Method.ACTIVESAM2
    settings: Mapping[str, SettingValue] = field(default_factory=dict)


@dataclass(frozen=True)
class PlayedRecording:
    """The recording that is played.

    topics: those that are played, all if empty. label_topic: the ground truth, None for none.
    """

    path: Path
    image_topic: str
    compressed: bool
    topics: tuple[str, ...]
    label_topic: str | None
    max_frames: int


class DemoProgress(Progress, Protocol):
    """Is told how far the demo is."""

    def say(self, text: str) -> None:
        """A step begins."""
        ...


def run_demo(options: DemoOptions, progress: DemoProgress) -> Summary:
    """Run the demo and write everything it leaves into ``options.output``.

    Raises UsageError for options that cannot be used, DemoError when a process fails or no mask
    arrives.
    """
    vocabulary = chosen_vocabulary(options.vocabulary, options.classes)
    own = options.source.path if isinstance(options.source, OwnRecording) else None
    output = _output_folder(options.output, own)
    if options.weights is None:
        progress.say("THERE ARE NO TRAINED WEIGHTS: the network runs with random numbers")
    weights = options.weights or write_untrained(output / UNTRAINED_NAME)
    if isinstance(options.source, DriveOptions):
        played = _write_drive(options.source, output / DRIVE_NAME, progress)
    else:
        played = choose_topics(options.source)
    live_options = LiveOptions(
        bag=played.path,
        image_topic=played.image_topic,
        compressed=played.compressed,
        topics=played.topics,
        weights=weights.absolute(),
        vocabulary=options.vocabulary,
        classes=options.classes,
        method=options.method,
        settings=options.settings,
        device=options.device,
        output=output,
        recording=output / RECORDING_NAME,
        domain_id=options.domain_id,
        localhost_only=options.localhost_only,
        max_frames=played.max_frames,
    )
    progress.say(f"starting node, playback and recorder (ROS_DOMAIN_ID={options.domain_id})")
    live = run_live(live_options, progress)
    summary = _summarise(live_options, played, live, vocabulary, options.weights is not None)
    progress.say("drawing")
    _draw(live_options, summary, vocabulary)
    summary.write(output / SUMMARY_NAME)
    return summary


def choose_topics(own: OwnRecording) -> PlayedRecording:
    """What to play of a user's recording.

    Raises RecordingError for a topic that does not exist, UsageError when no topic can be chosen.
    """
    if own.frames is not None and own.frames < 1:
        raise UsageError(f"--frames {own.frames} must be at least 1.")
    recording = open_recording(own.path)
    cameras = chosen_topics(recording, () if own.image_topic is None else (own.image_topic,))
    if len(cameras) > 1:
        raise UsageError(
            f"{own.path} has several cameras; name one with --image-topic: {', '.join(cameras)}."
        )
    topic = recording.image_topic(cameras[0])
    return PlayedRecording(
        path=own.path,
        image_topic=topic.name,
        compressed=topic.message_type == COMPRESSED_IMAGE,
        topics=_played_topics(recording, topic.name),
        label_topic=_label_topic(recording, own.label_topic),
        max_frames=sys.maxsize if own.frames is None else own.frames,
    )


def _played_topics(recording: Recording, image_topic: str) -> tuple[str, ...]:
    """The image topic, and if they exist its camera_info and the static transforms."""
    camera_info = image_topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
    names = {topic.name for topic in recording.topics}
    return (image_topic, *(name for name in (camera_info, "/tf_static") if name in names))


def _label_topic(recording: Recording, name: str | None) -> str | None:
    if name is not None:
        return recording.image_topic(name).name
    names = {topic.name for topic in recording.image_topics}
    return LABEL_TOPIC if LABEL_TOPIC in names else None


def _write_drive(options: DriveOptions, path: Path, progress: DemoProgress) -> PlayedRecording:
    size = f"{options.width}x{options.height}"
    progress.say(
        f"writing a drive of {options.frames} frames, {size} at {options.rate_hz:g} Hz: {path}"
    )
    write_drive(options, path, overwrite=True)
    topics = CameraTopics.of_camera(0)
    return PlayedRecording(path, topics.image, False, (), topics.labels, sys.maxsize)


def _output_folder(path: Path, source: Path | None) -> Path:
    """Make the folder and delete the results of an earlier demo in it.

    source: the recording to play, if it is the user's. Raises OutputError if the folder cannot be
    written, or holds files that no demo made or that this one plays.
    """
    path = path.absolute()
    check_output_folder(path)
    if source is not None and source.resolve() == (path / RECORDING_NAME).resolve():
        raise OutputError(
            f"The demo plays {source} and would replace it; give another --output than {path}."
        )
    made_here = (path / MARKER_NAME).is_file()
    replaced = (RECORDING_NAME, SUMMARY_NAME, ANIMATION_NAME, _FORMER_ANIMATION_NAME)
    for name in (DRIVE_NAME, STILLS_NAME, UNTRAINED_NAME, *replaced):
        if os.path.lexists(path / name) and not made_here:
            raise OutputError(
                f"--output {path} has {name}, which a demo would replace and no demo made; give "
                "another folder."
            )
    write_whole(path / MARKER_NAME, "")
    for name in replaced:
        (path / name).unlink(missing_ok=True)
    return path


def _summarise(
    options: LiveOptions,
    played: PlayedRecording,
    live: LiveResult,
    vocabulary: Vocabulary,
    trained: bool,
) -> Summary:
    recording, source = open_recording(options.recording), open_recording(played.path)
    drops = read_drops(recording, live)
    if not live.arrived:
        raise DemoError(
            f"None of {live.images} images came back as a mask: "
            f"{drops.problem or 'the node gives no reason'} (see {options.output / 'node.log'})"
        )
    accuracy = None
    if played.label_topic is not None:
        accuracy = measure_accuracy(recording, source, played.label_topic, vocabulary)
    return Summary(
        trained=trained,
        weights=options.weights,
        bag=played.path,
        image_topic=played.image_topic,
        vocabulary=vocabulary.name,
        vocabulary_size=len(vocabulary.classes),
        live=live,
        drops=drops,
        active=read_active_classes(recording),
        accuracy=accuracy,
    )


def _draw(options: LiveOptions, summary: Summary, vocabulary: Vocabulary) -> None:
    live = summary.live
    first_ns = next(iter(live.played))
    captions = {
        stamp_ns: f"{(stamp_ns - first_ns) / 1e9:.1f} s; mask after {latency_ms:.0f} ms"
        for stamp_ns, latency_ms in live.latencies_ms().items()
    }
    write_pictures(
        open_recording(options.recording),
        open_recording(summary.bag),
        summary.image_topic,
        len(live.arrived),
        Style(
            palette=vocabulary.palette,
            legend=_legend(summary.active, vocabulary),
            captions=captions,
            banner=None if summary.trained else _BANNER,
        ),
        options.output / STILLS_NAME,
        options.output / ANIMATION_NAME,
    )


def _legend(
    active: ActiveSummary, vocabulary: Vocabulary
) -> tuple[tuple[str, tuple[int, int, int]], ...]:
    """Name and colour of the classes that cover most pixels, largest first."""
    seen = [name for name, share in active.pixel_fraction.items() if share >= _LEGEND_MIN_SHARE]
    return tuple((name, vocabulary.class_named(name).color) for name in seen[:_LEGEND_ENTRIES])
