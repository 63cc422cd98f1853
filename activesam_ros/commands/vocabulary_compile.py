"""Compile a vocabulary into the cache on disk, so that a node starts without compiling it.

The prompts depend on the vocabulary, the method, the settings neighbor_tokens and hypernym_tokens,
and the weights of the text encoder.
"""

from __future__ import annotations

import argparse
import time

from activesam_ros.commands.options.network import (
    add_cache_argument,
    add_device_argument,
    add_method_argument,
    add_vocabulary_arguments,
    add_weights_arguments,
    method_from,
    settings_from,
    vocabulary_from,
    weights_from,
)
from activesam_ros.console import answer
from activesam_ros.errors import UsageError
from activesam_ros.output_files import check_output_folder
from activesam_ros.pipeline import compile_vocabulary, read_config, resolve_device
from activesam_ros.progress import working
from activesam_ros.prompts.cache import cache_path, default_cache_dir
from activesam_ros.prompts.cache_folder import why_untrusted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam vocabulary compile``."""
    add_vocabulary_arguments(parser, positional=True)
    add_weights_arguments(parser)
    add_device_argument(parser)
    add_cache_argument(parser)
    add_method_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Compile the prompts and print where their file is."""
    folder = args.cache_dir or default_cache_dir()
    if folder is None:
        raise UsageError("There is no cache folder, as the user has no home; give --cache-dir DIR.")
    check_output_folder(folder, "--cache-dir")
    if why := why_untrusted(folder):
        raise UsageError(f"--cache-dir {folder} {why}.")
    method = method_from(args)
    weights = weights_from(args)
    begin_s = time.perf_counter()
    vocabulary = vocabulary_from(args)
    with working(f"compiling the vocabulary {vocabulary.name}"):
        compiled = compile_vocabulary(
            vocabulary,
            settings_from(args, method),
            method,
            weights,
            read_config(weights, args.config),
            folder,
            resolve_device(args.device),
        )
    elapsed_s = time.perf_counter() - begin_s
    path = cache_path(folder, compiled.table.fingerprint)
    if not path.is_file():
        raise UsageError(f"The table could not be written to {path}; give a writable --cache-dir.")
    how = "was already there" if compiled.cache_hit else f"compiled in {elapsed_s:.1f} s"
    answer(f"{len(compiled.table.vocabulary.queries)} queries: {path} {how}")
    return 0
