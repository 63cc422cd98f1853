"""Paths as users write them, and the folders of data files.

The folders are found in a source checkout, a ROS install and a pip install; each function raises
MissingDependencyError if its folder is not there.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from activesam_ros.errors import MissingDependencyError

OFFICIAL_WEIGHTS = Path("sam3.pt")
DEMO_WEIGHTS = Path("demo") / "model.safetensors"
"""Both are below the folder ``weights/``."""

_LOG = logging.getLogger(__name__)


def user_path(text: str) -> Path:
    """The path that a user has written; ``~`` at its beginning is the home folder.

    Shells leave ``~`` as it is in NAME:=~/file and --name=~/file, and files have no shell.
    """
    return Path(os.path.expanduser(text))


def config_dir() -> Path:
    """The folder ``config/``."""
    return _data_dir("config")


def weights_dir() -> Path:
    """The folder ``weights/``."""
    return _data_dir("weights")


def default_weights() -> Path:
    """The weights where none are named: weights/sam3.pt, else the demo weights with a log line.

    Raises MissingDependencyError where neither is there.
    """
    folder = weights_dir()
    official, demo = folder / OFFICIAL_WEIGHTS, folder / DEMO_WEIGHTS
    if official.is_file():
        return official
    if not demo.is_file():
        raise MissingDependencyError(
            f"No weights are named, and neither {official} nor {demo} is there; name a file with "
            "weights (weights/README.md says where to get sam3.pt)."
        )
    _LOG.warning(
        "No weights are named and %s is not there: using the demo weights %s, a small network that "
        "knows the synthetic demo world alone (weights/README.md says where to get sam3.pt).",
        official,
        demo,
    )
    return demo


def messages_dir() -> Path:
    """The folder ``msg/`` with the message definitions."""
    return _data_dir("msg")


def _data_dir(name: str) -> Path:
    package = Path(__file__).resolve().parent
    candidates = [package.parent]
    # <prefix>/lib/python3.X/site-packages/activesam_ros -> <prefix>/share/activesam_ros
    unresolved = Path(__file__).absolute().parent
    candidates += [parent / "share" / "activesam_ros" for parent in unresolved.parents]
    candidates.append(Path(sys.prefix) / "share" / "activesam_ros")
    for root in candidates:
        if (root / "package.xml").is_file() and (root / name).is_dir():
            return root / name
    raise MissingDependencyError(
        f"The data folder {name}/ of activesam_ros is not beside the package {package} nor in any "
        "share/activesam_ros above it; install the package again."
    )
