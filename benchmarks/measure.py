"""Times engines frame by frame in turn, so that other work on the computer affects all alike."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from activesam_ros.allocator import keep_freed_memory
from activesam_ros.demo.drive.options import TEST_SEEDS, DriveOptions
from activesam_ros.demo.drive.sequence import Drive
from activesam_ros.errors import ExecutorError
from activesam_ros.pipeline import Network
from benchmarks.clock import timed_ms
from benchmarks.engines import (
    STREAM_RATE_HZ,
    Engine,
    EngineChoice,
    TimedFrame,
    choices,
    engine,
    network,
    streams_with,
)
from benchmarks.options import OURS, BenchmarkOptions
from training.frames import SECONDS_BETWEEN_FRAMES

T = TypeVar("T")
MEMORY_FRAMES = 2


@dataclass(frozen=True)
class ResultRow:
    """What was measured of one engine with one method, preset and vocabulary.

    admitted, active: queries that the preview lets through and that are decoded, medians.
    processor_ms: median processor time of a frame on a CPU, which other work disturbs less than the
    latency; on a GPU the latency. gflop: operations of matrix products, convolutions and attention
    in a frame, mean, in 10^9; tflops: the same per second, in 10^12. peak_memory_mib: of the
    device, or on a CPU of a process that runs nothing else. The last three are None where only
    time was asked for.
    """

    engine: str
    method: str
    preset: str
    vocabulary: str
    queries: int
    admitted: int
    active: int
    frames_per_second: float
    latency_ms: dict[str, float]
    processor_ms: float
    stages_ms: dict[str, float]
    peak_memory_mib: float | None
    gflop: float | None
    tflops: float | None


def images(options: BenchmarkOptions, count: int) -> list[NDArray[np.uint8]]:
    """Frames of a drive that the demo weights were not trained on: uint8 RGB [H, W, 3] each.

    Where a method streams, they are consecutive frames of a camera.
    """
    streams = any(streams_with(options, method) for method in options.methods)
    drive = Drive(
        DriveOptions(
            seed=TEST_SEEDS[0],
            frames=count,
            width=options.width,
            height=options.height,
            rate_hz=STREAM_RATE_HZ if streams else 1 / SECONDS_BETWEEN_FRAMES,
        )
    )
    return [drive.frame(index).images[0] for index in range(count)]


def measure(options: BenchmarkOptions, loaded: Network, folder: Path) -> list[ResultRow]:
    """A row for every choice of engine, method, preset and vocabulary."""
    engines = {choice: engine(choice, options, loaded) for choice in choices(options)}
    pictures = images(options, options.frames)
    for run, _ in engines.values():
        for index in range(options.warm_up):
            run(pictures[index % len(pictures)])
    timed: dict[EngineChoice, list[TimedFrame]] = {choice: [] for choice in engines}
    processor_ms: dict[EngineChoice, list[float]] = {choice: [] for choice in engines}
    for picture in pictures:
        for choice, (run, _) in engines.items():
            frame, milliseconds = _timed(run, picture, loaded.device)
            timed[choice].append(frame)
            processor_ms[choice].append(milliseconds)
    return [
        _row(
            choice,
            queries=queries,
            frames=timed[choice],
            processor_ms=statistics.median(processor_ms[choice]),
            gflop=None
            if options.only_time
            else _gflop(_counted(options, choice, run, loaded), pictures),
            peak_memory_mib=None
            if options.only_time
            else _peak_memory_mib(options, choice, run, pictures[0], folder, loaded.device),
        )
        for choice, (run, queries) in engines.items()
    ]


def _timed(
    run: Engine, picture: NDArray[np.uint8], device: torch.device
) -> tuple[TimedFrame, float]:
    """What the engine reports of a frame, and its time as clock.timed_ms takes it."""
    frames: list[TimedFrame] = []
    milliseconds = timed_ms(lambda: frames.append(run(picture)), device)
    return frames[0], milliseconds


def _row(
    choice: EngineChoice,
    *,
    queries: int,
    frames: Sequence[TimedFrame],
    processor_ms: float,
    gflop: float | None,
    peak_memory_mib: float | None,
) -> ResultRow:
    totals = [frame.timings_ms["total"] for frame in frames]
    middle, late = (float(value) for value in np.quantile(totals, (0.5, 0.95)))
    stages = {
        stage: statistics.median(frame.timings_ms[stage] for frame in frames)
        for stage in frames[0].timings_ms
        if stage != "total"
    }
    return ResultRow(
        engine=choice.engine,
        method=choice.method.value,
        preset=choice.preset,
        vocabulary=choice.vocabulary,
        queries=queries,
        admitted=round(statistics.median(frame.admitted for frame in frames)),
        active=round(statistics.median(frame.active for frame in frames)),
        frames_per_second=1e3 / middle,
        latency_ms={"p50": middle, "p95": late},
        processor_ms=processor_ms,
        stages_ms=stages,
        peak_memory_mib=peak_memory_mib,
        gflop=gflop,
        tflops=None if gflop is None else gflop / middle,
    )


def _counted(
    options: BenchmarkOptions, choice: EngineChoice, run: Engine, loaded: Network
) -> Engine:
    """The engine without compilation: PyTorch does not count the operations of compiled code."""
    if choice.engine not in OURS:
        return run
    plain = replace(options, assignments=(*options.assignments, "compile=never"))
    return engine(choice, plain, loaded)[0]


def _gflop(run: Engine, pictures: Sequence[NDArray[np.uint8]]) -> float:
    """10^9 operations of a frame, two for each multiply-add, as PyTorch counts them; the mean."""
    with FlopCounterMode(display=False) as counter:
        for picture in pictures:
            run(picture)
    return float(counter.get_total_flops()) / len(pictures) / 1e9


def _peak_memory_mib(
    options: BenchmarkOptions,
    choice: EngineChoice,
    run: Engine,
    picture: NDArray[np.uint8],
    folder: Path,
    device: torch.device,
) -> float:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        run(picture)
        return torch.cuda.max_memory_allocated() / 2**20
    return in_new_process(_process_peak_mib, asdict(options), choice, folder)


def in_new_process(work: Callable[..., T], *arguments: object) -> T:
    """The result of ``work`` in a process that does nothing else.

    Raises ExecutorError if the process ends early, as one does that the system kills for memory.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool as error:
            raise ExecutorError(
                "The process that measures ended early; it may have run out of memory."
            ) from error


def _process_peak_mib(values: dict[str, object], choice: EngineChoice, folder: Path) -> float:
    """The largest resident size of this process, which does nothing else."""
    keep_freed_memory()
    options = BenchmarkOptions(**values)  # type: ignore[arg-type]
    run, _ = engine(choice, options, network(options, folder))
    for picture in images(options, MEMORY_FRAMES):
        run(picture)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
