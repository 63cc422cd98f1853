"""The files that are generated from the table of parameters are up to date."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from activesam_ros.node.parameters.files import main, parameter_table, params_file
from activesam_ros.node.parameters.options import PARAMETERS, NodeParameters


def test_the_params_file_is_generated_from_the_table(repository: Path) -> None:
    text = (repository / "config" / "activesam.yaml").read_text("utf-8")
    assert text == params_file(), (
        "run: python -m activesam_ros.node.parameters.files yaml > config/activesam.yaml"
    )


def test_the_params_file_holds_the_defaults() -> None:
    values = yaml.safe_load(params_file())["/**"]["ros__parameters"]
    assert list(values) == [row.name for row in PARAMETERS]
    assert NodeParameters.from_mapping(values) == NodeParameters()


def test_the_documentation_has_the_table(repository: Path) -> None:
    text = (repository / "docs" / "node.md").read_text("utf-8")
    assert parameter_table() in text, (
        "run: python -m activesam_ros.node.parameters.files markdown, and put it into docs/node.md"
    )


def test_the_texts_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["yaml"]) == 0
    assert capsys.readouterr().out == params_file()
    assert main(["pdf"]) == 2
    assert "yaml, markdown" in capsys.readouterr().err
