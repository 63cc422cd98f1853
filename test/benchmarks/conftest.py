"""Makes the checkout's folder benchmarks/ importable.

Not by the checkout on sys.path: its folder launch/ would pass for ROS's launch.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "benchmarks"


def _import_package() -> None:
    spec = importlib.util.spec_from_file_location(FOLDER.name, FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[FOLDER.name] = package
    spec.loader.exec_module(package)


_import_package()
