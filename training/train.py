"""Train the demo weights from scratch on frames of the demo world, and export them.

The recipe is ``python -m training --output RUN --device cuda``, or the same without ``--device`` on
a CPU. The same command resumes an interrupted run.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from activesam_ros.errors import MissingDependencyError, OutputError, UsageError
from activesam_ros.output_files import check_output_folder
from activesam_ros.sam3.config import Sam3Config
from training.curve import draw_curve
from training.export import CONFIG_NAME, WEIGHTS_NAME, export
from training.frames import load_frames, render_shards
from training.options import DEMO_CONFIG, BatchOptions, TrainingOptions
from training.prompts import TrainingPrompts
from training.run import CHECKPOINT_NAME, CURVE_NAME, Pace, TrainingRun

PROMPTS_NAME = "prompts.npz"


@dataclass(frozen=True)
class TrainingRecipe:
    """How many drives to render, which network to train and how long."""

    drives: int
    options: TrainingOptions
    frames_per_drive: int = 8
    config: Sam3Config = DEMO_CONFIG


CPU_RECIPE = TrainingRecipe(
    drives=1000,
    options=TrainingOptions(
        steps=11400,
        encoder_share=0.65,
        encoder_batch=BatchOptions(images=8, full_resolution_share=0.15),
        batch=BatchOptions(prompts=10, present_prompts=6, full_resolution_share=0.2),
    ),
)
CUDA_RECIPE = TrainingRecipe(
    drives=2500,
    options=TrainingOptions(
        steps=14000,
        encoder_share=0.4,
        warmup_steps=500,
        average_decay=0.9995,
        encoder_batch=BatchOptions(images=32, full_resolution_share=0.5),
        batch=BatchOptions(images=24, prompts=16, present_prompts=9),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m training``."""
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for checkpoint, curve and exported weights; an earlier run in it is resumed",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="rendered frames and the prompt table, made if missing (default: OUTPUT/data)",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="length of the schedule (default: the device's)"
    )
    parser.add_argument(
        "--drives", type=int, metavar="N", help="drives to render (default: the device's)"
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="WEIGHTS",
        help="exported weights to begin with; the image encoder learns at half its rate "
        "(default: random weights)",
    )
    parser.add_argument(
        "--pause-at", type=int, metavar="STEP", help="stop at this step; the same command resumes"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that render frames and make batches (default: one per core)",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--prepare-only", action="store_true", help="fill --data, train nothing")
    only.add_argument("--export-only", action="store_true", help="export OUTPUT's checkpoint")


def run(args: argparse.Namespace) -> int:
    """Prepare, train and export; raises UsageError for an option that is out of range."""
    for name in ("steps", "drives", "pause_at", "workers"):
        value = getattr(args, name)
        if value is not None and value < 1:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} {value} is too small; give 1 or more.")
    check_output_folder(args.output)
    if args.data is not None:
        check_output_folder(args.data, "--data")
    checkpoint = args.output / CHECKPOINT_NAME
    if not checkpoint.exists():
        _refuse_other_weights(args.output)
    if not args.export_only:
        device = training_device(args.device)
        recipe = recipe_from(args, CUDA_RECIPE if device.type == "cuda" else CPU_RECIPE)
        data = args.data or args.output / "data"
        pace = Pace(workers=args.workers, pause_at=args.pause_at)
        if not args.prepare_only:
            train(recipe, args.output, data, device, pace, args.start)
        else:
            paths, prompts = prepare(recipe, data, args.workers)
            print(f"{data}: {len(paths)} drives, {len(prompts)} prompts")
            return 0
    weights = export(checkpoint, args.output)
    print(f"{weights}: {weights.stat().st_size / 1e6:.1f} MB")
    curve = args.output / CURVE_NAME
    if curve.is_file():
        draw_curve(curve, curve.with_suffix(".png"))
    return 0


def _refuse_other_weights(folder: Path) -> None:
    """Raise OutputError if the folder has weights that no training in it exported."""
    for name in (WEIGHTS_NAME, CONFIG_NAME):
        if (folder / name).exists():
            raise OutputError(
                f"--output {folder} has {name} but no {CHECKPOINT_NAME}: the export would replace "
                "what no training here made. Give another folder."
            )


def training_device(name: str) -> torch.device:
    """The device; raises MissingDependencyError for cuda without a GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise MissingDependencyError(
            f"PyTorch {torch.__version__} sees no CUDA device; give --device cpu, or install the "
            "driver and a CUDA build of PyTorch."
        )
    return torch.device(name)


def recipe_from(args: argparse.Namespace, recipe: TrainingRecipe) -> TrainingRecipe:
    """``recipe`` with the changes that the arguments ask for."""
    options = dataclasses.replace(
        recipe.options, seed=args.seed, steps=args.steps or recipe.options.steps
    )
    if args.start is not None:
        options = dataclasses.replace(options, encoder_rate=options.encoder_rate / 2)
    return dataclasses.replace(recipe, drives=args.drives or recipe.drives, options=options)


def prepare(
    recipe: TrainingRecipe, data: Path, workers: int
) -> tuple[tuple[Path, ...], TrainingPrompts]:
    """The files of frames and the prompts in ``data``; makes those that are missing."""
    prompts = data / PROMPTS_NAME
    if not prompts.is_file():
        # Imported here, because prepared data needs neither YAML nor the tokenizer's packages.
        from training.tokens import training_prompts

        training_prompts(recipe.config.context_length).save(prompts)
    paths = render_shards(data, recipe.config, recipe.drives, recipe.frames_per_drive, workers)
    return paths, TrainingPrompts.load(prompts)


def train(
    recipe: TrainingRecipe,
    output: Path,
    data: Path,
    device: torch.device,
    pace: Pace,
    start: Path | None = None,
) -> None:
    """Resume the run in ``output`` or begin it with ``start``; train to its end or the pause."""
    paths, prompts = prepare(recipe, data, max(pace.workers, 1))
    training = TrainingRun(output, recipe.config, recipe.options, device, start)
    training.train(load_frames(paths, recipe.config), prompts, pace)
