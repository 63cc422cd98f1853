"""The content of results.json, and the tables that commands print."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from activesam_ros import __version__
from activesam_ros.errors import OutputError
from activesam_ros.evaluation.scoring.spread import spread
from activesam_ros.evaluation.scoring.tally import MethodTally
from activesam_ros.output_files import check_output_folder, write_whole
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.methods import METHODS, Method

RESULTS_NAME = "results.json"
# Pairs of classes that a table of changes by signatures shows.
SHOWN_PAIRS = 10
# A class is lost if the unpruned method has at least FOUND_IOU and the method less than LOST_SHARE
# of that.
FOUND_IOU = 0.05
LOST_SHARE = 0.1


def document(
    tallies: Mapping[Method, MethodTally],
    machine: Mapping[str, object],
    about: Mapping[str, object],
) -> dict[str, Any]:
    """The content of results.json.

    machine: of :func:`machine`, in the process of the network. about: further entries: what was
    evaluated, with which settings.
    """
    methods = {method.value: tally.results() for method, tally in tallies.items()}
    for method in tallies:
        lost = _lost_classes(method, methods)
        methods[method.value] |= {
            "classes_lost_by_pruning": None if lost is None else len(lost),
            "lost_classes": lost,
        }
    figures = {method.value: tally.figures for method, tally in tallies.items()}
    return {
        "methods": methods,
        "spread": spread(figures, methods) if methods else None,
        **about,
        "machine": dict(machine),
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _lost_classes(
    method: Method, methods: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]] | None:
    """Labelled classes that the unpruned method finds and this one does not, with both IoUs.

    None for a method that does not prune, without ground truth, or if the unpruned one did not run.
    """
    full = methods.get(Method.FULL.value)
    if not METHODS[method].previews or full is None or not full["per_class_iou"]:
        return None
    own = methods[method.value]["per_class_iou"]
    return {
        name: {"iou": own[name], "iou_of_full": found}
        for name, found in full["per_class_iou"].items()
        if found is not None and found >= FOUND_IOU and own[name] < LOST_SHARE * found
    }


def machine(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The entry ``machine`` of results.json for this process."""
    return {
        "device": _device_name(device),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "activesam_ros": __version__,
    }


def about_vocabulary(vocabulary: Vocabulary) -> dict[str, object]:
    """The entry ``vocabulary`` of results.json."""
    return {
        "name": vocabulary.name,
        "classes": len(vocabulary.classes),
        "queries": len(vocabulary.queries),
    }


def write_results(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write results.json into ``folder``, as a whole or not at all; raises OutputError."""
    path = folder / RESULTS_NAME
    write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def check_output(
    folder: Path,
    option: str = "--output",
    overwrite: bool = False,
    names: Sequence[str] = (RESULTS_NAME,),
) -> None:
    """Refuse, before any work, a folder that cannot be written or has results already.

    overwrite: whether results that are there may be replaced. names: of the results' files. Raises
    OutputError.
    """
    check_output_folder(folder, option, max(names, key=len))
    there = [name for name in names if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise OutputError(
            f"{option} {folder} has the {there[0]} of an earlier evaluation; give another folder, "
            "or --overwrite to replace it."
        )


def summary_table(content: Mapping[str, Any]) -> str:
    """One line per method: accuracy in per cent, speed, active classes, memory.

    The first mIoU is that of the labelled classes; lost: classes lost by pruning; admitted: classes
    before screening, where a method screens.
    """
    screens = any(
        entry["admitted_classes_mean"] is not None for entry in content["methods"].values()
    )
    head = (
        "method", "frames", "labelled mIoU %", "lost", "mIoU %", "pixel %", "frames/s", "p50 ms",
        "p95 ms", "active", *(("admitted",) if screens else ()), "agree %", "MiB",
    )  # fmt: skip
    rows = [
        (
            method,
            str(entry["frames"]),
            percent(entry["miou_of_labelled_classes"]),
            number(entry["classes_lost_by_pruning"], 0),
            percent(entry["miou"]),
            percent(entry["pixel_accuracy"]),
            number(entry["frames_per_second"], 2),
            number(entry["latency_ms"]["p50"], 0),
            number(entry["latency_ms"]["p95"], 0),
            number(entry["active_classes_mean"], 1),
            *((number(entry["admitted_classes_mean"], 1),) if screens else ()),
            percent(entry["agreement_with_full"]),
            number(entry["peak_memory_mib"], 0),
        )
        for method, entry in content["methods"].items()
    ]
    return text_table([head, *rows])


def concept_table(content: Mapping[str, Any]) -> str:
    """What signatures change: a sentence and a table for each method that has them, or nothing."""
    parts = []
    for method, entry in content["methods"].items():
        changes = entry["concept_changes"]
        if changes is None:
            continue
        pairs = changes["pairs"][:SHOWN_PAIRS]
        parts.append(
            f"{method}: signatures change the class of {percent(changes['share'])} % of the pixels "
            f"of {changes['frames']} frames against the highest score"
            + (", most from these classes to these:" if pairs else ".")
        )
        if pairs:
            rows = [
                (f"{pair['from']} -> {pair['to']}", number(pair["share"] * 100, 2))
                for pair in pairs
            ]
            parts.append(text_table([("highest score -> signatures", "% of pixels"), *rows]))
    return "\n".join(parts)


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Align the cells of ``rows``: the first column left, the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def percent(fraction: float | None) -> str:
    """0.1234 becomes 12.3, None becomes a dash."""
    return "-" if fraction is None else f"{fraction * 100:.1f}"


def number(value: float | None, digits: int) -> str:
    """``value`` with ``digits`` decimals; None becomes a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def ratio_text(range_: Sequence[float] | None) -> str:
    """The lowest and highest of a ratio: 7.3-12.2, or 5.5 where they are equal, or a dash."""
    return "-" if range_ is None else "-".join(dict.fromkeys(f"{end:.1f}" for end in range_))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type} ({platform.machine()}, {os.cpu_count()} cores)"
