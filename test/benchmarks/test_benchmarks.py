"""The command that times engines, on a network that takes no time."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.flop_counter import FlopCounterMode

from activesam_ros.demo.untrained import write_untrained
from activesam_ros.errors import ExecutorError
from activesam_ros.segmentation.methods import Method
from benchmarks import camera_batch
from benchmarks.__main__ import main
from benchmarks.engines import choices, engine, network
from benchmarks.measure import images, in_new_process, measure
from benchmarks.options import BenchmarkOptions
from benchmarks.sparse import run as sparse

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "test/data/golden"
COLUMNS = {
    "engine",
    "method",
    "preset",
    "vocabulary",
    "queries",
    "admitted",
    "active",
    "frames_per_second",
    "latency_ms",
    "processor_ms",
    "stages_ms",
    "peak_memory_mib",
    "gflop",
    "tflops",
}


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as it is meant to be run: the package is not installed."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)


def test_a_row_for_each_engine(tmp_path: Path) -> None:
    weights, file = write_untrained(tmp_path), tmp_path / "result.json"
    choice = (
        "--method activesam --preset exact,fast --active 5 --frames 1 --size 96x64 --device cpu"
    )
    ran = benchmarks("--weights", str(weights), *choice.split(), "--json", str(file))
    assert ran.returncode == 0, ran.stderr
    assert "plain" in ran.stdout
    result = json.loads(file.read_text())
    assert set(result) == {"machine", "rows"}
    assert result["machine"]["matrix_tflops"] > 0
    ours, fast, plain = result["rows"]
    assert [(row["engine"], row["preset"]) for row in result["rows"]] == [
        ("ours", "exact"),
        ("ours", "fast"),
        ("plain", "exact"),
    ]
    for row in (ours, fast, plain):
        assert set(row) == COLUMNS
        assert (row["queries"], row["active"]) == (23, 5)
        assert set(row["latency_ms"]) == {"p50", "p95"}
        assert {"preview_encode", "preview", "encode", "decode", "fuse"} <= set(row["stages_ms"])
        assert row["frames_per_second"] == pytest.approx(1e3 / row["latency_ms"]["p50"])
        assert row["peak_memory_mib"] > 0
    # What exact algebra saves is counted here, not timed.
    assert ours["gflop"] < plain["gflop"]
    assert ours["tflops"] == pytest.approx(ours["gflop"] / ours["latency_ms"]["p50"])


def test_time_alone(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    choice = (
        "--engine ours,asking,early_exit --method full --frames 1 --warm-up 0 --only-time "
        "--size 96x64"
    )
    arguments = ["--weights", str(write_untrained(tmp_path)), *choice.split(), "--device", "cpu"]
    ran = benchmarks(*arguments, "--json", str(file))
    assert ran.returncode == 0, ran.stderr
    rows = json.loads(file.read_text())["rows"]
    assert [row["engine"] for row in rows] == ["ours", "early_exit"]
    for row in rows:
        assert (row["peak_memory_mib"], row["tflops"]) == (None, None)
        assert row["gflop"] is None
        assert min(row["frames_per_second"], row["processor_ms"]) > 0
    assert "--engine asking is deprecated; give early_exit" in ran.stderr
    assert " - " in ran.stdout


def test_vocabularies_of_several_sizes_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = BenchmarkOptions(
        engines=("ours",),
        methods=(Method.ACTIVESAM2, Method.FULL),
        device="cpu",
        weights=str(write_untrained(tmp_path)),
        vocabularies=("cityscapes", "30"),
        frames=2,
        width=96,
        height=64,
        only_time=True,
        assignments=("tau=1",),
    )
    rows = measure(options, network(options, tmp_path), tmp_path)
    found = [(row.vocabulary, row.method, row.queries, row.admitted, row.active) for row in rows]
    assert found == [
        ("cityscapes", "activesam2", 23, 1, 1),  # with tau 1 only the best query is admitted
        ("cityscapes", "full", 23, 23, 23),
        ("30", "activesam2", 34, 1, 1),
        ("30", "full", 34, 34, 34),
    ]


def test_settings_act_on_our_engine(tmp_path: Path) -> None:
    weights, operations = str(write_untrained(tmp_path)), []
    for assignments in ((), ("streaming=true",)):
        options = BenchmarkOptions(
            engines=("ours",),
            methods=(Method.ACTIVESAM,),
            device="cpu",
            weights=weights,
            active=5,
            width=96,
            height=64,
            assignments=assignments,
        )
        (choice,) = choices(options)
        run, _ = engine(choice, options, network(options, tmp_path))
        first, second = images(options, 2)
        run(first)
        with FlopCounterMode(display=False) as counter:
            run(second)
        operations.append(counter.get_total_flops())
    # A stream looks at a slice of the vocabulary only.
    assert operations[1] < operations[0]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--preset", "faster"),
        ("--engine", "theirs"),
        ("--frames", "0"),
        ("--warm-up", "-1"),
        ("--set", "fusion_density=7"),
        ("--set", "preset=fast"),
    ],
)
def test_refuses_in_one_sentence(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag, value]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("benchmarks: ")
    assert value.rpartition("=")[2] in line


def test_the_reference_wants_its_packages() -> None:
    if importlib.util.find_spec("sam3") is not None:
        pytest.skip("the reference is installed")
    ran = benchmarks("--engine", "ours,reference")
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert "pip install '.[reference]'" in line


def test_the_plain_engine_has_no_fast_preset() -> None:
    ran = benchmarks("--engine", "plain", "--preset", "fast")
    assert ran.returncode == 2
    assert "--preset fast needs one of the engines ours and early_exit" in ran.stderr


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (camera_batch.main, [f"--weights={GOLDEN / 'model.pt'}", "--set=streaming=true"], "stream"),
        (camera_batch.main, ["--weights=nowhere.pt"], "nowhere.pt"),
        (sparse.main, ["--weights=nowhere.pt", "--output=out"], "nowhere.pt"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    command: Callable[[list[str]], int],
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("road\nsky\n")
    vocabulary = [] if command is sparse.main else [f"--vocabulary={names}"]
    assert command([*arguments, *vocabulary, "--device=cpu"]) == 2
    written = capsys.readouterr().err
    assert written.startswith("benchmarks")
    assert len(written.strip().splitlines()) == 1
    assert message in written


def test_a_measuring_process_that_dies_is_an_error_and_no_hang() -> None:
    assert in_new_process(abs, -3) == 3
    with pytest.raises(ExecutorError, match="ended early"):
        in_new_process(os._exit, 3)
