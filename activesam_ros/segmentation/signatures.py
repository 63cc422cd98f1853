"""Signatures of the classes of a vocabulary, and the file that holds them (ActiveSAM 2).

The signature of a class is the mean score of every class where that class is in the image. A class
whose pixels also score as another class thereby shows which of the two scores to believe.
"""

from __future__ import annotations

import json
import logging
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import SignaturesError

_LOG = logging.getLogger(__name__)

# Bounds the memory that a damaged file can ask for: three arrays of this many classes squared.
MOST_CLASSES = 8192
SIGNATURE_EPS = 1e-6


@dataclass(frozen=True, eq=False)
class Signatures:
    """What calibration knows of C classes, in the order of their vocabulary.

    winning: float32 [C, C], row k is the mean score of every class at the pixels that class k wins
    (R_a of the paper). exclusive: the same where only class k scores (R_e). log_mass: float32 [C],
    natural logarithm of the share of pixels that the class wins. calibrated: bool [C], whether the
    class won enough pixels. background_mass: share of the pixels that the background wins, None
    where calibration knew no background. names: of the classes, None where the file has none.
    weights: fingerprint of the weights that calibration ran with, "" where the file has none.
    """

    winning: NDArray[np.float32]
    exclusive: NDArray[np.float32]
    log_mass: NDArray[np.float32]
    calibrated: NDArray[np.bool_]
    background_mass: float | None
    names: tuple[str, ...] | None = None
    weights: str = ""

    def __post_init__(self) -> None:
        count = len(self.log_mass)
        if not (
            self.winning.shape == self.exclusive.shape == (count, count)
            and self.log_mass.shape == self.calibrated.shape == (count,)
            and (self.names is None or len(self.names) == count)
        ):
            raise SignaturesError(
                f"Signatures of {count} classes must have {count} rows and {count} columns, not "
                f"{self.winning.shape} and {self.exclusive.shape}; calibrate again."
            )
        for name in ("winning", "exclusive", "log_mass"):
            if not np.isfinite(getattr(self, name)).all():
                raise SignaturesError(
                    f"The signatures' {name} has a value that is not finite; calibrate again."
                )

    def __len__(self) -> int:
        return len(self.log_mass)

    def for_names(self, names: Sequence[str]) -> Signatures:
        """The signatures of a vocabulary with these display names.

        A class that calibration did not know is not calibrated: its pixels keep the class that
        scores most. Without names of their own the signatures are taken in their order. Raises
        SignaturesError where no name or, without names, the number of classes does not fit.
        """
        if self.names is None:
            if len(names) != len(self):
                raise SignaturesError(
                    f"The signatures are of {len(self)} classes and the vocabulary has "
                    f"{len(names)}; calibrate with this vocabulary."
                )
            return self
        if tuple(names) == self.names:
            return self
        places = {name: place for place, name in enumerate(self.names)}
        known = np.array([name in places for name in names])
        if not known.any():
            raise SignaturesError(
                f"The signatures are of other classes ({self.names[0]!r}, ...) than the "
                f"vocabulary's ({names[0]!r}, ...); calibrate with this vocabulary."
            )
        index = np.array([places.get(name, 0) for name in names])
        both = known[:, None] & known[None]
        unknown = np.float32(SIGNATURE_EPS)
        return Signatures(
            winning=np.where(both, self.winning[np.ix_(index, index)], unknown),
            exclusive=np.where(both, self.exclusive[np.ix_(index, index)], unknown),
            log_mass=np.where(known, self.log_mass[index], self.log_mass.min()),
            calibrated=self.calibrated[index] & known,
            background_mass=self.background_mass,
            names=tuple(names),
            weights=self.weights,
        )


def read_signatures(path: Path) -> Signatures:
    """Read a file of the authors' format, as `activesam calibrate` writes it too.

    Runs no code from the file. Raises SignaturesError naming what is wrong with it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: _array(arrays, name) for name in ("R_a", "R_e", "log_mass")}
            mass, background_mass = _array(arrays, "mass_argmax"), float(arrays["m_bg"])
            meta = json.loads(str(arrays["meta"]))
        smallest = float(meta["constants"]["CORE_MIN_PX"])
        names = meta.get("names")
        return Signatures(
            winning=found["R_a"].astype(np.float32),
            exclusive=found["R_e"].astype(np.float32),
            log_mass=found["log_mass"].astype(np.float32),
            calibrated=mass >= smallest,
            background_mass=None if math.isnan(background_mass) else background_mass,
            names=None if names is None else tuple(map(str, names)),
            weights=str(meta.get("weights", "")),
        )
    except OSError as error:
        raise SignaturesError(
            f"{path} cannot be read ({error.strerror or error}); give a file that activesam "
            "calibrate wrote."
        ) from error
    except (ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile) as error:
        # NumPy's message would advise to run code from the file.
        reason = "" if "pickle" in str(error) else f" ({error})"
        raise SignaturesError(
            f"{path} is not a signature file{reason}; give one that activesam calibrate wrote."
        ) from error


def warn_of_doubts(
    signatures: Signatures, path: Path, fingerprint: Callable[[], str] | None
) -> None:
    """Log a warning where nothing says that the signatures in ``path`` fit what uses them.

    fingerprint: gives that of the weights in use, None where it is unknown. It is asked only if the
    file states one.
    """
    if signatures.names is None:
        _LOG.warning(
            "%s does not name its %d classes, so they are taken in the order of the vocabulary; "
            "activesam calibrate writes a file with names.",
            path,
            len(signatures),
        )
    if signatures.weights and fingerprint is not None and fingerprint() != signatures.weights:
        _LOG.warning(
            "%s was calibrated with other weights than those in use, whose scores may differ; "
            "calibrate again with these.",
            path,
        )


def _array(arrays: Mapping[str, Any], name: str) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(arrays[name])
    if array.dtype.kind != "f" or array.ndim > 2 or max(array.shape, default=0) > MOST_CLASSES:
        raise ValueError(f"{name} is {array.dtype} {array.shape}")
    return array
