"""A drive through the demo world with ground truth, and its recording.

>>> from activesam_ros.demo.drive import Drive, DriveOptions
>>> frame = Drive(DriveOptions(seed=7, frames=3)).frame(1)
>>> frame.images[0].shape, frame.labels[0].shape
((384, 640, 3), (384, 640))
"""

from activesam_ros.demo.drive.options import (
    TEST_SEEDS,
    TRAIN_SEEDS,
    VALIDATION_SEEDS,
    DriveOptions,
)
from activesam_ros.demo.drive.sequence import Drive, DriveFrame

__all__ = [
    "TEST_SEEDS",
    "TRAIN_SEEDS",
    "VALIDATION_SEEDS",
    "Drive",
    "DriveFrame",
    "DriveOptions",
]
