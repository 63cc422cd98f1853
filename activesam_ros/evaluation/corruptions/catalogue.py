"""The fifteen corruptions of ImageNet-C at five severities, on images of any size.

Defined by Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations" (ICLR 2019), and its make_imagenet_c.py, for images of 224 x 224. Lengths stay in
pixels on larger images. An image's random numbers do not depend on the process that corrupts it.

To add a corruption, add its name to :data:`NAMES` and its function to ``_functions``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import MissingDependencyError, UsageError

Corrupted = NDArray[np.uint8] | NDArray[np.float32] | NDArray[np.float64]
CorruptionFunction = Callable[[NDArray[np.uint8], int, np.random.RandomState], Corrupted]

SEVERITIES = range(1, 6)
DEFAULT_SEVERITY = 5
SMALLEST_SIDE = 32

NAMES = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
ALL = "all"

FROST_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""The pictures of frost. The original has a sixth one, which its random index never reaches."""

_FROST_PACKAGE = "imagecorruptions"


@dataclass(frozen=True, slots=True)
class Corruption:
    """One of :data:`NAMES` at one of :data:`SEVERITIES`."""

    name: str
    severity: int

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}"


PAPER_CORRUPTIONS = tuple(
    Corruption(name, 5) for name in ("gaussian_noise", "motion_blur", "jpeg_compression", "fog")
)
"""The corruptions of the ActiveSAM paper."""


@dataclass(frozen=True)
class CorruptionPlan:
    """The corruptions of every image, and what they depend on.

    frost_images: a folder with :data:`FROST_FILES`; None for the one in the package
    ``imagecorruptions``.
    """

    corruptions: tuple[Corruption, ...]
    seed: int = 0
    frost_images: Path | None = None


class Corrupter:
    """Corrupts images by a plan.

    Raises MissingDependencyError when SciPy or the required pictures of frost are missing.
    """

    def __init__(self, plan: CorruptionPlan) -> None:
        self._plan = plan
        self._functions = _functions(plan)

    @property
    def corruptions(self) -> tuple[Corruption, ...]:
        """The corruptions of the plan, in order."""
        return self._plan.corruptions

    def corrupted(
        self, image: NDArray[np.uint8], place: int, name: str
    ) -> Iterator[tuple[Corruption, NDArray[np.uint8]]]:
        """``image`` under each corruption, uint8 RGB [H, W, 3] like the image; raises UsageError.

        place, name: of the image in its source; the random numbers depend on them.
        """
        height, width = image.shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            raise UsageError(
                f"The image {name} (number {place}) is {width}x{height}; corruptions need at least "
                f"{SMALLEST_SIDE} pixels a side."
            )
        for corruption in self._plan.corruptions:
            random = image_random(self._plan.seed, corruption.name, place, name)
            made = self._functions[corruption.name](image, corruption.severity, random)
            yield corruption, made.astype(np.uint8)  # truncates, like the original


def image_random(seed: int, corruption: str, place: int, name: str) -> np.random.RandomState:
    """The random numbers of one image under one corruption, equal at every severity.

    RandomState, because NumPy guarantees its stream and the original draws from it.
    """
    key = f"{seed} {corruption} {place} {name}".encode()
    words = np.frombuffer(hashlib.sha256(key).digest(), np.uint32)
    return np.random.RandomState(words)


def parse_corruptions(texts: Iterable[str]) -> tuple[Corruption, ...]:
    """Parse ``NAME[:SEVERITY]`` and ``all[:SEVERITY]``, also as lists with commas.

    Duplicates are removed. Raises UsageError.
    """
    found: dict[Corruption, None] = {}
    for text in (part.strip() for given in texts for part in given.split(",")):
        name, colon, severity = text.partition(":")
        if name not in (*NAMES, ALL):
            raise UsageError(
                f"--corruption {text!r} is unknown; give one of {', '.join((*NAMES, ALL))}."
            )
        if colon and severity not in map(str, SEVERITIES):
            raise UsageError(
                f"--corruption {text!r} has the severity {severity!r}; give one from "
                f"{SEVERITIES[0]} to {SEVERITIES[-1]}."
            )
        chosen = int(severity) if colon else DEFAULT_SEVERITY
        for each in NAMES if name == ALL else (name,):
            found[Corruption(each, chosen)] = None
    return tuple(found)


def load_frost_images(folder: Path | None) -> tuple[NDArray[np.uint8], ...]:
    """The pictures of frost, uint8 RGB [H, W, 3] each; raises MissingDependencyError."""
    where = _frost_folder() if folder is None else folder
    if where is None:
        raise MissingDependencyError(
            "The corruption frost needs pictures from ImageNet-C, which this package does not "
            f"contain: `pip install --no-deps {_FROST_PACKAGE}`, or give --frost-images a folder "
            f"with {', '.join(FROST_FILES)}."
        )
    pictures = []
    for name in FROST_FILES:
        picture = cv2.imread(str(where / name), cv2.IMREAD_COLOR)
        if picture is None:
            raise MissingDependencyError(
                f"The frost picture {where / name} cannot be read; give --frost-images a folder "
                f"with {', '.join(FROST_FILES)}."
            )
        pictures.append(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
    return tuple(pictures)


def _functions(plan: CorruptionPlan) -> Mapping[str, CorruptionFunction]:
    try:
        from activesam_ros.evaluation.corruptions import blur, digital, noise, weather
    except ImportError as error:
        raise MissingDependencyError(
            f"Corruptions need SciPy ({error}): run pip install '.[corruptions]' in the "
            "checkout of activesam_ros."
        ) from error
    functions: dict[str, CorruptionFunction] = {
        "gaussian_noise": noise.gaussian_noise,
        "shot_noise": noise.shot_noise,
        "impulse_noise": noise.impulse_noise,
        "defocus_blur": blur.defocus_blur,
        "glass_blur": blur.glass_blur,
        "motion_blur": blur.motion_blur,
        "zoom_blur": blur.zoom_blur,
        "snow": weather.snow,
        "fog": weather.fog,
        "brightness": weather.brightness,
        "contrast": digital.contrast,
        "elastic_transform": digital.elastic_transform,
        "pixelate": digital.pixelate,
        "jpeg_compression": digital.jpeg_compression,
    }
    if any(corruption.name == "frost" for corruption in plan.corruptions):
        functions["frost"] = weather.Frost(load_frost_images(plan.frost_images))
    return functions


def _frost_folder() -> Path | None:
    found = importlib.util.find_spec(_FROST_PACKAGE)  # not imported: its imports are not installed
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "frost"
