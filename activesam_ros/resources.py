"""Paths as users write them, and the folders of data files.

The folders are found in a source checkout, a ROS install and a pip install; each function raises
MissingDependencyError if its folder is not there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from activesam_ros.errors import MissingDependencyError


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
