"""The file that a calibration writes."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from activesam_ros.calibration.estimator import CalibrationSettings, Group, SignatureSums
from activesam_ros.output_files import write_whole
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
            "CORE_MIN_PX": settings.least_cells,
            "SHRINKAGE": settings.shrinkage,
        },
    }
    mass = np.zeros((len(Group), len(signatures)))
    mass[:, totals.classes] = totals.sizes
    background_mass = signatures.background_mass
    arrays: dict[str, Any] = {
        "R_a": signatures.winning,
        "R_e": signatures.exclusive,
        "log_mass": signatures.log_mass,
        "mass_argmax": mass[Group.WON],
        "mass_excl": mass[Group.EXCLUSIVE],
        "m_bg": np.float64("nan" if background_mass is None else background_mass),
        "meta": json.dumps(meta),
    }
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_whole(path, stream.getvalue())
