"""Segment the frames of a recording one by one, each into an entry of the replay's journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from activesam_ros.errors import ImageError
from activesam_ros.evaluation.scoring.measurement import ImageSegmenter, for_frame
from activesam_ros.image_files import FULL_BIT_DEPTH, MAX_IMAGE_PIXELS
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.frame_pixels import RgbDecoder, rgb_decoder
from activesam_ros.recordings.recorded_frames import RecordedFrame
from activesam_ros.replay.journal import JournalEntry, ReplayJournal
from activesam_ros.replay.mask_recording import serialized_active_classes, serialized_mask
from activesam_ros.streaming.stream import StreamState
from activesam_ros.streaming.streams import StreamingSegmenter


@dataclass(frozen=True)
class ReplayCount:
    """How many frames were segmented; problems: how many frames each problem made unusable."""

    segmented: int
    stamps_replaced: int
    problems: Counter[str]

    @classmethod
    def of(cls, outcomes: Iterable[tuple[str | None, bool]]) -> ReplayCount:
        """Count the outcomes of a journal."""
        problems: Counter[str] = Counter()
        segmented = stamps_replaced = 0
        for problem, stamp_is_log_time in outcomes:
            if problem is None:
                segmented += 1
                stamps_replaced += stamp_is_log_time
            else:
                problems[problem] += 1
        return cls(segmented, stamps_replaced, problems)


def segment_remaining(
    frames: Iterable[RecordedFrame],
    vocabulary: Vocabulary,
    segmenter: ImageSegmenter,
    journal: ReplayJournal,
    advance: Callable[[], object],
    bit_depth: int = FULL_BIT_DEPTH,
    max_pixels: int = MAX_IMAGE_PIXELS,
) -> None:
    """Segment every frame that is not in the journal, and append one entry for each.

    The entry of an unusable frame holds the problem. With streaming, each topic continues from the
    state after its last frame in the journal. ``advance`` is called after each frame.
    bit_depth, max_pixels: as in Settings.
    """
    decode = rgb_decoder(bit_depth, max_pixels)
    streams = segmenter if isinstance(segmenter, StreamingSegmenter) else None
    if streams is not None:
        for topic, text in journal.streams().items():
            streams.resume(topic, StreamState.from_text(text))
    for frame in islice(frames, journal.done, None):
        entry = _entry(frame, vocabulary, segmenter, decode)
        state = None if streams is None else streams.state(frame.topic)
        journal.append(entry, None if state is None else state.to_text())
        advance()


def _entry(
    frame: RecordedFrame, vocabulary: Vocabulary, segmenter: ImageSegmenter, decode: RgbDecoder
) -> JournalEntry:
    mask = active_classes = problem = None
    try:
        image = decode(frame)  # uint8 RGB [H, W, 3]
        result = for_frame(segmenter, frame.topic, frame.stamp_ns).segment(image)
        mask = serialized_mask(frame, result)
        active_classes = serialized_active_classes(frame, result, vocabulary)
    except ImageError as error:
        problem = f"{frame.topic}: {error}"
    return JournalEntry(
        topic=frame.topic,
        log_time_ns=frame.log_time_ns,
        mask=mask,
        active_classes=active_classes,
        problem=problem,
        stamp_is_log_time=frame.stamp_is_log_time,
    )
