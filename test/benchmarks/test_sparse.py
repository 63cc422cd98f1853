"""The sparse benchmark on networks that see nothing: its rows, table and plot."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from activesam_ros.demo.untrained import UNTRAINED_CONFIG, write_untrained
from benchmarks.sparse.layers import layer_rows
from benchmarks.sparse.plans import SWITCHES
from benchmarks.sparse.report import report
from benchmarks.sparse.run import main


def test_one_command_writes_json_table_and_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = write_untrained(tmp_path)
    output = tmp_path / "out"
    main(
        [
            *("--weights", str(weights), "--device", "cpu", "--output", str(output)),
            *("--frames", "1", "--ways", "content", "--densities", "0.4"),
            *("--no-golden", "--no-full-size"),
        ]
    )
    values = json.loads((output / "sparse.json").read_text())
    dense, *rows = values["rows"]
    assert (dense["switch"], dense["agreement"]) == ("dense", 1)
    assert (dense["encode_share"], dense["fuse_share"]) == (1, 1)
    assert [(row["switch"], row["density"]) for row in rows] == [
        (switch, 0.4) for switch in SWITCHES
    ]
    for row in rows:
        assert 0 < row["agreement"] < 1
        stage, other = ("encode", "fuse")[:: 1 if row["switch"].startswith("encoder") else -1]
        assert row[f"{stage}_share"] > 0
        assert row[f"{stage}_mib"] > 0
        assert row[f"{other}_share"] is None
    table = (output / "sparse.md").read_text()
    assert table in capsys.readouterr().out
    assert ("(missed)" in table) or ("(met)" in table)
    assert cv2.imread(str(output / "sparse.png")) is not None


def test_every_kind_of_layer_has_a_row_for_each_density() -> None:
    rows = layer_rows(UNTRAINED_CONFIG, "cpu", (0.5,))
    assert [(row.layer, row.density) for row in rows] == [
        (layer, density)
        for layer in (
            "global attention",
            "window attention",
            "encoder mlp",
            "fusion attention",
            "fusion mlp",
        )
        for density in (1.0, 0.5)
    ]
    for dense, sparse in zip(rows[::2], rows[1::2], strict=True):
        assert dense.share == 1
        assert sparse.share == pytest.approx(sparse.time_ms / dense.time_ms)
        assert sparse.memory_mib > 0
    # An MLP on half of the tokens holds half of the hidden ones.
    assert rows[5].memory_mib < rows[4].memory_mib
    text = report({"rows": [], "full_size_layers": [vars(row) for row in rows]})
    assert text.count("\n") == 2 + len(rows)
