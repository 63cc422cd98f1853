"""Frames per second, latency, memory and operations of each engine, side by side."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from activesam_ros.allocator import keep_freed_memory
from activesam_ros.errors import ActiveSamError
from activesam_ros.evaluation.scoring.results import text_table
from activesam_ros.output_files import check_output_file, write_whole
from benchmarks.engines import network
from benchmarks.machine import describe
from benchmarks.measure import ResultRow, measure
from benchmarks.options import parse

EXIT_BAD_INPUT = 2
COLUMNS = (
    "engine",
    "method",
    "preset",
    "queries",
    "admitted",
    "active",
    "frames/s",
    "p50 ms",
    "p95 ms",
    "CPU ms",
    "MiB",
    "GFLOP",
    "TFLOP/s",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table and write the JSON file if one is named."""
    try:
        options, file = parse(argv)
        if file is not None:
            check_output_file(file, "--json")
        keep_freed_memory()
        with tempfile.TemporaryDirectory() as folder:
            loaded = network(options, Path(folder))
            machine = describe(loaded.device, loaded.dtype)
            rows = measure(options, loaded, Path(folder))
        print(table(rows))
        print(
            f"\n{machine.processor}, {machine.threads} threads, {machine.matrix_tflops:.3f} TFLOP/s"
        )
        if file is not None:
            result = {"machine": asdict(machine), "rows": [asdict(row) for row in rows]}
            write_whole(file, json.dumps(result, indent=1) + "\n")
    except ActiveSamError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def table(rows: Sequence[ResultRow]) -> str:
    """The rows as a text table."""
    lines = [
        (
            row.engine,
            row.method,
            row.preset,
            str(row.queries),
            str(row.admitted),
            str(row.active),
            f"{row.frames_per_second:.2f}",
            f"{row.latency_ms['p50']:.0f}",
            f"{row.latency_ms['p95']:.0f}",
            f"{row.processor_ms:.0f}",
            "-" if row.peak_memory_mib is None else f"{row.peak_memory_mib:.0f}",
            "-" if row.gflop is None else f"{row.gflop:.1f}",
            "-" if row.tflops is None else f"{row.tflops:.3f}",
        )
        for row in rows
    ]
    return text_table([COLUMNS, *lines])


if __name__ == "__main__":
    sys.exit(main())
