"""Makes golden.npz: what ImageNet-C's own make_imagenet_c.py makes of one image.

    python make_golden.py make_imagenet_c.py FROST golden.npz

FROST is the folder of ImageNet-C's pictures of frost. It needs numpy, scipy, scikit-image,
opencv-python-headless, pillow, and wand with ImageMagick 6. The script, of
github.com/hendrycks/robustness (Apache-2.0), is not part of this repository. Its part between
"Distortion Helpers" and "Further Setup" is run after the calls that newer libraries no longer have
were given their new names; nothing else is changed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 224
SEED = 20261121
EVERY = 11
NAMES = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
REAL_FROST = "frost of ImageNet-C"
RENAMED = {
    "scipy.ndimage.interpolation import": "scipy.ndimage import",
    "np.float_": "np.float64",
    "multichannel=True": "channel_axis=-1",
    "np.fromstring": "np.frombuffer",
    "mode='s&p', amount=c": "mode='s&p', amount=c, rng=np.random.default_rng("
    "np.random.get_bit_generator())",
}


def scene() -> NDArray[np.uint8]:
    """An image with edges, ramps, texture, black and white, uint8 [224, 224, 3], by integers."""
    row, column = np.mgrid[:SIDE, :SIDE]
    image = np.stack([row, column, (row * 3 + column * 5) // 8], -1) % 256
    image[40:110, 30:120] = (200, 30, 60)
    image[(row - 150) ** 2 + (column - 150) ** 2 < 45**2] = (20, 120, 240)
    image[:12] = 0
    image[-12:] = 255
    stripes = (column // 4 + row // 6) % 2 == 0
    image[130:200, 10:70][stripes[130:200, 10:70]] = (250, 240, 10)
    return image.astype(np.uint8)


def frost_pictures() -> list[NDArray[np.uint8]]:
    """Five pictures in place of those of ImageNet-C, all larger than the scene."""
    random = np.random.RandomState(1)
    sizes = [(240, 300), (300, 260), (226, 226), (400, 250), (256, 256)]
    coarse = [random.randint(0, 256, (12, 12, 3)).astype(np.uint8) for _ in sizes]
    return [
        np.asarray(cv2.resize(picture, size[::-1]), np.uint8)
        for picture, size in zip(coarse, sizes, strict=True)
    ]


def original_functions(script: Path) -> dict[str, Any]:
    """The functions of make_imagenet_c.py by name."""
    text = script.read_text()
    text = text[text.index("# /////////////// Distortion Helpers") :]
    text = text[: text.index("# /////////////// Further Setup")]
    for old, new in RENAMED.items():
        assert old in text, old
        text = text.replace(old, new)
    names: dict[str, Any] = {"np": np}
    exec(compile(text, str(script), "exec"), names)
    return names


def made_by(functions: dict[str, Any], name: str, severity: int, seed: int) -> NDArray[np.uint8]:
    """Some pixels of what the original makes of the scene."""
    np.random.seed(seed)  # noqa: NPY002
    result = np.asarray(functions[name](Image.fromarray(scene()), severity))
    return result.astype(np.uint8)[5::EVERY, 5::EVERY]


def main() -> None:
    functions = original_functions(Path(sys.argv[1]))
    frost, output = Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the original looks for frost1.png and so on here
        for number, picture in enumerate(frost_pictures(), 1):
            cv2.imwrite(f"frost{number}.png", picture)
            Path(f"frost{number}.png").rename(f"frost{number}.{'png' if number < 4 else 'jpg'}")
        for name in NAMES:
            for severity in range(1, 6):
                made[f"{name}:{severity}"] = made_by(functions, name, severity, SEED)
    os.chdir(frost)
    for severity in range(1, 6):  # each with another picture and place
        made[f"{REAL_FROST}:{severity}"] = made_by(functions, "frost", severity, SEED + severity)
    np.savez_compressed(output, **made)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
