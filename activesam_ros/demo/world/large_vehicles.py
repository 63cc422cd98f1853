"""Trucks, buses and trains as meshes: x forward, centred on the ground."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

from activesam_ros.demo.rendering.textures import Cell
from activesam_ros.demo.world.cars import (
    DETAIL_STAGE,
    HUB_STAGE,
    WHEEL_STAGE,
    add_wheel,
    random_paint,
    vehicle_kit,
)
from activesam_ros.demo.world.classes import ClassId
from activesam_ros.demo.world.mesh import Look, Mesh, MeshBuilder, Point, Tint


def _slab(
    build: MeshBuilder,
    x0: float,
    x1: float,
    half: float,
    low: float,
    high: float,
    side: Look,
    end: Look,
    roof: Look,
    wall_uv: tuple[float, float] | None = None,
) -> None:
    """A box from ``x0`` to ``x1``; ``wall_uv`` is the first and last u on the sides."""
    middle = ((x0 + x1) / 2, 0.0, (low + high) / 2)
    for y in (-half, half):
        uv = None
        if wall_uv is not None:
            u0, u1 = wall_uv
            uv = [(u0, 0.0), (u1, 0.0), (u1, 1.0), (u0, 1.0)]
        wall: list[Point] = [(x0, y, high), (x1, y, high), (x1, y, low), (x0, y, low)]
        build.polygon(wall, side, middle, uv=uv)
    for x in (x0, x1):
        cap: list[Point] = [(x, half, high), (x, -half, high), (x, -half, low), (x, half, low)]
        build.polygon(cap, end, middle)
    build.polygon(
        [(x0, half, high), (x0, -half, high), (x1, -half, high), (x1, half, high)], roof, middle
    )


def _end_panel(
    build: MeshBuilder,
    x: float,
    half: float,
    low: float,
    high: float,
    look: Look,
    stage: int = DETAIL_STAGE,
) -> None:
    """A rectangle on a front (x > 0) or rear end."""
    build.polygon(
        [(x, half, high), (x, -half, high), (x, -half, low), (x, half, low)],
        look,
        (x - math.copysign(1.0, x), 0.0, (low + high) / 2),
        stage,
    )


def _end_lamps(
    build: MeshBuilder, x: float, half: float, low: float, height: float, look: Look
) -> None:
    for side in (-1.0, 1.0):
        inner, outer = side * (half - 0.38), side * (half - 0.08)
        build.polygon(
            [(x, inner, low + height), (x, outer, low + height), (x, outer, low), (x, inner, low)],
            look,
            (x - math.copysign(1.0, x), 0.0, low),
            WHEEL_STAGE,
        )


def truck(rng: np.random.Generator) -> Mesh:
    """A lorry: cab and a box, tarpaulin, tank-like or open load, 6 to 10 metres."""
    length = rng.uniform(6.0, 10.0)
    height = rng.uniform(2.9, 3.7)
    half = 1.22
    cab_paint = random_paint(rng)
    kit = vehicle_kit(ClassId.TRUCK, cab_paint)
    pale = rng.uniform(0.55, 0.98)
    hue = rng.uniform(0.75, 1.0, 3) if rng.random() < 0.6 else rng.uniform(0.2, 1.0, 3)
    load_tint = (pale * hue[0], pale * hue[1], pale * hue[2])
    cell = Cell.CARGO_A if rng.random() < 0.5 else Cell.CARGO_B
    load = Look(cell, load_tint, ClassId.TRUCK, tile_m=0.0, slope=-0.12)
    load_end = Look(Cell.METAL, load_tint, ClassId.TRUCK, tile_m=3.0, slope=-0.15)
    open_load = rng.random() < 0.22
    front, rear = length / 2, -length / 2
    cab_rear = front - 2.0
    cab_height = min(height - 0.2, 2.8)
    build = MeshBuilder()
    # the load in pieces, so that things beside a long lorry are sorted rightly
    pieces = max(1, round((cab_rear - rear) / 4.0))
    edges = np.linspace(rear, cab_rear - 0.25, pieces + 1)
    top = 1.55 if open_load else height
    for index, (x0, x1) in enumerate(itertools.pairwise(edges)):
        build.group(((x0 + x1) / 2, 0.0, 1.5), (x1 - x0, 2 * half, top))
        _slab(
            build,
            x0,
            x1,
            half,
            0.95,
            top,
            load,
            load_end,
            load_end,
            (index / pieces, (index + 1) / pieces),
        )
        _slab(build, x0, x1, half - 0.25, 0.45, 0.95, kit.dark, kit.dark, kit.dark)
        if open_load:
            heap = Look(Cell.GRAVEL, (0.42, 0.36, 0.28), ClassId.TRUCK)
            build.rod((x0, 0.0, 1.3), (x1, 0.0, 1.3), 0.95, heap, -1)
    if not open_load:
        build.polygon(
            [
                (rear - 0.01, 0.02, height - 0.1),
                (rear - 0.01, -0.02, height - 0.1),
                (rear - 0.01, -0.02, 1.0),
                (rear - 0.01, 0.02, 1.0),
            ],
            kit.trim,
            (0.0, 0.0, 1.5),
            DETAIL_STAGE,
        )
    _end_panel(build, rear - 0.02, half, 0.62, 0.95, kit.trim)
    _end_lamps(build, rear - 0.03, half, 0.68, 0.2, kit.tail)
    _end_panel(build, rear - 0.03, 0.3, 0.70, 0.84, kit.plate, WHEEL_STAGE)
    for x in (rear + 1.0, rear + 2.0):
        for side in (-1.0, 1.0):
            add_wheel(build, kit, x, side * (half - 0.02), 0.48)
    build.group((front - 1.0, 0.0, 1.4), (2.0, 2 * half, cab_height))
    _slab(build, cab_rear, front, half, 0.5, cab_height, kit.paint, kit.paint, kit.paint)
    _end_panel(build, front + 0.01, half - 0.12, 1.55, cab_height - 0.35, kit.glass)
    _end_panel(build, front + 0.01, half - 0.35, 0.75, 1.35, kit.dark)
    _end_panel(build, front + 0.02, 0.28, 0.55, 0.68, kit.plate, WHEEL_STAGE)
    _end_lamps(build, front + 0.02, half, 0.62, 0.24, kit.head)
    for side in (-1.0, 1.0):
        y = side * (half + 0.01)
        build.polygon(
            [
                (cab_rear + 0.7, y, cab_height - 0.4),
                (front - 0.25, y, cab_height - 0.4),
                (front - 0.1, y, 1.5),
                (cab_rear + 0.7, y, 1.5),
            ],
            kit.glass,
            (front - 1.0, 0.0, 1.5),
            DETAIL_STAGE,
        )
        add_wheel(build, kit, front - 0.95, side * (half + 0.01), 0.48)
        build.rod(
            (front + 0.1, side * (half + 0.15), 2.2),
            (front + 0.1, side * (half + 0.15), 1.6),
            0.1,
            kit.dark,
            HUB_STAGE,
        )
    return build.mesh()


def bus(rng: np.random.Generator) -> Mesh:
    """A city bus or coach of 11 to 12.5 metres."""
    length, height, half = rng.uniform(11.0, 12.5), rng.uniform(3.0, 3.4), 1.26
    hue = rng.uniform(0.15, 1.0, 3)
    paint = (0.9 * hue[0], 0.9 * hue[1], 0.9 * hue[2])
    kit = vehicle_kit(ClassId.BUS, paint)
    side = Look(Cell.BUS_SIDE, paint, ClassId.BUS, tile_m=0.0)
    front, rear = length / 2, -length / 2
    build = MeshBuilder()
    edges = np.linspace(rear, front, 4)
    for index, (x0, x1) in enumerate(itertools.pairwise(edges)):
        build.group(((x0 + x1) / 2, 0.0, 1.6), (x1 - x0, 2 * half, height))
        shift = index * 0.66
        _slab(build, x0, x1, half, 0.32, height, side, kit.paint, kit.paint, (shift, shift + 0.66))
        wheel_x = {0: x0 + 2.6, 2: x1 - 2.4}.get(index)
        if wheel_x is not None:
            for y in (-half - 0.01, half + 0.01):
                add_wheel(build, kit, wheel_x, y, 0.5)
        if index == 0:
            _end_panel(build, rear - 0.01, half - 0.15, 1.75, height - 0.35, kit.glass)
            _end_panel(build, rear - 0.01, half - 0.3, 0.6, 1.2, kit.trim)
            _end_lamps(build, rear - 0.02, half, 1.0, 0.4, kit.tail)
            _end_panel(build, rear - 0.02, 0.3, 0.62, 0.76, kit.plate, WHEEL_STAGE)
        if index == 2:
            board = Look(Cell.SIGN_BOARD, (0.95, 0.7, 0.15), ClassId.BUS, 0.0, glow=0.8)
            _end_panel(build, front + 0.01, half - 0.08, 1.0, height - 0.5, kit.glass)
            _end_panel(build, front + 0.02, half - 0.3, height - 0.42, height - 0.12, kit.dark)
            _end_panel(
                build, front + 0.03, half - 0.45, height - 0.40, height - 0.15, board, WHEEL_STAGE
            )
            _end_lamps(build, front + 0.02, half, 0.6, 0.22, kit.head)
            _end_panel(build, front + 0.02, 0.3, 0.42, 0.55, kit.plate, WHEEL_STAGE)
    return build.mesh()


def carriage(rng: np.random.Generator, leading: bool, paint: Tint) -> Mesh:
    """One carriage of a train or tram, 15 metres; the ``leading`` one has a driver's cab."""
    length, height, half = 15.0, 3.6, 1.35
    kit = vehicle_kit(ClassId.TRAIN, paint)
    side = Look(Cell.TRAIN_SIDE, paint, ClassId.TRAIN, tile_m=0.0)
    front, rear = length / 2, -length / 2
    build = MeshBuilder()
    edges = np.linspace(rear, front, 4)
    for index, (x0, x1) in enumerate(itertools.pairwise(edges)):
        build.group(((x0 + x1) / 2, 0.0, 1.8), (x1 - x0, 2 * half, height))
        _slab(
            build,
            x0,
            x1,
            half,
            0.55,
            height,
            side,
            kit.paint,
            kit.trim,
            (index * 0.75, index * 0.75 + 0.75),
        )
        _slab(build, x0, x1, half - 0.3, 0.12, 0.55, kit.dark, kit.dark, kit.dark)
        build.polygon(
            [
                (x0, half - 0.2, height + 0.3),
                (x1, half - 0.2, height + 0.3),
                (x1, half - 0.2, height),
                (x0, half - 0.2, height),
            ],
            dataclasses.replace(kit.trim, two_sided=True),
            stage=DETAIL_STAGE,
        )
    if leading:
        _end_panel(build, front + 0.01, half - 0.15, 1.75, height - 0.4, kit.glass)
        _end_panel(build, front + 0.01, half - 0.05, 0.6, 1.15, kit.trim)
        _end_lamps(build, front + 0.02, half, 1.2, 0.25, kit.head)
        build.rod((2.0, 0.0, height), (1.0, 0.0, height + 1.1), 0.04, kit.trim, DETAIL_STAGE)
        build.rod((1.0, -0.7, height + 1.1), (1.0, 0.7, height + 1.1), 0.04, kit.trim, DETAIL_STAGE)
    return build.mesh()
