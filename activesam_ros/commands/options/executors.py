"""The options that say how the work of an evaluation is done."""

from __future__ import annotations

import argparse

import torch

from activesam_ros.errors import UsageError
from activesam_ros.evaluation.execution.executors import Executor, InProcess

LOCAL = "local"
RAY = "ray"
DEFAULT_RESTARTS = 3
DEFAULT_ADDRESS = "auto"


def add_executor_arguments(parser: argparse.ArgumentParser) -> None:
    """--executor, --workers, --threads, --worker-restarts and --address."""
    parser.add_argument(
        "--executor",
        choices=(LOCAL, RAY),
        help="divide the images among processes of this computer or of a Ray cluster, each with a "
        "network of its own (default: one network in this process)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="how many (default: one a GPU; without a GPU two on this computer, and on a cluster "
        "one a machine)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of each network; results are the same bit by bit where this is the same "
        "(default: all in one process, divided among the workers)",
    )
    parser.add_argument(
        "--worker-restarts",
        type=int,
        default=DEFAULT_RESTARTS,
        metavar="N",
        help="how many lost workers are replaced in all (default: %(default)s)",
    )
    parser.add_argument(
        "--address",
        default=DEFAULT_ADDRESS,
        metavar="A",
        help="the Ray cluster's, as HOST:PORT or ray://HOST:PORT (default: %(default)s)",
    )


def executor_from(args: argparse.Namespace) -> Executor:
    """The executor that the options name; raises UsageError."""
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
        from activesam_ros.evaluation.execution.ray_cluster import RayExecutor

        return RayExecutor(args.address, args.workers, args.worker_restarts)
    from activesam_ros.evaluation.execution.local_processes import LocalExecutor

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return LocalExecutor(args.workers or gpus or 2, args.worker_restarts)
