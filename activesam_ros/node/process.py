"""The node as a process: start, spin, and a clean end on SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import rclpy
from rclpy.executors import MultiThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from activesam_ros import __version__
from activesam_ros.allocator import keep_freed_memory
from activesam_ros.errors import ActiveSamError, UsageError, os_reason
from activesam_ros.node.parameters.params_files import files_without_parameters

if TYPE_CHECKING:
    from activesam_ros.node.segment_node import SegmentNode

EXIT_BAD_INPUT = 2
NO_LOG_FILES = "--disable-external-lib-logs"
# So that images, camera_info, timers and a service that compiles do not wait for each other.
EXECUTOR_THREADS = 4
# A clean end waits for the frames being segmented. This many signals end the process at once.
SIGNALS_TO_KILL = 4
# The executor only notices the end between two spins; Executor.wake() does not end a spin.
SPIN_TIMEOUT_S = 0.1
# While waiting for the end: how often to look, and how long callbacks have that need not end.
END_POLL_S = 0.05
GRACE_S = 1.0
# How long frames in work may take after SIGTERM: service managers kill what does not end.
SIGTERM_S = 3.0
# How long requests that came during the shutdown are still refused before the process ends.
REFUSAL_S = 0.3


def run_node(make: Callable[[], SegmentNode], arguments: Sequence[str] | None) -> int:
    """Run the node until SIGINT or SIGTERM; returns 0, or 2 for bad arguments or parameters."""
    keep_freed_memory()
    command_line = list(sys.argv if arguments is None else [sys.argv[0], *arguments])
    try:
        _parser().parse_args(remove_ros_args(command_line)[1:])
        if NO_LOG_FILES not in command_line:
            check_log_folder()
        rclpy.init(args=command_line, signal_handler_options=SignalHandlerOptions.NO)
    except (UsageError, RuntimeError, ValueError) as error:  # rclpy's for bad arguments
        return _refuse(str(error))
    try:
        return _run(make, command_line)
    finally:
        rclpy.try_shutdown()


def _run(make: Callable[[], SegmentNode], command_line: Sequence[str]) -> int:
    stop = _Stop()
    try:
        node = make()
    except ActiveSamError as error:
        return _refuse(str(error))
    logging.getLogger("activesam_ros").addHandler(_ToRosLog(node.get_logger()))
    for sentence in files_without_parameters(command_line, node.get_fully_qualified_name()):
        node.get_logger().warning(sentence)
    spinner = _Spinner(node)
    spinner.start()
    try:
        stop.wait()
        node.get_logger().info("Shutting down when the frames being segmented are done.")
        ended = _await_end(node, stop)
        time.sleep(REFUSAL_S)
    finally:
        spinner.stop()
    node.destroy_node()
    if not ended:
        _leave()
    return 0


class _ToRosLog(logging.Handler):
    """Gives what the package says on Python's log to the node's, which other computers see."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # rclpy wants another line for each severity.
        if record.levelno >= logging.ERROR:
            self._logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


def _await_end(node: SegmentNode, stop: _Stop) -> bool:
    """Shut the node down; False if one of its callbacks goes on for long and need not end."""
    ended = node.request_shutdown()
    while not ended.wait(END_POLL_S):
        if node.only_prepares or stop.is_urgent:
            return ended.wait(GRACE_S)
        if stop.since_sigterm_s > SIGTERM_S:
            node.get_logger().warning(
                f"A frame or a change of parameters takes longer than {SIGTERM_S:g} s; it is given "
                "up, as SIGTERM asks for an end soon."
            )
            return False
    return True


def _leave() -> NoReturn:
    """End the process while a thread still loads, compiles or segments."""
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def check_log_folder() -> None:
    """Raise UsageError unless ROS can write its log files; its own refusal has many lines."""
    home = os.environ.get("ROS_HOME") or "~/.ros"
    folder = os.path.expanduser(os.environ.get("ROS_LOG_DIR") or os.path.join(home, "log"))
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"The log folder {folder} cannot be written ({os_reason(error)}); set ROS_LOG_DIR to "
            f"one that can, or give --ros-args {NO_LOG_FILES}."
        ) from error


class _Stop:
    """Waits for SIGINT or SIGTERM, which launch and shells may send repeatedly."""

    def __init__(self) -> None:
        # Unlike threading's locks and events, SimpleQueue.put is safe in a signal handler.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._count = 0
        self._sigterm_s: float | None = None
        self.is_urgent = False
        """Whether SIGTERM came after another signal, as launch does before it kills."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    @property
    def since_sigterm_s(self) -> float:
        """Time since the first SIGTERM, 0 if there was none."""
        return 0.0 if self._sigterm_s is None else time.monotonic() - self._sigterm_s

    def wait(self) -> None:
        self._signals.get()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._signals.put(number)
        if number == signal.SIGTERM and self._sigterm_s is None:
            self._sigterm_s = time.monotonic()
        self._count += 1
        self.is_urgent |= self._count > 1 and number == signal.SIGTERM
        if self._count == SIGNALS_TO_KILL:
            os._exit(128 + number)


class _Spinner:
    """Spins a node in a thread of its own; the main thread handles signals."""

    def __init__(self, node: SegmentNode) -> None:
        self._node = node
        self._executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS)
        self._executor.add_node(node)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="spinner")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        # Executor.shutdown() would destroy entities that callbacks still use.
        self._ended.set()
        self._thread.join()

    def _spin(self) -> None:
        while not self._ended.is_set() and rclpy.ok():
            try:
                self._executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - a callback's error must not end the spin
                # rclpy raises RuntimeError for requests that it cannot serve.
                expected = isinstance(error, RuntimeError)
                details = str(error) if expected else "".join(traceback.format_exception(error))
                self._node.get_logger().error(f"A request could not be served: {details.rstrip()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="segment_node",
        description="ROS 2 node that segments camera images with an open vocabulary.",
        epilog="Parameters and remappings follow --ros-args, for example: segment_node --ros-args "
        "-p weights:=sam3.pt -p vocabulary:=driving -r image:=/camera/image_raw",
    )
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _refuse(reason: str) -> int:
    print(f"segment_node: {' '.join(reason.split())}", file=sys.stderr)
    return EXIT_BAD_INPUT
