"""Segment every frame of a recording, offline, none dropped, into an MCAP file of masks."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from activesam_ros.errors import ImageError, RecordingError
from activesam_ros.evaluation.scoring.measuring import FrameSegmenter, for_frame
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.frame_pixels import RgbDecoder, rgb_decoder
from activesam_ros.recordings.recording import Frame, Recording
from activesam_ros.replay.journal import Entry, Journal
from activesam_ros.replay.mask_recording import (
    active_classes_message,
    mask_message,
    output_topics,
    write_mask_bag,
)
from activesam_ros.streaming.saved_state import from_text, to_text
from activesam_ros.streaming.streams import StreamingSegmenter

SHOWN_PROBLEMS = 5


@dataclass(frozen=True)
class ReplayCount:
    """What became of the frames; problems: how often each kept one from being segmented."""

    segmented: int
    stamps_replaced: int
    problems: Counter[str]

    @classmethod
    def of(cls, outcomes: Iterable[tuple[str | None, bool]]) -> ReplayCount:
        """Count a journal's outcomes."""
        problems: Counter[str] = Counter()
        segmented = stamps_replaced = 0
        for problem, stamp_is_log_time in outcomes:
            if problem is None:
                segmented += 1
                stamps_replaced += stamp_is_log_time
            else:
                problems[problem] += 1
        return cls(segmented, stamps_replaced, problems)


def replay_recording(
    recording: Recording,
    topics: tuple[str, ...],
    vocabulary: Vocabulary,
    segmenter: FrameSegmenter,
    journal: Journal,
    output: Path,
    job: Mapping[str, str],
) -> None:
    """Segment what the journal lacks, then write ``output`` and remove the journal.

    Raises RecordingError where no frame can be used.
    """
    already, started_s = journal.done, time.perf_counter()
    total = recording.message_count(topics)
    with tqdm(
        total=total, initial=already, unit="frame", file=sys.stderr, disable=None
    ) as progress:
        segment_rest(
            recording, topics, vocabulary, segmenter, rgb_decoder(), journal, progress.update
        )
    elapsed_s = time.perf_counter() - started_s
    count = ReplayCount.of(journal.outcomes())
    _report_problems(recording, count)
    if count.segmented:
        write_mask_bag(output, journal.entries(), output_topics(topics), vocabulary, job)
    done = journal.done
    journal.remove()
    if not count.segmented:
        raise RecordingError(
            f"None of the {done} frames on {', '.join(topics)} can be used; {output} was not "
            "written."
        )
    print(
        f"{output}: {count.segmented} frames of {', '.join(topics)} segmented, "
        f"{sum(count.problems.values())} could not be used; {done - already} frames in "
        f"{elapsed_s:.1f} s now."
    )


def segment_rest(
    recording: Recording,
    topics: tuple[str, ...],
    vocabulary: Vocabulary,
    segmenter: FrameSegmenter,
    decode: RgbDecoder,
    journal: Journal,
    advance: Callable[[], object],
) -> None:
    """Segment every frame that the journal does not have yet, one entry a frame.

    A frame that cannot be used becomes an entry with its problem. With streaming each topic goes on
    from the state that its last frame left.
    """
    stream = segmenter if isinstance(segmenter, StreamingSegmenter) else None
    if stream is not None:
        for topic, text in journal.streams().items():
            stream.resume(topic, from_text(text))
    for frame in islice(recording.frames(topics), journal.done, None):
        entry = _entry(frame, vocabulary, segmenter, decode)
        state = None if stream is None else stream.state(frame.topic)
        journal.append(entry, None if state is None else to_text(state))
        advance()


def _entry(
    frame: Frame, vocabulary: Vocabulary, segmenter: FrameSegmenter, decode: RgbDecoder
) -> Entry:
    try:
        image = decode(frame)
        result = for_frame(segmenter, frame.topic, frame.stamp_ns).segment(image)
    except ImageError as error:
        problem = f"{frame.topic}: {error}"
        return Entry(frame.topic, frame.log_time_ns, None, None, problem, frame.stamp_is_log_time)
    return Entry(
        topic=frame.topic,
        log_time_ns=frame.log_time_ns,
        mask=mask_message(frame, result),
        active_classes=active_classes_message(frame, result, vocabulary),
        problem=None,
        stamp_is_log_time=frame.stamp_is_log_time,
    )


def _report_problems(recording: Recording, count: ReplayCount) -> None:
    for note in recording.notes:
        print(f"activesam: {note}.", file=sys.stderr)
    if count.stamps_replaced:
        print(
            f"activesam: {count.stamps_replaced} frames have a stamp of zero or out of range; "
            "their masks carry the time they were recorded at.",
            file=sys.stderr,
        )
    for problem, times in count.problems.most_common(SHOWN_PROBLEMS):
        print(f"activesam: {times} x {problem}", file=sys.stderr)
    hidden = len(count.problems) - SHOWN_PROBLEMS
    if hidden > 0:
        print(f"activesam: and {hidden} other problems.", file=sys.stderr)
