"""The options that choose an executor: this process, local processes or a Ray cluster."""

from __future__ import annotations

import argparse

from activesam_ros.errors import UsageError
from activesam_ros.execution.executors import Executor, InProcess

LOCAL = "local"
RAY = "ray"
DEFAULT_RESTARTS = 3
DEFAULT_ADDRESS = "auto"


def add_executor_arguments(parser: argparse.ArgumentParser) -> None:
    """--executor, --workers, --threads, --worker-restarts and --address."""
    parser.add_argument(
        "--executor",
        choices=(LOCAL, RAY),
        help="divide the images among processes on this computer or on a Ray cluster, each with "
        "its own network (default: one network in this process)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="number of processes (default: one per GPU; without GPUs two on this computer, or one "
        "per machine of the cluster; one with streaming=true)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of each network; results are bit-identical for the same number (default: "
        "all threads in one process, divided among several)",
    )
    parser.add_argument(
        "--worker-restarts",
        type=int,
        default=DEFAULT_RESTARTS,
        metavar="N",
        help="how many lost workers are replaced, in all (default: %(default)s)",
    )
    parser.add_argument(
        "--address",
        default=DEFAULT_ADDRESS,
        metavar="A",
        help="address of the Ray cluster: HOST:PORT or ray://HOST:PORT, or local to start one that "
        "only this computer reaches (default: %(default)s, the one that runs here)",
    )


def executor_from(args: argparse.Namespace) -> Executor:
    """The executor that the options choose; raises UsageError."""
    for flag, value, least in (
        ("--workers", args.workers, 1),
        ("--threads", args.threads, 1),
        ("--worker-restarts", args.worker_restarts, 0),
    ):
        if value is not None and value < least:
            raise UsageError(f"{flag} {value} must be {least} or more.")
    if args.executor is None:
        if args.workers is not None:
            raise UsageError(f"--workers {args.workers} needs --executor {LOCAL} or {RAY}.")
        return InProcess()
    if args.executor == RAY:
        from activesam_ros.execution.ray_cluster import RayExecutor

        return RayExecutor(args.address, args.workers, args.worker_restarts)
    from activesam_ros.execution.local_processes import LocalExecutor

    return LocalExecutor(args.workers, args.worker_restarts)
