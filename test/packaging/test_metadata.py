"""package.xml, setup.py, CMakeLists.txt, the lock and the module tell the same story."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import activesam_ros


def setup_answers(repository: Path, *questions: str) -> list[str]:
    command = [sys.executable, "setup.py", "--quiet", *questions]
    answer = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    return answer.stdout.split("\n")[: len(questions)]


def test_one_name_version_and_licence(repository: Path) -> None:
    manifest = ElementTree.parse(repository / "package.xml").getroot()
    stated = [manifest.findtext(tag) for tag in ("name", "version", "license")]
    assert setup_answers(repository, "--name", "--version", "--license") == stated
    assert stated == ["activesam_ros", activesam_ros.__version__, "Apache-2.0"]


def test_files_that_the_documentation_names_exist(repository: Path) -> None:
    """Renaming a file must not leave docs/ behind; paths are from a folder of these."""
    roots = [repository, repository / "activesam_ros"]
    for document in [repository / "README.md", *(repository / "docs").glob("*.md")]:
        named = re.findall(r"`((?:\w+/)+\w+\.py)`", document.read_text("utf-8"))
        missing = [name for name in named if not any((root / name).is_file() for root in roots)]
        assert missing == [], document.name
        assert named or document.name != "frame.md"


def test_project_name_of_cmake(repository: Path) -> None:
    assert "project(activesam_ros)" in (repository / "CMakeLists.txt").read_text()


@pytest.mark.parametrize("pattern", ["msg/*.msg", "srv/*.srv"])
def test_cmake_generates_every_interface(repository: Path, pattern: str) -> None:
    listed = set(
        re.findall(r"\b(?:msg|srv)/\w+\.(?:msg|srv)\b", (repository / "CMakeLists.txt").read_text())
    )
    present = {path.relative_to(repository).as_posix() for path in repository.glob(pattern)}
    assert present
    assert {name for name in listed if name.startswith(pattern[:3])} == present


def test_cmake_finds_only_declared_packages(repository: Path) -> None:
    manifest = ElementTree.parse(repository / "package.xml").getroot()
    declared = {
        element.text for element in manifest if element.tag in ("depend", "buildtool_depend")
    }
    found = set(re.findall(r"find_package\((\w+)", (repository / "CMakeLists.txt").read_text()))
    # ament_cmake brings ament_cmake_python along.
    assert found - {"ament_cmake_python"} == declared


# What the manifest has to name; rclpy brings rcl_interfaces for its own use only.
ROS_MODULES = re.compile(
    r"\w+_(?:msgs|interfaces|srvs)|rclpy|launch|launch_ros|cv_bridge|ament_index_python"
)


def test_every_ros_package_that_is_imported_is_declared(repository: Path) -> None:
    manifest = ElementTree.parse(repository / "package.xml").getroot()
    declared = {element.text for element in manifest if element.tag in ("depend", "exec_depend")}
    files = [*repository.glob("activesam_ros/**/*.py"), *repository.glob("launch/*.py")]
    imported = {
        name
        for path in files
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text("utf-8"), re.MULTILINE)
        if ROS_MODULES.fullmatch(name)
    }
    assert {"rclpy", "launch", "sensor_msgs"} <= imported
    assert imported - declared == set()


def test_lock_pins_everything_but_torch(repository: Path) -> None:
    lines = (repository / "requirements/lock.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert [pin for pin in pins if not re.match(r"[\w.-]+(\[[\w,]+\])?==[\w.]+( ;|$)", pin)] == []
    names = {re.split(r"[=\[]", pin)[0] for pin in pins}
    assert not {
        name for name in names if name == "torch" or name.startswith(("nvidia", "torchvision"))
    }


def test_runtime_dependencies_are_locked(repository: Path) -> None:
    source = (repository / "setup.py").read_text()
    block = re.search(r"install_requires=\[(.*?)\]", source, re.DOTALL)
    assert block
    required = set(re.findall(r'"([\w-]+)', block.group(1))) - {"torch"}
    locked = (repository / "requirements/lock.txt").read_text()
    assert {
        name for name in required if not re.search(rf"^{name}==", locked, re.MULTILINE)
    } == set()
