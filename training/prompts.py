"""The prompts of the training as token ids, so that training needs no tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import UsageError
from activesam_ros.output_files import whole_file

ABSENT = -1
HYPERNYMS = 2


@dataclass(frozen=True, eq=False)
class TrainingPrompts:
    """All names that are trained as prompts.

    tokens: int64 [N, L]. class_ids: int64 [N], Cityscapes train id or ABSENT. bundled: bool [N],
    whether the name is in the Cityscapes vocabulary. hypernyms: int64 [N, 2, L], all 0 if missing.
    """

    names: tuple[str, ...]
    tokens: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    bundled: NDArray[np.bool_]
    hypernyms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file; raises OutputError."""
        with whole_file(path) as stream:
            np.savez_compressed(
                stream,
                names=np.array(self.names),
                tokens=self.tokens,
                class_ids=self.class_ids,
                bundled=self.bundled,
                hypernyms=self.hypernyms,
            )

    @classmethod
    def load(cls, path: Path) -> TrainingPrompts:
        """Read what :meth:`save` wrote; raises UsageError for another file."""
        try:
            with np.load(path) as file:
                return cls(
                    names=tuple(file["names"].tolist()),
                    tokens=file["tokens"],
                    class_ids=file["class_ids"],
                    bundled=file["bundled"],
                    hypernyms=file["hypernyms"],
                )
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"{path} is no table of training prompts ({error}); delete it to make it again."
            ) from None
