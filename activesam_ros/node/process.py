"""A node as a process: start, spin, and a clean end on Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING

import rclpy
from rclpy.executors import MultiThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from activesam_ros import __version__
from activesam_ros.allocator import keep_freed_memory
from activesam_ros.errors import ActiveSamError

if TYPE_CHECKING:
    from activesam_ros.node.segment_node import SegmentNode

EXIT_BAD_INPUT = 2
# Images, camera_info, timers and a service that compiles must not wait for each other.
EXECUTOR_THREADS = 4
# A clean end waits for the frame in work; this many signals do not.
IMPATIENT_SIGNALS = 4
# Nothing but work, not even Executor.wake(), ends a spin without a time limit.
SPIN_TIMEOUT_S = 0.1
# Requests that came while the frame in work was awaited are refused within this time.
REFUSAL_S = 0.3


def run_node(make: Callable[[], SegmentNode], arguments: Sequence[str] | None) -> int:
    """Run the node until SIGINT or SIGTERM; returns 0, or 2 for bad arguments or parameters."""
    keep_freed_memory()
    command_line = list(sys.argv if arguments is None else [sys.argv[0], *arguments])
    try:
        _parser().parse_args(remove_ros_args(command_line)[1:])
        rclpy.init(args=command_line, signal_handler_options=SignalHandlerOptions.NO)
    except (RuntimeError, ValueError) as error:  # rclpy has no narrower one for bad arguments
        return _refuse(str(error))
    try:
        return _run(make)
    finally:
        rclpy.try_shutdown()


def _run(make: Callable[[], SegmentNode]) -> int:
    stop = _Stop()
    try:
        node = make()
    except ActiveSamError as error:
        return _refuse(str(error))
    spinner = _Spinner(node)
    spinner.start()
    try:
        stop.wait()
        node.get_logger().info("Shutting down when the frame in work is done.")
        node.request_shutdown().wait()
        time.sleep(REFUSAL_S)
    finally:
        spinner.stop()
    node.destroy_node()
    return 0


class _Stop:
    """SIGINT and SIGTERM: the first asks for a clean end, launch and shells may repeat it."""

    def __init__(self) -> None:
        # Of all that a thread can wait for, this may be used in a signal handler.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._count = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def wait(self) -> None:
        self._signals.get()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._signals.put(number)
        self._count += 1
        if self._count == IMPATIENT_SIGNALS:
            os._exit(128 + number)


class _Spinner:
    """Spins a node in a thread, so that the main thread is free for signals."""

    def __init__(self, node: SegmentNode) -> None:
        self._node = node
        self._executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS)
        self._executor.add_node(node)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="spinner")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        # Not Executor.shutdown(): it takes away what callbacks that are just ending still use.
        self._ended.set()
        self._thread.join()

    def _spin(self) -> None:
        while not self._ended.is_set() and rclpy.ok():
            try:
                self._executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - rclpy lets any callback end the executor
                # A transition that is not possible now comes as a RuntimeError.
                expected = isinstance(error, RuntimeError)
                details = str(error) if expected else "".join(traceback.format_exception(error))
                self._node.get_logger().error(f"A request could not be served: {details.rstrip()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="segment_node",
        description="ROS 2 node that segments the images of a camera by an open vocabulary.",
        epilog="Parameters and remappings follow --ros-args, for example: segment_node --ros-args "
        "-p weights:=sam3.pt -p vocabulary:=driving -r image:=/camera/image_raw",
    )
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _refuse(reason: str) -> int:
    print(f"segment_node: {' '.join(reason.split())}", file=sys.stderr)
    return EXIT_BAD_INPUT
