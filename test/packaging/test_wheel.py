"""The wheel holds the package, its data files and its commands, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import activesam_ros

SOURCES = ("activesam_ros", "config", "launch", "msg", "srv")
NOT_INSTALLED = ("benchmarks", "training", "scripts")
FILES = ("setup.py", "pyproject.toml", "package.xml", "CMakeLists.txt", "MANIFEST.in")


@pytest.fixture(scope="module")
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is made from, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for folder in (*SOURCES, *NOT_INSTALLED):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / folder, copy / folder, ignore=ignore)
    (copy / "test").mkdir()
    (copy / "test" / "__init__.py").touch()
    for name in FILES:
        shutil.copy(repository / name, copy)
    (copy / "weights" / "demo").mkdir(parents=True)
    (copy / "weights" / "demo" / "config.json").write_text("{}")
    (copy / "weights" / "README.md").write_text("weights\n")
    (copy / "weights" / "sam3.pt").write_text("gigabytes of the user's own\n")
    return copy


@pytest.fixture(scope="module")
def wheel_path(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made from the source distribution, so that MANIFEST.in is tested too."""
    folder = tmp_path_factory.mktemp("wheel")
    sdist = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(folder)]
    subprocess.run(sdist, cwd=source, check=True, stderr=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", str(archive), "--no-deps", "--no-index"]
    options = ["--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([*command, *options], check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(wheel_path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_path)


def data_names(wheel: zipfile.ZipFile) -> set[str]:
    marker = ".data/data/share/activesam_ros/"
    return {name.split(marker, 1)[1] for name in wheel.namelist() if marker in name}


def test_every_data_file_is_inside(source: Path, wheel: zipfile.ZipFile) -> None:
    expected = {
        path.relative_to(source).as_posix()
        for folder in SOURCES[1:]
        for path in (source / folder).rglob("*")
        if path.is_file()
    }
    expected |= {"package.xml", "weights/README.md", "weights/demo/config.json"}
    assert data_names(wheel) == expected


def test_only_the_package_is_inside(wheel: zipfile.ZipFile) -> None:
    name = f"activesam_ros-{activesam_ros.__version__}"
    folders = {path.split("/")[0] for path in wheel.namelist()}
    assert folders == {"activesam_ros", f"{name}.dist-info", f"{name}.data"}


def test_an_installation_finds_its_data_and_needs_no_checkout(
    wheel_path: Path, tmp_path: Path
) -> None:
    install = [sys.executable, "-m", "pip", "install", str(wheel_path), "--prefix", str(tmp_path)]
    subprocess.run(
        [*install, "--no-deps", "--no-index", "--quiet", "--ignore-installed"], check=True
    )
    (site,) = tmp_path.glob("lib/python3.*/site-packages")
    script = (
        "from activesam_ros import load_vocabulary, resources\n"
        "print(load_vocabulary('driving').name, resources.config_dir(), resources.messages_dir())"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", script]
    found = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    share = tmp_path / "share" / "activesam_ros"
    assert found.stdout.split() == ["driving", str(share / "config"), str(share / "msg")]


def test_the_users_own_weights_stay_out(wheel: zipfile.ZipFile) -> None:
    assert [name for name in wheel.namelist() if name.endswith("sam3.pt")] == []


def test_every_module_and_the_token_table_are_inside(source: Path, wheel: zipfile.ZipFile) -> None:
    modules = {path.relative_to(source).as_posix() for path in source.glob("activesam_ros/**/*.py")}
    assert modules - set(wheel.namelist()) == set()
    assert "activesam_ros/sam3/bpe_simple_vocab_16e6.txt.gz" in wheel.namelist()
    assert "activesam_ros/py.typed" in wheel.namelist()
    for name in ("page.html", "page.css", "page.js"):
        assert f"activesam_ros/evaluation/report/page/{name}" in wheel.namelist()


def test_commands_and_extras(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    lines = wheel.read(entry_points).decode().splitlines()
    assert "activesam = activesam_ros.cli:main" in lines
    assert "segment_node = activesam_ros.node.segment_node:main" in lines
    (metadata,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    text = wheel.read(metadata).decode()
    assert 'Requires-Dist: sam3==0.1.4; extra == "reference"' in text
    assert "Provides-Extra: test" in text
