"""Figures, tables and plots from the journals of `python -m benchmarks.streaming`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.world.classes import CLASS_COUNT, ClassId
from activesam_ros.errors import UsageError
from activesam_ros.evaluation.scoring.metrics import (
    ConfusionMatrix,
    IdMap,
    Share,
    agreement,
    temporal_flicker,
)
from activesam_ros.evaluation.scoring.tally import percentiles
from activesam_ros.output_files import write_whole
from activesam_ros.prompts.vocabulary_files import load_vocabulary, preset_names
from benchmarks.streaming.journal import SUFFIX, KeptRun, read_run
from benchmarks.streaming.kept_drive import decoded
from benchmarks.streaming.plot import draw
from training.measure import VISIBLE_SHARE, wide_vocabulary

UNSEEN_BEFORE = 10
REFERENCE = "per_frame"
MIOU_LOSS_GOAL = 0.005
SPEED_GOAL = 2.0
SPEED_GOAL_NAMES = 1000
TRUTH_IDS = IdMap.of(
    {identity: identity for identity in range(CLASS_COUNT)}, CLASS_COUNT, (ClassId.UNLABELLED,)
)
# Classes that the ground truth lacks count as one more class.
PREDICTED_IDS = IdMap.of({identity: identity for identity in range(CLASS_COUNT)}, CLASS_COUNT)


def write_report(folder: Path) -> str:
    """Write results.json, streaming.md and the plots; returns the Markdown.

    The variants of a vocabulary are compared over the frames that all of them have. A journal that
    another process writes is left out. Raises UsageError when there is no journal.
    """
    results: dict[str, Any] = {"runs": {}}
    for vocabulary, runs in _kept(folder).items():
        frames = min(len(run.records) for run in runs.values())
        truth = DriveTruth(folder / str(next(iter(runs.values())).job["drive_folder"]), frames)
        reference = runs.get(REFERENCE)
        results["runs"][vocabulary] = {
            name: figures(run, truth, reference) for name, run in runs.items()
        }
        results["jobs"] = results.get("jobs", {}) | {
            f"{vocabulary}.{name}": run.job for name, run in runs.items()
        }
        base = load_vocabulary(vocabulary) if vocabulary in preset_names() else wide_vocabulary()
        names = [entry.name for entry in base.classes[:CLASS_COUNT]]
        period_s = 1 / next(iter(runs.values())).job["drive"]["rate_hz"]  # type: ignore[index]
        kept = {name: run.records[:frames] for name, run in runs.items()}
        draw(folder / f"{vocabulary}.png", kept, names, truth.visible, period_s)
    text = "\n".join(table(vocabulary, by_name) for vocabulary, by_name in results["runs"].items())
    write_whole(folder / "results.json", json.dumps(results, indent=1) + "\n")
    write_whole(folder / "streaming.md", text)
    return text


def _kept(folder: Path) -> dict[str, dict[str, KeptRun]]:
    """Variants with at least two frames by vocabulary, the reference first."""
    kept: dict[str, dict[str, KeptRun]] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        run = read_run(path)
        if run is None:
            print(f"{path} is left out: another process writes it.")
        elif len(run.records) > 1:
            kept.setdefault(str(run.job["vocabulary"]), {})[str(run.job["variant"])] = run
    if not kept:
        raise UsageError(f"--output {folder} has no results of two frames or more yet.")
    return kept


class DriveTruth:
    """Ground truth of the first frames of a kept drive.

    visible: bool [frames, classes], whether a class covers enough of a frame.
    """

    def __init__(self, folder: Path, frames: int) -> None:
        self._folder = folder
        self.frames = frames
        flicker, previous, shares = Share(), None, []
        for labels in self.labels():
            counts = np.bincount(labels.ravel(), minlength=CLASS_COUNT)[:CLASS_COUNT]
            shares.append(counts / labels.size)
            flicker += temporal_flicker(previous, labels)
            previous = labels
        self.visible: NDArray[np.bool_] = np.array(shares) > VISIBLE_SHARE
        self.flicker = flicker.value

    def labels(self) -> Iterable[NDArray[np.uint8]]:
        """The label maps, uint8 [H, W], in frame order."""
        for index in range(self.frames):
            yield decoded((self._folder / f"{index:06}.labels.png").read_bytes())


def figures(run: KeptRun, truth: DriveTruth, reference: KeptRun | None) -> dict[str, Any]:
    """The figures of one variant over the frames of ``truth``, compared with the reference."""
    confusion, flicker, previous = ConfusionMatrix.empty(CLASS_COUNT), Share(), None
    agreed = Share()
    others = repeat(None) if reference is None else reference.labels()
    for labels, predicted, other in zip(truth.labels(), run.labels(), others, strict=False):
        if other is not None:
            agreed += agreement(predicted, other)
        confusion += ConfusionMatrix.of(labels, predicted, TRUTH_IDS, PREDICTED_IDS)
        flicker += temporal_flicker(previous, predicted)
        previous = predicted
    records = run.records[: truth.frames]
    active = np.zeros((truth.frames, CLASS_COUNT), bool)
    for place, record in enumerate(records):
        active[place, [index for index in record.active if index < CLASS_COUNT]] = True
    delays = entering_delays(truth.visible, active)
    found = [delay for delay in delays if delay is not None]
    steady = records[1:]  # the first frame of a stream is previewed in full
    most = max(record.previewed for record in records)
    wall_ms = [record.wall_ms for record in steady]
    processor_ms = [record.processor_ms for record in steady]
    return {
        "frames": truth.frames,
        "queries": run.job["queries"],
        "miou": confusion.miou_of_labelled(),
        "pixel_accuracy": confusion.pixel_accuracy(),
        "flicker": flicker.value,
        "flicker_of_labels": truth.flicker,
        "agreement_with_per_frame": agreed.value,
        "active_recall": float(active[truth.visible].mean()) if truth.visible.any() else None,
        "classes_entering": len(delays),
        "entering_recall": len(found) / len(delays) if delays else None,
        "entering_delay_frames_mean": float(np.mean(found)) if found else None,
        "entering_delay_frames_max": max(found) if found else None,
        "active_classes_mean": float(np.mean([len(record.active) for record in records])),
        "active_set_changes_mean": float(np.mean(changes(records))),
        "previewed_mean": float(np.mean([record.previewed for record in records])),
        "full_previews": sum(record.previewed == most for record in records),
        "wall_ms": percentiles(wall_ms),
        "processor_ms": percentiles(processor_ms),
        "frames_per_second": 1e3 / float(np.mean(wall_ms)),
        "frames_per_processor_second": 1e3 / float(np.mean(processor_ms)),
    }


def changes(records: Sequence[Any]) -> list[int]:
    """How many classes entered or left, for every frame but the first."""
    return [len(set(now.active) ^ set(before.active)) for before, now in pairwise(records)]


def entering_delays(visible: NDArray[np.bool_], active: NDArray[np.bool_]) -> list[int | None]:
    """For each time a class enters: frames until it is active, None if it left view before.

    Both bool [frames, classes]. A class enters when it becomes visible after UNSEEN_BEFORE frames
    in which it was not.
    """
    delays: list[int | None] = []
    for seen, decoded_then in zip(visible.T, active.T, strict=True):
        for start in np.flatnonzero(seen):
            if start < UNSEEN_BEFORE or seen[start - UNSEEN_BEFORE : start].any():
                continue
            gone = np.flatnonzero(~seen[start:])
            stop = start + gone[0] if gone.size else len(seen)
            first = np.flatnonzero(decoded_then[start:stop])
            delays.append(int(first[0]) if first.size else None)
    return delays


ROWS: Mapping[str, str] = {
    "mIoU of the labelled classes": "{miou:.4f}",
    "pixel accuracy": "{pixel_accuracy:.4f}",
    "flicker (of the labels themselves {flicker_of_labels:.4f})": "{flicker:.4f}",
    "pixels labelled as per frame": "{agreement_with_per_frame:.5f}",
    "visible classes in the active set": "{active_recall:.4f}",
    "classes that enter, and the share found": "{classes_entering}, {entering_recall:.3f}",
    "frames until they are found, mean / maximum": (
        "{entering_delay_frames_mean:.2f} / {entering_delay_frames_max}"
    ),
    "active classes per frame": "{active_classes_mean:.1f}",
    "classes that enter or leave per frame": "{active_set_changes_mean:.2f}",
    "queries previewed per frame": "{previewed_mean:.1f}",
    "frames previewed in full": "{full_previews}",
    "processor time per frame, median [ms]": "{processor_ms[p50]:.0f}",
    "frames per second of processor time": "{frames_per_processor_second:.3f}",
    "frames per second of wall time": "{frames_per_second:.3f}",
}


def table(vocabulary: str, by_name: Mapping[str, dict[str, Any]]) -> str:
    """The figures of one vocabulary as Markdown, and its goals where there is a reference."""
    first = next(iter(by_name.values()))
    title = f"{vocabulary} ({first['queries']} queries), {first['frames']} frames"
    lines = [
        f"| {title} | {' | '.join(by_name)} |",
        "|---|" + "---|" * len(by_name),
    ]
    for label, form in ROWS.items():
        cells = [_filled(form, entry) for entry in by_name.values()]
        lines.append(f"| {_filled(label, first)} | {' | '.join(cells)} |")
    reference = by_name.get(REFERENCE)
    if reference is not None:
        for name, entry in by_name.items():
            if name != REFERENCE:
                lines += ["", goals(vocabulary, name, entry, reference)]
    return "\n".join(lines) + "\n"


def _filled(form: str, entry: Mapping[str, Any]) -> str:
    try:
        return form.format(**entry)
    except TypeError:  # None, where nothing entered
        return "-"


def goals(
    vocabulary: str, name: str, entry: Mapping[str, Any], reference: Mapping[str, Any]
) -> str:
    """How a variant compares with previewing every frame, and whether it meets the goals."""
    loss = reference["miou"] - entry["miou"]
    speed = entry["frames_per_processor_second"] / reference["frames_per_processor_second"]
    speed_text = f"{speed:.2f} times the frames per second of processor time"
    if vocabulary == f"names{SPEED_GOAL_NAMES}":
        speed_text += f" (goal {SPEED_GOAL:g}: {_verdict(speed >= SPEED_GOAL)})"
    flicker = _ratio(entry["flicker"], reference["flicker"])
    restless = _ratio(entry["active_set_changes_mean"], reference["active_set_changes_mean"])
    return (
        f"{name} against {REFERENCE}: mIoU {loss:+.4f} lower (goal at most {MIOU_LOSS_GOAL}: "
        f"{_verdict(loss <= MIOU_LOSS_GOAL)}); {flicker:.4f} times the flicker of labels (goal "
        f"below 1: {_verdict(flicker < 1)}) and {restless:.3f} times the changes of the "
        f"active set; {speed_text}."
    )


def _ratio(value: float, of: float) -> float:
    return value / of if of else float("nan")


def _verdict(met: bool) -> str:
    return "met" if met else "missed"
