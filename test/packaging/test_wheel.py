"""`pip install .` brings the data files and the commands along."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SOURCES = ("activesam_ros", "config", "launch", "msg", "srv")
FILES = ("setup.py", "pyproject.toml", "package.xml", "MANIFEST.in")


@pytest.fixture(scope="module")
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is made from, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for folder in SOURCES:
        if (repository / folder).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(repository / folder, copy / folder, ignore=ignore)
    for name in FILES:
        shutil.copy(repository / name, copy)
    (copy / "weights" / "demo").mkdir(parents=True)
    (copy / "weights" / "demo" / "config.json").write_text("{}")
    (copy / "weights" / "README.md").write_text("weights\n")
    (copy / "weights" / "sam3.pt").write_text("gigabytes of the user's own\n")
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--quiet", "--wheel-dir", "dist"], cwd=source, check=True)
    (path,) = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def data_names(wheel: zipfile.ZipFile) -> set[str]:
    marker = ".data/data/share/activesam_ros/"
    return {name.split(marker, 1)[1] for name in wheel.namelist() if marker in name}


def test_every_data_file_is_inside(source: Path, wheel: zipfile.ZipFile) -> None:
    folders = [folder for folder in SOURCES[1:] if (source / folder).is_dir()]
    expected = {
        path.relative_to(source).as_posix()
        for folder in folders
        for path in (source / folder).rglob("*")
        if path.is_file()
    }
    expected |= {"package.xml", "weights/README.md", "weights/demo/config.json"}
    assert data_names(wheel) == expected


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
