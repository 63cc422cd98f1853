"""Compare two runs, and check whether the second is worse than the user allows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activesam_ros.errors import UsageError, os_reason
from activesam_ros.evaluation.scoring.results import RESULTS_NAME
from activesam_ros.regular_files import read_regular

_LARGEST_FILE = 1 << 30
HIGHER_IS_BETTER = (
    "miou", "miou_of_labelled_classes", "pixel_accuracy", "mean_class_accuracy",
    "frames_per_second", "agreement_with_full", "presence_recall", "presence_recall_of_full",
    "frames", "labelled_frames",
)  # fmt: skip
LOWER_IS_BETTER = (
    "classes_lost_by_pruning", "temporal_flicker", "active_classes_mean", "peak_memory_mib",
)  # fmt: skip
CONDITIONS = (
    "recording", "dataset", "weights", "vocabulary", "settings", "machine", "corruptions",
)  # fmt: skip
CLASS_PREFIX = "per_class_iou."
CORRUPTION_PREFIX = "corruptions."
CORRUPTION_KEYS = (
    "miou", "miou_of_labelled_classes", "pixel_accuracy", "agreement_with_clean",
)  # fmt: skip
LATENCY_PREFIXES = ("latency_ms.", "stage_latency_ms.")

Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of one method in both runs; None when a run does not have it."""

    method: str
    metric: str
    first: float | None
    second: float | None

    @property
    def worsening(self) -> float | None:
        """How much worse the second run is, negative if better; None if either is unknown."""
        if self.first is None or self.second is None:
            return None
        change = self.second - self.first
        return -change if higher_is_better(self.metric) else change


@dataclass(frozen=True, slots=True)
class Limit:
    """A metric may get worse by ``amount``: in its own unit or, if relative, as a share of A's.

    method: None for every method of both runs.
    """

    text: str
    method: str | None
    metric: str
    amount: float
    relative: bool


