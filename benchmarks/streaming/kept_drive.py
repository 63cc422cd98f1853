"""A demo drive whose frames are rendered once and kept as PNG files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.drive.options import DriveOptions
from activesam_ros.demo.drive.sequence import Drive
from activesam_ros.errors import RecordingError
from activesam_ros.output_files import make_folder, write_whole


@dataclass(frozen=True, eq=False)
class KeptFrame:
    """One frame: image, uint8 RGB [H, W, 3], and labels, uint8 [H, W]."""

    stamp_ns: int
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class KeptDrive:
    """The frames of a drive by number; several processes may share the folder."""

    def __init__(self, folder: Path, options: DriveOptions) -> None:
        """Frames are kept in a sub-folder of ``folder`` that no other drive uses."""
        name = f"{options.seed}-{options.width}x{options.height}-{options.rate_hz:g}hz"
        self.folder = folder / f"{name}-{options.frames}"
        make_folder(self.folder)
        self._drive = Drive(options)
        self.options = options

    def frame(self, index: int) -> KeptFrame:
        """Frame ``index``, from 0; raises RecordingError where a file is damaged."""
        image, labels = self.folder / f"{index:06}.png", self.folder / f"{index:06}.labels.png"
        if not labels.exists():  # the last of the two to be written
            rendered = self._drive.frame(index)
            _write(image, rendered.images[0])
            _write(labels, rendered.labels[0])
        return KeptFrame(self.options.stamp_ns(index), _read(image), self.labels(index))

    def labels(self, index: int) -> NDArray[np.uint8]:
        """Labels, uint8 [H, W], of a frame that is kept."""
        return _read(self.folder / f"{index:06}.labels.png")


def encoded(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """RGB [H, W, 3] or labels [H, W] as a lightly compressed PNG."""
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done, f"{pixels.dtype} {pixels.shape} is no image"
    return data.tobytes()


def decoded(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG that :func:`encoded` made; raises RecordingError for other bytes."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise RecordingError(f"{len(data)} bytes are not a PNG; remove them to begin anew.")
    return pixels  # type: ignore[return-value]


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write all of the file or nothing; channels keep their order, as only this module reads it."""
    write_whole(path, encoded(pixels))


def _read(path: Path) -> NDArray[np.uint8]:
    return decoded(path.read_bytes())
