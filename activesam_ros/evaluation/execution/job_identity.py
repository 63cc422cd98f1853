"""What tells one job from another, so that an interrupted one is taken up only by itself."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from activesam_ros.evaluation.execution.worker import Task
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.sam3.checkpoint import weights_fingerprint


def files_identity(files: Iterable[Path]) -> str:
    """Changes when a file is changed, replaced, added or left out."""
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def vocabulary_identity(vocabulary: Vocabulary) -> str:
    """Changes when a class, its id, a name, a colour or a pin changes."""
    classes = [dataclasses.astuple(entry) for entry in vocabulary.classes]
    return hashlib.sha256(repr(classes).encode()).hexdigest()


def evaluation_job(task: Task, files: Iterable[Path], source: Mapping[str, str]) -> dict[str, str]:
    """All that the results of ``task`` depend on, but who does it with how many threads.

    files: what its source reads; source: whatever else it depends on. Raises CheckpointError where
    there are no weights.
    """
    network = task.network
    config = network.config or network.weights.with_name("config.json")
    return {
        "input": files_identity(files),
        **source,
        "weights": weights_fingerprint(network.weights),
        "configuration": files_identity([config]) if config.is_file() else "",
        "device": network.device,
        "dtype": network.dtype,
        "vocabulary": vocabulary_identity(task.vocabulary),
        "methods": ", ".join(method.value for method in task.settings),
        "settings": repr(list(task.settings.values())),
        "agreement": repr(task.reference),
        "corruptions": repr(task.corruptions),
        "report": repr(task.pictures),
    }
