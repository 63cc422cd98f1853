"""Report what is installed, which device and weights there are, what is missing and how to get it.

"--" marks what is missing but optional. "!!" marks what is needed; the command then exits with 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from activesam_ros import __version__
from activesam_ros.commands.options.network import add_weights_arguments
from activesam_ros.errors import ActiveSamError
from activesam_ros.pipeline import read_config, resolve_device, resolve_dtype
from activesam_ros.prompts.cache import default_cache_dir
from activesam_ros.prompts.cache_folder import why_untrusted
from activesam_ros.prompts.hypernyms import load_wordnet
from activesam_ros.resources import DEMO_WEIGHTS, OFFICIAL_WEIGHTS, config_dir, weights_dir
from activesam_ros.sam3.checkpoint import check_weights

WIDTH = 22
# The compilers that PyTorch and Triton look for.
COMPILERS = ("cc", "gcc", "clang")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. The exit code is 1 if something ``needed`` is missing."""

    what: str
    found: str
    missing: bool = False
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Package:
    """A Python package, its purpose, and how to get it."""

    name: str
    module: str
    purpose: str
    how: str
    needed: bool = False


PACKAGES = (
    Package("numpy", "numpy", "arrays", "pip install numpy", needed=True),
    Package("opencv", "cv2", "image files", "pip install opencv-python-headless", needed=True),
    Package(
        "safetensors", "safetensors", "cache and demo weights", "pip install safetensors", True
    ),
    Package("regex", "regex", "tokenizer", "pip install regex", needed=True),
    Package("ftfy", "ftfy", "tokenizer", "pip install ftfy", needed=True),
    Package("PyYAML", "yaml", "vocabularies", "pip install pyyaml", needed=True),
    Package("nltk", "nltk", "hypernyms of new class names", "pip install nltk"),
    Package("rosbags", "rosbags", "recordings", "pip install rosbags rosbags-image"),
    Package("jinja2", "jinja2", "reports of evaluations", "pip install jinja2"),
    Package("rclpy", "rclpy", "the node", "`make setup`, or a ROS 2 distribution"),
    Package(
        "cv_bridge", "cv_bridge", "image messages; rosbags-image serves too", "a ROS 2 distribution"
    ),
    Package("vision_msgs", "vision_msgs", "~/label_info", "a ROS 2 distribution"),
    Package("launch_ros", "launch_ros", "the launch file", "a ROS 2 distribution"),
    Package("triton", "triton", "GPU kernels", "comes with a CUDA build of PyTorch"),
    Package("scipy", "scipy", "evaluate --corruption", "pip install '.[corruptions]'"),
    Package("ray", "ray", "evaluate --executor ray", "pip install '.[ray]'"),
    Package("sam3", "sam3", "activesam verify", "pip install '.[reference]'"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam doctor``."""
    add_weights_arguments(parser, default="check both in weights/")


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 1 if something needed is missing, else 0."""
    code = 0
    for finding in itertools.chain(
        _system(),
        _compiler(),
        _packages(),
        _ros(),
        _data(),
        _weights(args.weights, args.config),
    ):
        mark = ("!!" if finding.needed else "--") if finding.missing else "ok"
        print(f"{mark}  {finding.what:{WIDTH}} {finding.found}", flush=True)
        code |= finding.missing and finding.needed
    return int(code)


def _system() -> Iterator[Finding]:
    yield Finding("activesam_ros", f"{__version__} from {config_dir().parent}")
    yield Finding("Python", f"{platform.python_version()} ({sys.executable})")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    yield Finding("torch", f"{torch.__version__}, {build}, {torch.get_num_threads()} CPU threads")
    device = resolve_device("auto")
    dtype = str(resolve_dtype("auto", device)).removeprefix("torch.")
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        free, total = torch.cuda.mem_get_info(device)
        yield Finding(
            "device",
            f"{properties.name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, {dtype}",
        )
    else:
        yield Finding("device", f"cpu, {dtype}; no CUDA device is visible to torch", missing=True)


def _compiler() -> Iterator[Finding]:
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    text = found or "missing, for GPU kernels and compile=always: install a package such as gcc"
    yield Finding("C compiler", text, missing=found is None)


def _packages() -> Iterator[Finding]:
    distributions = metadata.packages_distributions()  # reads the files of every package: slow
    for package in PACKAGES:
        if importlib.util.find_spec(package.module) is None:
            found = f"missing, for {package.purpose}: {package.how}"
            yield Finding(package.name, found, missing=True, needed=package.needed)
        else:
            yield Finding(package.name, f"{_version(package, distributions)} ({package.purpose})")


def _version(package: Package, distributions: Mapping[str, list[str]]) -> str:
    candidates = distributions.get(package.module, [package.name])
    try:
        return metadata.version(candidates[0])
    except metadata.PackageNotFoundError:
        return "found"


def _ros() -> Iterator[Finding]:
    messages = importlib.util.find_spec("activesam_ros.msg") is not None
    yield Finding(
        "messages",
        "activesam_ros.msg is built" if messages else "not built: `make setup` or colcon build",
        missing=not messages,
    )
    distribution = os.environ.get("ROS_DISTRO", "not set")
    rmw = os.environ.get("RMW_IMPLEMENTATION", "the default")
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    yield Finding("ROS environment", f"ROS_DISTRO {distribution}, RMW {rmw}, domain {domain}")


def _data() -> Iterator[Finding]:
    try:
        load_wordnet()
        yield Finding("WordNet", "found (hypernyms of new class names)")
    except ActiveSamError as error:
        yield Finding("WordNet", str(error), missing=True)
    folder = default_cache_dir()
    if folder is None:
        yield Finding("prompt cache", "no folder: set ACTIVESAM_CACHE", missing=True)
        return
    if why := why_untrusted(folder):
        yield Finding("prompt cache", f"not used: {folder} {why}", missing=True)
        return
    files = list(folder.glob("*.safetensors")) if folder.is_dir() else []
    size_mib = sum(path.stat().st_size for path in files) / 2**20
    yield Finding("prompt cache", f"{folder}: {len(files)} tables, {size_mib:.1f} MiB")


def _weights(chosen: Path | None, config: Path | None) -> Iterator[Finding]:
    folder = weights_dir()
    for path in [chosen] if chosen else [folder / OFFICIAL_WEIGHTS, folder / DEMO_WEIGHTS]:
        what = "weights" if chosen else f"weights/{path.relative_to(folder)}"
        try:
            check_weights(path, read_config(path, config))
            yield Finding(what, f"{path}, {path.stat().st_size / 2**20:.0f} MiB")
        except ActiveSamError as error:
            yield Finding(what, str(error), missing=True, needed=chosen is not None)
