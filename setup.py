"""Installs the package without ROS, by `pip install .`; package.xml has its name and version."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
# What resources.py finds in share/activesam_ros. Other files of weights/ are the user's own.
DATA_PATTERNS = (
    "package.xml",
    "config/**/*",
    "launch/*.launch.py",
    "msg/*.msg",
    "srv/*.srv",
    "weights/README.md",
    "weights/demo/**/*",
)


def manifest_text(tag: str) -> str:
    """The text of an element of package.xml, with single spaces."""
    element = ElementTree.parse(ROOT / "package.xml").getroot().find(tag)
    if element is None or element.text is None:
        raise RuntimeError(f"package.xml has no <{tag}>; restore it from the repository")
    return " ".join(element.text.split())


def data_files() -> list[tuple[str, list[str]]]:
    """Pairs of a folder below the prefix and its files, relative to this one."""
    folders: dict[str, list[str]] = {}
    for pattern in DATA_PATTERNS:
        for path in sorted(ROOT.glob(pattern)):
            relative = path.relative_to(ROOT)
            if path.is_file() and "__pycache__" not in relative.parts:
                target = Path("share", manifest_text("name"), relative.parent).as_posix()
                folders.setdefault(target, []).append(relative.as_posix())
    return list(folders.items())


setup(
    name=manifest_text("name"),
    version=manifest_text("version"),
    description=manifest_text("description"),
    license=manifest_text("license"),
    python_requires=">=3.10",
    packages=find_packages(include=["activesam_ros", "activesam_ros.*"]),
    package_data={
        "": ["py.typed", "*.gz"],
        "activesam_ros.evaluation.report": ["page/*"],
    },
    data_files=data_files(),
    install_requires=[
        "torch>=2.6",
        "numpy",
        "safetensors",
        "regex",
        "ftfy",
        "pyyaml",
        # cv_bridge of Humble and Jazzy supports the matrix types of OpenCV 4 only.
        "opencv-python-headless<5",
        "pillow",
        "nltk",
        "rosbags",
        "rosbags-image",
        "mcap",
        "lz4",
        "zstandard",
        "tqdm",
        "jinja2",
    ],
    extras_require={
        # For `activesam evaluate --corruption`.
        "corruptions": ["scipy"],
        # For `activesam evaluate --executor ray`.
        "ray": ["ray"],
        # For `activesam verify`. sam3 imports the other two without declaring them.
        "reference": ["sam3==0.1.4", "torchvision", "psutil"],
        "test": ["pytest>=8", "hypothesis", "playwright"],
    },
    entry_points={
        "console_scripts": [
            "activesam = activesam_ros.cli:main",
            "segment_node = activesam_ros.node.segment_node:main",
        ]
    },
)
