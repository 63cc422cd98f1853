"""Compare the outputs of this package's network with those of Meta's, on your weights and images.

Needs the extra [reference] and a CUDA device. Both networks run in float32 on the same pixels. The
table shows each output's largest difference, relative to its largest value. Exits with 1 if one
exceeds the tolerance.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from activesam_ros.commands.options.network import (
    add_device_argument,
    add_weights_arguments,
    weights_from,
)
from activesam_ros.demo.drive.options import DriveOptions
from activesam_ros.demo.drive.sequence import Drive
from activesam_ros.errors import UsageError
from activesam_ros.evaluation.scoring.results import text_table
from activesam_ros.image_files import read_image
from activesam_ros.pipeline import read_config, resolve_device
from activesam_ros.progress import working
from activesam_ros.reference import ReferenceModel, ReferenceOutputs, require_cuda, require_packages
from activesam_ros.sam3.checkpoint import load_image_model, load_text_encoder
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import Prompts, Sam3ImageModel
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.pixels import network_pixels, upload

OUTPUTS = tuple(entry.name for entry in dataclasses.fields(ReferenceOutputs))
DEFAULT_PROMPTS = "road,car,person,tree"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam verify``."""
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="default: a synthetic street scene"
    )
    add_weights_arguments(parser)
    parser.add_argument(
        "--prompts",
        default=DEFAULT_PROMPTS,
        metavar="NAME[,NAME]...",
        help="default: %(default)s",
    )
    add_device_argument(parser)
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-2,
        metavar="SHARE",
        help="largest relative difference that passes (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the table; return 1 if a difference exceeds the tolerance, else 0."""
    prompts = [name.strip() for name in args.prompts.split(",") if name.strip()]
    if not prompts or not args.tolerance > 0:
        raise UsageError("Give at least one prompt and a tolerance above 0.")
    device = resolve_device(args.device)
    require_packages()
    require_cuda(device)
    weights = weights_from(args)
    config = read_config(weights, args.config)
    with working(f"loading {weights}"):
        reference = ReferenceModel(weights, config, device)
        ours = load_image_model(weights, config, device, torch.float32)
        features = encode_prompts(weights, config, prompts, device)
    rows = []
    for name, pixels in _inputs(args.images, config, device):
        with working(f"comparing {name}"):
            differences = compare(ours, features, reference(pixels, prompts), pixels)
        rows.append((name, differences))
    return report(rows, args.tolerance)


def encode_prompts(
    weights: Path, config: Sam3Config, prompts: Sequence[str], device: torch.device
) -> Prompts:
    """The text features of the prompts as they are written, by our text encoder."""
    encoder = load_text_encoder(weights, config, device, torch.float32)
    ids = torch.from_numpy(Tokenizer(config.context_length).encode(prompts)).to(device)
    with torch.inference_mode():
        return Prompts(encoder(ids), ids == 0)


@torch.inference_mode()
def compare(
    model: Sam3ImageModel, prompts: Prompts, expected: ReferenceOutputs, pixels: Tensor
) -> dict[str, float]:
    """The relative difference of each of :data:`OUTPUTS` from ``expected``."""
    detections = model.detect(model.encode_image(pixels), prompts)
    masks = [detections.masks(0, index, slice(None)) for index in range(len(prompts))]
    ours = ReferenceOutputs(
        presence_logits=detections.presence_logits[0],
        logits=detections.logits[0],
        boxes=detections.boxes[0],
        masks=torch.stack(masks),
        semantic=detections.semantic[0],
    )
    return {
        name: relative_difference(getattr(ours, name), getattr(expected, name)) for name in OUTPUTS
    }


def relative_difference(value: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest value of ``expected``; NaN where either has one."""
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return float((value - expected).abs().max() / scale)


def report(rows: Sequence[tuple[str, dict[str, float]]], tolerance: float) -> int:
    """Print one line for each image, and the verdict; return 0 if all pass, else 1."""
    lines: list[tuple[str, ...]] = [("image", *OUTPUTS)]
    lines += [(name, *(f"{differences[key]:.1e}" for key in OUTPUTS)) for name, differences in rows]
    print(text_table(lines))
    # torch's max() is NaN if a value is; Python's max() may skip it.
    worst = float(torch.tensor([[row[key] for key in OUTPUTS] for _, row in rows]).double().max())
    passed = worst <= tolerance
    verdict = "equal within" if passed else "DIFFERENT: above"
    print(f"{verdict} the tolerance {tolerance:g}; the largest relative difference is {worst:.1e}")
    return 0 if passed else 1


def _inputs(
    images: Sequence[Path], config: Sam3Config, device: torch.device
) -> list[tuple[str, Tensor]]:
    pictures = [(str(path), read_image(path)) for path in images]
    if not pictures:
        drive = Drive(DriveOptions(seed=0, frames=1, width=1280, height=720))
        pictures = [("synthetic street", drive.frame(0).images[0])]
    transfer = Transfer(device)
    return [
        (name, network_pixels(upload(picture, transfer), config.resolution, torch.float32))
        for name, picture in pictures
    ]
