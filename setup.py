"""Installs the package without ROS: `pip install .`; name and version come from package.xml."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
# What resources.py looks for under share/activesam_ros; weights/ may hold files of the user's own.
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
    """Text of an element of package.xml, with its white space folded."""
    element = ElementTree.parse(ROOT / "package.xml").getroot().find(tag)
    if element is None or element.text is None:
        raise RuntimeError(f"package.xml has no <{tag}>; restore it from the repository")
    return " ".join(element.text.split())


def data_files() -> list[tuple[str, list[str]]]:
    """Pairs of installation folder and files, relative to the prefix and to this file."""
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
        # cv_bridge of Humble and Jazzy knows the matrix types of OpenCV 4 only.
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
        # What `activesam evaluate --corruption` computes with.
        "corruptions": ["scipy"],
        # What `activesam evaluate --executor ray` divides its work with.
        "ray": ["ray"],
        # What `activesam verify` compares with; sam3 itself imports the other two undeclared.
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
