"""Image files, and the type of label maps."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import ImageError
from activesam_ros.output_files import write_whole

#: The class id of each pixel, [H, W].
LabelMap: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """The image as uint8 RGB [H, W, 3]; raises ImageError if it cannot be read or decoded."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ImageError(f"The image {path} cannot be read: {error.strerror}.") from None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ImageError(f"{path} ({data.size} bytes) is not an image that OpenCV can decode.")
    rgb: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
    return rgb


def write_png(path: Path, pixels: LabelMap) -> None:
    """Write RGB [H, W, 3] or labels [H, W], whole or not at all.

    Raises ImageError if PNG cannot hold them, OutputError if ``path`` cannot be written.
    """
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]  # to BGR, as OpenCV writes
    encoded, data = cv2.imencode(".png", pixels)
    if not encoded:
        raise ImageError(
            f"{path} cannot be written: PNG cannot hold {pixels.dtype} {pixels.shape}."
        )
    write_whole(path, data.tobytes())
