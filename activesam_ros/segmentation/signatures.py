"""Signatures of the classes of a vocabulary, and the file that holds them (ActiveSAM 2).

The signature of a class is the mean score of every class where that class is in the image. A class
whose pixels also score as another class thereby shows which of the two scores to believe.
"""

from __future__ import annotations

import json
import logging
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import SignaturesError, os_reason
from activesam_ros.regular_files import open_regular

_LOG = logging.getLogger(__name__)

MOST_CLASSES = 8192
# Two arrays of that many classes squared, in float64, and a little more.
_LARGEST_FILE = 1 << 31
# Bytes of the text that describes a calibration.
_LONGEST_META = 1 << 26
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

    Runs no code from the file, and takes no more memory than its arrays. Raises SignaturesError
    naming what is wrong with it.
    """
    try:
        with open_regular(path, _LARGEST_FILE) as stream:
            return _signatures(stream)
    except SignaturesError:
        raise
    except OSError as error:
        raise SignaturesError(
            f"{path} cannot be read ({os_reason(error)}); give a file that activesam "
            "calibrate wrote."
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise SignaturesError(
            f"{path} is not a signature file ({reason}); give one that activesam calibrate wrote."
        ) from error


def _signatures(stream: BinaryIO) -> Signatures:
    with zipfile.ZipFile(stream) as file:
        meta = json.loads(str(_array(file, "meta", "U")))
        winning, exclusive = _array(file, "R_a"), _array(file, "R_e")
        log_mass, mass = _array(file, "log_mass"), _array(file, "mass_argmax")
        background_mass = float(_array(file, "m_bg"))
    names = meta.get("names")
    return Signatures(
        winning=winning.astype(np.float32),
        exclusive=exclusive.astype(np.float32),
        log_mass=log_mass.astype(np.float32),
        calibrated=mass >= float(meta["constants"]["CORE_MIN_PX"]),
        background_mass=None if math.isnan(background_mass) else background_mass,
        names=None if names is None else tuple(map(str, names)),
        weights=str(meta.get("weights", "")),
    )


def _array(file: zipfile.ZipFile, name: str, kind: str = "f") -> NDArray[Any]:
    """An array of a file; kind: of its dtype. Nothing is allocated that its header only claims."""
    with file.open(f"{name}.npy") as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError(f"{name} is no array of version 1.0")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        too_large = max((*shape, 0)) > MOST_CLASSES or dtype.itemsize > _LONGEST_META
        if dtype.kind != kind or len(shape) > 2 or min((*shape, 0)) < 0 or too_large:
            raise ValueError(f"{name} is {dtype} {shape}")
        size = math.prod(shape) * dtype.itemsize
        data = stream.read(size)
    if len(data) != size:
        raise ValueError(f"{name} is cut")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")


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
