"""``from activesam_ros import ...``: what is there, what it costs, and the README's example."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import activesam_ros
from activesam_ros import Settings, Vocabulary, vocabulary_from_names

IMPORT = """
import sys, time
begin_s = time.process_time()
import activesam_ros
print((time.process_time() - begin_s) * 1000)
print(*{name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))
"""


def python(code: str, folder: Path) -> str:
    """What a fresh interpreter prints that runs ``code`` in ``folder``."""
    environment = {**os.environ, "ACTIVESAM_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_the_package_loads_nothing_and_takes_under_50_ms(tmp_path: Path) -> None:
    runs = [python(IMPORT, tmp_path).splitlines() for _ in range(3)]
    for _, others in runs:
        assert not {"torch", "numpy", "cv2", "yaml", "rclpy"} & set(others.split())
    # Processor time, which other processes do not lengthen.
    assert min(float(milliseconds) for milliseconds, _ in runs) < 50


def test_every_name_is_there_and_documented() -> None:
    assert set(activesam_ros.__all__) <= set(dir(activesam_ros))
    for name in activesam_ros.__all__:
        value = getattr(activesam_ros, name)
        assert value.__name__ == name
        assert inspect.getdoc(value)
        assert value.__module__.startswith("activesam_ros.")
    with pytest.raises(AttributeError, match="'activesam_ros' has no attribute 'segment_anything'"):
        activesam_ros.segment_anything  # noqa: B018


def test_docstrings_stand_first(repository: Path) -> None:
    """A text after a statement of a function documents nothing; after ``self.x = ...`` it may."""
    late = [
        f"{file}:{text.lineno}"
        for folder in ("activesam_ros", "benchmarks", "training")
        for file in (repository / folder).rglob("*.py")
        for function in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(function, ast.FunctionDef) and function.name != "__init__"
        for text in function.body[1:]
        if isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    ]
    assert late == []


def test_names_have_their_types() -> None:
    """mypy reads this: without types, the wrong keyword would pass and the ignore be unused."""
    vocabulary: Vocabulary = vocabulary_from_names(["road", "car, automobile"])
    assert vocabulary.queries == ("road", "car", "automobile")
    with pytest.raises(TypeError):
        Settings(max_activ=3)  # type: ignore[call-arg]


def test_the_old_name_of_a_result_works(caplog: pytest.LogCaptureFixture) -> None:
    labels = np.zeros((1, 1), np.uint8)
    result = activesam_ros.Segmentation(labels, (0.5, None), (), (), {})
    assert result.presence == result.preview_presence == (0.5, None)
    assert "read preview_presence" in caplog.text


def test_the_readmes_example_runs_as_printed(repository: Path, tmp_path: Path) -> None:
    section = (repository / "README.md").read_text("utf-8").split("## From Python", 1)[1]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert example
    imports = [line for line in example[1].splitlines() if "import" in line]
    assert len([line for line in imports if "activesam_ros" in line]) == 1
    (tmp_path / "weights").mkdir()
    demo = repository / "weights" / "demo"
    shutil.copy(demo / "model.safetensors", tmp_path / "weights" / "sam3.pt")
    shutil.copy(demo / "config.json", tmp_path / "weights")
    images = tmp_path / "test" / "data" / "images"
    images.mkdir(parents=True)
    shutil.copy(repository / "test" / "data" / "images" / "test1.jpg", images)
    printed = python(example[1], tmp_path).splitlines()
    assert printed
    assert all(re.match(r"\d+ \S.* (None|0\.\d+|1\.0) \d+$", line) for line in printed), printed