def read_run(path: Path) -> Results:
    """Read results.json at ``path`` or in the folder ``path``; raises UsageError."""
    file = path / RESULTS_NAME if path.is_dir() else path
    try:
        content = json.loads(read_regular(file, _LARGEST_FILE))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {os_reason(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not a JSON file: {error}.") from error
    methods = content.get("methods") if isinstance(content, dict) else None
    if (
        not isinstance(methods, dict)
        or not methods
        or not all(isinstance(entry, dict) for entry in methods.values())
    ):
        raise UsageError(f"{file} has no methods; give a file that `activesam evaluate` wrote.")
    return dict(content)


def limit_of(text: str, methods: Sequence[str]) -> Limit:
    """Parse ``[METHOD/]METRIC:AMOUNT[%]``; the name of a class may contain colons and slashes.

    Raises UsageError.
    """
    path, colon, amount_text = text.rpartition(":")
    if not colon or not path:
        raise UsageError(f"--fail-if {text!r} is not METRIC:AMOUNT, such as miou:0.01.")
    relative = amount_text.endswith("%")
    try:
        amount = float(amount_text.removesuffix("%"))
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise UsageError(
            f"--fail-if {text!r}: the amount {amount_text!r} must be a number of 0 or more, or a "
            "percentage."
        )
    head, slash, tail = path.partition("/")
    named = bool(slash) and head in methods
    metric = tail if named else path
    higher_is_better(metric)
    return Limit(
        text, head if named else None, metric, amount / 100 if relative else amount, relative
    )


def higher_is_better(metric: str) -> bool:
    """Whether higher values of ``metric`` are better; raises UsageError for an unknown metric."""
    if metric in HIGHER_IS_BETTER or metric.startswith(CLASS_PREFIX):
        return True
    head, _, key = metric.rpartition(".")
    if head.startswith(CORRUPTION_PREFIX) and key in CORRUPTION_KEYS:
        return True
    if metric in LOWER_IS_BETTER or metric.startswith(LATENCY_PREFIXES):
        return False
    known = (
        *HIGHER_IS_BETTER, *LOWER_IS_BETTER, "latency_ms.p95", "per_class_iou.NAME",
        "corruptions.fog:5.miou", "corruptions.mean.miou",
    )  # fmt: skip
    raise UsageError(f"There is no metric {metric!r}; give one of {', '.join(known)}.")


def differences(first: Results, second: Results) -> list[Difference]:
    """Every metric of every common method, unless both values are null.

    Raises UsageError when the runs have no method in common.
    """
    found = []
    for method in common_methods(first, second):
        a, b = (
            _metrics(run["methods"][method]) | _corruption_metrics(run, method)
            for run in (first, second)
        )
        for metric in dict.fromkeys((*a, *b)):
            values = a.get(metric), b.get(metric)
            if values != (None, None):
                found.append(Difference(method, metric, *values))
    return found


def common_methods(first: Results, second: Results) -> list[str]:
    """Methods of both runs, in the order of the first; raises UsageError if there are none."""
    common = [name for name in first["methods"] if name in second["methods"]]
    if not common:
        raise UsageError(
            f"The runs have no method in common: A has {', '.join(first['methods'])} and B "
            f"{', '.join(second['methods'])}."
        )
    return common


def violations(limits: Sequence[Limit], found: Sequence[Difference]) -> list[str]:
    """Each metric that got worse by more than its limit, one sentence each.

    Raises UsageError when a limit names a metric that is not in both runs.
    """
    sentences = []
    for limit in limits:
        matching = [
            entry
            for entry in found
            if entry.metric == limit.metric and limit.method in (None, entry.method)
        ]
        if not matching:
            raise UsageError(f"--fail-if {limit.text!r}: neither run has {limit.metric}.")
        for entry in matching:
            if entry.worsening is None:
                run = "A" if entry.first is None else "B"
                raise UsageError(
                    f"--fail-if {limit.text!r}: {entry.metric} of {entry.method} is null in {run}, "
                    "so the runs cannot be compared."
                )
            allowed = limit.amount * abs(entry.first or 0.0) if limit.relative else limit.amount
            # Room for rounding: 0.6 - 0.5 is a little more than 0.1.
            if entry.worsening > allowed + 1e-9 * max(1.0, allowed):
                sentences.append(
                    f"{entry.metric} of {entry.method} got worse by {entry.worsening:.6g}, from "
                    f"{entry.first:.6g} to {entry.second:.6g}; {allowed:.6g} is allowed."
                )
    return sentences


def unlike(first: Results, second: Results) -> list[str]:
    """Dotted keys of what differs between the runs apart from the results."""
    differing = []
    parts = [
        dict(run) | {"corruptions": {"seed": (run.get("corruptions") or {}).get("seed")}}
        for run in (first, second)
    ]
    for key in CONDITIONS:
        a, b = (_leaves(part.get(key), key) for part in parts)
        differing += [name for name in dict.fromkeys((*a, *b)) if a.get(name) != b.get(name)]
    return differing


def _metrics(entry: Mapping[str, Any]) -> dict[str, float | None]:
    """The metrics of a method by name; one inside a group is called ``latency_ms.p95``."""
    metrics: dict[str, float | None] = {}
    for key, value in entry.items():
        if key in HIGHER_IS_BETTER or key in LOWER_IS_BETTER:
            metrics[key] = _number(value)
        elif key in ("latency_ms", "stage_latency_ms", "per_class_iou") and value:
            metrics |= {name: _number(leaf) for name, leaf in _leaves(value, key).items()}
    return metrics


def _corruption_metrics(run: Results, method: str) -> dict[str, float | None]:
    """``corruptions.fog:5.miou`` for one corruption, ``corruptions.mean.miou`` for their mean."""
    corruptions = run.get("corruptions")
    if not corruptions:
        return {}
    entries = {name: entry["methods"][method] for name, entry in corruptions["runs"].items()}
    entries["mean"] = corruptions["mean"][method]
    return {
        f"{CORRUPTION_PREFIX}{name}.{key}": _number(entry.get(key))
        for name, entry in entries.items()
        for key in CORRUPTION_KEYS
    }


def _leaves(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {path: value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves |= _leaves(inner, f"{path}.{key}")
    return leaves


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"A results.json has {value!r} in place of a number.")
    return float(value) if math.isfinite(value) else None  # NaN exceeds no limit
