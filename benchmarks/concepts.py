"""How long exclusive concept decoding of an image takes, by the number of classes.

    python -m benchmarks.concepts --size 1920x1080 --classes 8,19,40

Maps are made up at the mask grid of the official network: regions that classes share out, and
objects in them. Prints the shortest of the repeats: processor time of all threads on a CPU, wall
time on a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from activesam_ros.allocator import keep_freed_memory
from activesam_ros.segmentation.exclusive_decoding.bands import decode_concepts
from activesam_ros.segmentation.exclusive_decoding.class_maps import ClassMaps
from activesam_ros.segmentation.exclusive_decoding.decoder import (
    ConceptDecoder,
    ConceptRule,
    DeviceSignatures,
)
from activesam_ros.segmentation.exclusive_decoding.kernel_or_bands import ConceptKernel
from activesam_ros.segmentation.signatures import Signatures
from benchmarks.clock import timed_ms

GRID = 288
OBJECTS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a line for each number of classes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.concepts", description=__doc__)
    parser.add_argument("--classes", default="8,19,40")
    parser.add_argument("--size", default="1920x1080", help="of the image, WIDTHxHEIGHT [px]")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    keep_freed_memory()
    width, height = map(int, args.size.split("x"))
    for classes in map(int, args.classes.split(",")):
        best_ms = measure(classes, (height, width), args.repeats, torch.device(args.device))
        print(f"{classes} classes, {width}x{height}, {args.device}: {best_ms:.0f} ms")
    return 0


@torch.inference_mode()
def measure(classes: int, size: tuple[int, int], repeats: int, device: torch.device) -> float:
    """The shortest time of ``repeats`` images of ``size`` [height, width], in ms."""
    maps = scene(classes, device)
    decoder = ConceptDecoder(
        DeviceSignatures.of(signatures(classes), device),
        torch.arange(classes, device=device),
        torch.full((classes,), 0.9, device=device),
        ConceptRule(0.15, 1.0, 0),
    )
    kernel = ConceptKernel()
    if kernel.fits(device, torch.float32):
        kernel(decoder, maps, size)  # compiles and compares
        return min(timed_ms(lambda: kernel(decoder, maps, size), device) for _ in range(repeats))
    evidence = maps.evidence()
    return min(
        timed_ms(lambda: decode_concepts(decoder, evidence, size), device) for _ in range(repeats)
    )


def scene(classes: int, device: torch.device) -> ClassMaps:
    """A semantic map and OBJECTS maps of objects of each class, float32."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, classes, 9, 9, generator=generator)
    fields = F.interpolate(coarse, size=(GRID, GRID), mode="bicubic")[0]  # [n, GRID, GRID]
    first, second = fields.topk(2, dim=0).values if classes > 1 else (fields[0], -fields[0])
    semantic = 10 * torch.where(fields == first, fields - second, fields - first)
    cells = torch.arange(GRID).float()
    centres = GRID * torch.rand(classes, OBJECTS, 2, 1, generator=generator)
    radius = 10 + 20 * torch.rand(classes, OBJECTS, 1, 1, generator=generator)
    squared = (cells - centres).square()  # [n, OBJECTS, 2, GRID]
    distance = (squared[:, :, 0, :, None] + squared[:, :, 1, None]).sqrt()
    objects = (6 - 6 * distance / radius).clamp(min=-12)  # [n, OBJECTS, GRID, GRID]
    weights = torch.rand(classes, 1 + OBJECTS, generator=generator).mul(0.5).add(0.3)
    weights[:, 0] = 0.9
    maps = torch.cat((semantic[:, None], objects), dim=1).flatten(0, 1)
    places = torch.arange(classes).repeat_interleave(1 + OBJECTS)
    parts = (maps, torch.zeros(len(maps)), weights.flatten(), places)
    return ClassMaps.of(*(part.to(device) for part in parts), classes=classes)


def signatures(classes: int) -> Signatures:
    """Signatures of classes that are told apart easily."""
    random = np.random.default_rng(0)
    matrix = (0.7 * np.eye(classes) + random.uniform(0.01, 0.1, (classes, classes))).astype(
        np.float32
    )
    mass = np.full(classes, 1 / classes, np.float32)
    return Signatures(matrix, matrix * 0.9, np.log(mass), np.ones(classes, np.bool_), 0.05)


if __name__ == "__main__":
    sys.exit(main())
