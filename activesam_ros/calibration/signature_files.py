"""The files of a calibration: the signatures, and the sums of an interrupted one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from activesam_ros.calibration.estimator import CalibrationSettings, Group, SignatureSums
from activesam_ros.errors import UsageError
from activesam_ros.output_files import write_whole
from activesam_ros.resumable_work import check_same_job
from activesam_ros.segmentation.signatures import Signatures


def write_signatures(
    path: Path,
    signatures: Signatures,
    totals: SignatureSums,
    settings: CalibrationSettings,
    origin: Mapping[str, object],
) -> None:
    """Write a file of the authors' format, with names and weights in ``meta``.

    origin: what else ``meta`` says of the calibration. Raises OutputError.
    """
    meta = {
        **origin,
        "C": len(signatures),
        "names": signatures.names,
        "weights": signatures.weights,
        "constants": {
            "CORE_HI": settings.core_high,
            "CORE_LO": settings.core_low,
            "CORE_MIN_PX": settings.min_pixels,
        },
    }
    mass = signatures.background_mass
    arrays: dict[str, Any] = {
        "R_a": signatures.winning,
        "R_e": signatures.exclusive,
        "log_mass": signatures.log_mass,
        "mass_argmax": totals.sizes[Group.WON],
        "mass_excl": totals.sizes[Group.EXCLUSIVE],
        "m_bg": np.float64("nan" if mass is None else mass),
        "meta": json.dumps(meta),
    }
    write_whole(path, _npz(arrays))


@dataclass(frozen=True)
class Checkpoint:
    """What an interrupted calibration has done.

    images: how many of the input's images are read. unusable: how many of those are left out.
    """

    totals: SignatureSums
    images: int
    unusable: int

    def write(self, path: Path, job: Mapping[str, object]) -> None:
        """Keep it in ``path`` for the same job; raises OutputError."""
        arrays = {
            "sums": self.totals.sums,
            "sizes": self.totals.sizes,
            "counts": np.array([self.images, self.unusable]),
            "job": json.dumps(job, sort_keys=True),
        }
        write_whole(path, _npz(arrays))

    @classmethod
    def read(cls, path: Path, job: Mapping[str, object], classes: int) -> Checkpoint:
        """What :meth:`write` kept, or a beginning where there is no file.

        Raises UsageError when the file belongs to another job or is none.
        """
        if not path.exists():
            return cls(SignatureSums.zeros(classes), 0, 0)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                then = json.loads(str(arrays["job"]))
                sums, sizes = arrays["sums"], arrays["sizes"]
                images, unusable = map(int, arrays["counts"])
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(
                f"{path} is not what an interrupted calibration leaves ({error}); remove it to "
                "start again."
            ) from error
        check_same_job(path, then, job, "calibration")
        shapes = (len(Group), classes, classes), (len(Group), classes)
        if (sums.shape, sizes.shape) != shapes:
            raise UsageError(
                f"{path} is not what an interrupted calibration leaves (sums of {sums.shape}); "
                "remove it to start again."
            )
        return cls(SignatureSums(sums, sizes), images, unusable)


def _npz(arrays: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()
