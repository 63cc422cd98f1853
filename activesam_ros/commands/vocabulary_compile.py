"""Compile a vocabulary for some weights into the cache on disk, so that a node starts at once."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from activesam_ros.commands.options.network import (
    add_method_argument,
    add_vocabulary_arguments,
    method_from,
    settings_from,
    vocabulary_from,
)
from activesam_ros.errors import UsageError
from activesam_ros.pipeline import compile_vocabulary, read_config, resolve_device
from activesam_ros.prompts.cache import cache_path, default_cache_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam vocabulary compile``."""
    add_vocabulary_arguments(parser, positional=True)
    parser.add_argument("--weights", type=Path, required=True, metavar="PATH")
    parser.add_argument("--config", type=Path, metavar="JSON", help="the network's dimensions")
    parser.add_argument("--device", default="auto", metavar="DEVICE")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR")
    add_method_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Fill the cache and say where the table lies."""
    folder = args.cache_dir or default_cache_dir()
    if folder is None:
        raise UsageError("There is no cache folder to fill; give --cache-dir DIR.")
    method = method_from(args)
    begin_s = time.perf_counter()
    compiled = compile_vocabulary(
        vocabulary_from(args),
        settings_from(args, method),
        method,
        args.weights,
        read_config(args.weights, args.config),
        folder,
        resolve_device(args.device),
    )
    elapsed_s = time.perf_counter() - begin_s
    path = cache_path(folder, compiled.table.fingerprint)
    if not path.is_file():
        raise UsageError(f"The table could not be written to {path}; give a writable --cache-dir.")
    how = "was already there" if compiled.cache_hit else f"compiled in {elapsed_s:.1f} s"
    print(f"{len(compiled.table.vocabulary.queries)} queries: {path} {how}")
    return 0
