"""What streaming costs and gains on a demo drive, against previewing every frame by itself.

    python -m benchmarks.streaming --weights weights/demo/model.safetensors --frames 1000 \
        --output out/streaming

Every frame is rendered once and segmented by every variant, one after the other, so that whatever
else runs on the computer disturbs all alike; times are on the clock and in processor time of all
threads. A class *enters* where it covers more than 0.5 % of the pixels after ten frames without; it
is found when one of its queries is active while it does. Writes results.json, frames.json and a
plot for each vocabulary.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from activesam_ros.demo.classes import CLASS_COUNT, ClassId
from activesam_ros.demo.measure import VISIBLE_SHARE, wide_vocabulary
from activesam_ros.demo.options import TEST_SEEDS, DriveOptions
from activesam_ros.demo.sequence import Drive, DriveFrame
from activesam_ros.demo.training_names import AMBIGUOUS, SYNONYMS
from activesam_ros.evaluation.metrics import ConfusionMatrix, IdMap, Share, temporal_flicker
from activesam_ros.evaluation.tally import percentiles, prediction_ids
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.canonical import canonical
from activesam_ros.prompts.hypernyms import load_wordnet
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.segmentation.result import Segmentation
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings
from activesam_ros.streaming.streams import StreamingSegmenter, in_time
from benchmarks.streaming_plot import draw

UNSEEN_BEFORE = 10
MORE_SOURCES = ("coco_stuff", "context59", "coco_object", "ade20k")
VARIANTS = {
    "per_frame": Settings(),
    "streaming": Settings(streaming=True),
    "streaming_shared": Settings(streaming=True, preview_source="shared"),
    "per_frame_shared": Settings(preview_source="shared"),
}


def vocabulary_of(count: int) -> Vocabulary:
    """Cityscapes' classes under their ids and others: 150 as `activesam demo measure` asks them.

    More come from the other bundled vocabularies and then from WordNet's names of things.
    """
    base = wide_vocabulary()
    if count <= len(base.classes):
        return Vocabulary(f"names{count}", base.classes[:count])
    taken = {canonical(name).lower() for name in base.queries} | set(AMBIGUOUS)
    taken |= {name for synonyms in SYNONYMS.values() for name in synonyms}
    names = [entry.names[0] for source in MORE_SOURCES for entry in load_vocabulary(source).classes]
    others: list[str] = []
    for name in (*names, *things()):
        if canonical(name).lower() not in taken and len(base.classes) + len(others) < count:
            others.append(name)
            taken.add(canonical(name).lower())
    numbered = [
        dataclasses.replace(entry, id=index)
        for index, entry in enumerate(vocabulary_from_names(others).classes, len(base.classes))
    ]
    return Vocabulary(f"names{count}", (*base.classes, *numbered))


def things() -> list[str]:
    """Single words for artifacts and animals in WordNet, spread over the alphabet."""
    load_wordnet()
    from nltk.corpus import wordnet

    names = {
        synset.lemmas()[0].name()
        for root in ("artifact.n.01", "animal.n.01")
        for synset in wordnet.synset(root).closure(lambda synset: synset.hyponyms())
    }
    words = sorted(name for name in names if name.isalpha() and name.islower())
    return [word for start in range(10) for word in words[start::10]]


@dataclass
class Run:
    """One variant on one vocabulary, and what it did so far."""

    name: str
    vocabulary: Vocabulary
    segmenter: Segmenter | StreamingSegmenter
    confusion: ConfusionMatrix
    truth_ids: IdMap
    predicted_ids: IdMap
    flicker: Share = field(default_factory=Share)
    previous: Any = None
    wall_ms: list[float] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)
    previewed: list[int] = field(default_factory=list)
    active: list[list[int]] = field(default_factory=list)
    presence: list[dict[str, float]] = field(default_factory=list)

    def add(self, frame: DriveFrame) -> None:
        """Segment a frame and take note."""
        image, labels = frame.images[0], frame.labels[0]
        segmenter = self.segmenter
        wall, processor = time.perf_counter(), time.process_time()
        if isinstance(segmenter, StreamingSegmenter):
            result: Segmentation = segmenter.frame("front", frame.stamp_ns).segment(image)
        else:
            result = segmenter.segment(image)
        self.processor_ms.append((time.process_time() - processor) * 1e3)
        self.wall_ms.append((time.perf_counter() - wall) * 1e3)
        self.confusion += ConfusionMatrix.of(
            labels, result.labels, self.truth_ids, self.predicted_ids
        )
        self.flicker += temporal_flicker(self.previous, result.labels)
        self.previous = result.labels
        self.previewed.append(sum(value is not None for value in result.presence))
        classes = {self.vocabulary.query_class[query] for query in result.active_queries}
        self.active.append(sorted(classes))
        self.presence.append(
            {
                entry.name: round(entry.presence, 4)
                for entry in result.classes
                if entry.presence is not None and entry.id < CLASS_COUNT
            }
        )

    def results(self, visible: NDArray[np.bool_]) -> dict[str, Any]:
        """The figures; visible: [frames, classes] ground truth."""
        active = np.zeros((len(self.active), CLASS_COUNT), bool)
        for place, classes in enumerate(self.active):
            active[place, [index for index in classes if index < CLASS_COUNT]] = True
        delays = entering_delays(visible, active)
        found = [delay for delay in delays if delay is not None]
        steady = slice(1, None)  # the first frame of a stream is previewed in full
        return {
            "miou": self.confusion.miou_of_labelled(),
            "pixel_accuracy": self.confusion.pixel_accuracy(),
            "flicker": self.flicker.value,
            "active_recall": float(active[visible].mean()) if visible.any() else None,
            "classes_entering": len(delays),
            "entering_recall": len(found) / len(delays) if delays else None,
            "entering_delay_frames_mean": float(np.mean(found)) if found else None,
            "entering_delay_frames_max": max(found) if found else None,
            "active_classes_mean": float(np.mean([len(classes) for classes in self.active])),
            "previewed_mean": float(np.mean(self.previewed)),
            "full_previews": sum(count == max(self.previewed) for count in self.previewed),
            "wall_ms": percentiles(self.wall_ms[steady]),
            "processor_ms": percentiles(self.processor_ms[steady]),
            "frames_per_second": 1e3 / float(np.mean(self.wall_ms[steady])),
            "frames_per_processor_second": 1e3 / float(np.mean(self.processor_ms[steady])),
        }


def entering_delays(visible: NDArray[np.bool_], active: NDArray[np.bool_]) -> list[int | None]:
    """Frames from each class's entering to its being active, None where it was not in time.

    Both [frames, classes]. What is visible in the first frames has not entered.
    """
    delays: list[int | None] = []
    for seen, decoded in zip(visible.T, active.T, strict=True):
        for start in np.flatnonzero(seen):
            if start < UNSEEN_BEFORE or seen[start - UNSEEN_BEFORE : start].any():
                continue
            gone = np.flatnonzero(~seen[start:])
            stop = start + gone[0] if gone.size else len(seen)
            first = np.flatnonzero(decoded[start:stop])
            delays.append(int(first[0]) if first.size else None)
    return delays


def make_run(network: Network, vocabulary: Vocabulary, name: str, settings: Settings) -> Run:
    """A variant, its prompts compiled and its memory in place."""
    segmenter = in_time(network.segmenter(vocabulary, settings), settings)
    segmenter.segment(np.zeros((384, 640, 3), np.uint8))
    count = len(vocabulary.classes)
    return Run(
        name,
        vocabulary,
        segmenter,
        ConfusionMatrix.empty(count),
        IdMap.of(
            {identity: identity for identity in range(CLASS_COUNT)}, count, (ClassId.UNLABELLED,)
        ),
        prediction_ids(vocabulary),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=10.0, help="Hz (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=TEST_SEEDS[0])
    parser.add_argument("--names", default="150,1000", help="sizes of the vocabularies")
    parser.add_argument("--variants", default="per_frame,streaming", help=", ".join(VARIANTS))
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    network = load_network(NetworkOptions(weights=args.weights, device=args.device))
    runs = [
        make_run(network, vocabulary, name, VARIANTS[name].assign(args.assignments))
        for vocabulary in (vocabulary_of(int(count)) for count in args.names.split(","))
        for name in args.variants.split(",")
    ]
    shares = []
    for frame in Drive(DriveOptions(seed=args.seed, frames=args.frames, rate_hz=args.rate)):
        counts = np.bincount(frame.labels[0].ravel(), minlength=CLASS_COUNT)[:CLASS_COUNT]
        shares.append(counts / frame.labels[0].size)
        for run in runs:
            run.add(frame)
        if frame.index % 10 == 9:  # what is there serves where the time runs out
            write(args, runs, np.array(shares))
    write(args, runs, np.array(shares))
    for run in runs:
        print(run.vocabulary.name, run.name, json.dumps(run.results(visible_in(shares)), indent=1))


def visible_in(shares: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """[frames, classes]: which cover enough of a frame."""
    return np.array(shares) > VISIBLE_SHARE


def write(args: argparse.Namespace, runs: Sequence[Run], shares: NDArray[np.float64]) -> None:
    """results.json, frames.json and plots of the frames so far."""
    args.output.mkdir(parents=True, exist_ok=True)
    visible = shares > VISIBLE_SHARE
    results: dict[str, Any] = {
        "weights": str(args.weights),
        "seed": args.seed,
        "frames": len(shares),
        "rate_hz": args.rate,
        "settings": args.assignments,
        "torch": torch.__version__,
        "device": args.device,
        "threads": args.threads,
        "runs": {},
    }
    frames: dict[str, Any] = {}
    for run in runs:
        results["runs"].setdefault(run.vocabulary.name, {})[run.name] = run.results(visible)
        frames.setdefault(run.vocabulary.name, {})[run.name] = {
            "active": [len(classes) for classes in run.active],
            "previewed": run.previewed,
            "wall_ms": [round(value, 1) for value in run.wall_ms],
            "presence": run.presence,
        }
    (args.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    (args.output / "frames.json").write_text(json.dumps(frames) + "\n", "utf-8")
    names = [entry.name for entry in wide_vocabulary().classes[:CLASS_COUNT]]
    for vocabulary, variants in frames.items():
        draw(args.output / f"{vocabulary}.png", variants, names, visible, 1 / args.rate)


if __name__ == "__main__":
    main()
