"""What streets of several types share: parked vehicles, lamps, signs, junctions."""

from __future__ import annotations

import math

import numpy as np

from activesam_ros.demo.world import figures, structures, vehicles
from activesam_ros.demo.world.layout import CITY_FACADES, SIDES, Layout, some_tree, span, stretch
from activesam_ros.demo.world.mesh import Texture, Tint
from activesam_ros.demo.world.route import JunctionType, StreetType

# Share of taken parking bays, and the shares of cars, trucks, buses and motorcycles in them.
_PARKED = {
    StreetType.RESIDENTIAL: (0.42, (0.86, 0.02, 0.0, 0.12)),
    StreetType.DOWNTOWN: (0.50, (0.72, 0.06, 0.05, 0.17)),
    StreetType.INDUSTRIAL: (0.45, (0.40, 0.50, 0.06, 0.04)),
}


def add_parked(layout: Layout, side: float) -> None:
    """Add the vehicles in the parking bays."""
    rng, form = layout.rng, layout.form
    if layout.section.street not in _PARKED:
        return
    share, kinds = _PARKED[layout.section.street]
    start, end = layout.section.body_start + 9.0, layout.section.end - 12.0
    d = side * (form.half_road - 1.12)
    s = start
    while s < end:
        if rng.random() > share:
            s += rng.uniform(4.0, 9.0)
            continue
        kind = int(rng.choice(4, p=kinds))
        yaw = (0.0 if side < 0 else math.pi) + rng.normal(0.0, 0.02)
        if rng.random() < 0.12:
            yaw += math.pi
        length = (5.6, 10.6, 13.0, 3.4)[kind]
        if kind == 3:
            for step in range(int(rng.integers(1, 4))):
                bike = figures.motorcycle(rng)
                tilt = side * (math.pi / 2 + rng.normal(0.0, 0.12))
                layout.place(bike, s + 1.1 * step, d, tilt, layout.next_instance())
        else:
            if kind == 0:
                mesh = vehicles.car(rng, lamps=False)
            else:
                mesh = vehicles.truck(rng) if kind == 1 else vehicles.bus(rng)
            middle = s + length / 2
            layout.place(mesh, middle, d + rng.normal(0.0, 0.06), yaw, layout.next_instance())
        s += length + rng.uniform(0.2, 1.5)


def add_furniture(layout: Layout, side: float) -> None:
    """Add lamps, signs, bollards, bicycle racks and trees along the kerb."""
    rng, form, street = layout.rng, layout.form, layout.section.street
    start, end = layout.section.body_start + 4.0, layout.section.end - 5.0
    kerb = form.half_road + (0.6 if form.sidewalk else 1.1)
    lamps = {StreetType.RURAL: 0.0, StreetType.HIGHWAY: 0.0}.get(street, 1.0)
    spacing = rng.uniform(17.0, 26.0)
    if lamps and (street is StreetType.DOWNTOWN or side > 0 or rng.random() < 0.5):
        height = rng.uniform(5.0, 7.5)
        for s in np.arange(start + rng.uniform(0.0, spacing), end, spacing):
            lamp = structures.street_lamp(rng, side, height, layout.next_instance())
            layout.place(lamp, s, side * kerb)
    signs = {StreetType.DOWNTOWN: 14.0, StreetType.RESIDENTIAL: 20.0}.get(street, 24.0)
    for s in np.arange(start + rng.uniform(2.0, 10.0), end, signs):
        texture = structures.SIGN_TEXTURES[rng.integers(len(structures.SIGN_TEXTURES))]
        sign = structures.traffic_sign(rng, texture, layout.next_instance())
        yaw = (0.0 if side < 0 else math.pi) + rng.normal(0.0, 0.12)
        layout.place(sign, s + rng.uniform(-3.0, 3.0), side * (kerb - 0.1), yaw)
    avenue = (StreetType.DOWNTOWN, StreetType.RESIDENTIAL, StreetType.INDUSTRIAL)
    if street in avenue and rng.random() < 0.6:
        tint, size = structures.leaf_tint(rng), rng.uniform(4.5, 7.5)
        for s in np.arange(start + 3.0, end, rng.uniform(9.0, 15.0)):
            if rng.random() < 0.8:
                tree = structures.tree(rng, size * rng.uniform(0.85, 1.1), tint, False)
                layout.place(tree, s, side * (kerb + 0.3))
    if street in (StreetType.DOWNTOWN, StreetType.RESIDENTIAL, StreetType.RAILWAY):
        _bicycles(layout, side, kerb, start, end)
    if form.sidewalk and rng.random() < 0.4:
        # A railing between road and pavement before the junction.
        for s0, s1 in stretch(end - rng.uniform(8.0, 24.0), end, 6.0):
            layout.place(structures.fence(rng, s1 - s0, 0), s0, side * (form.half_road + 0.3))
    if street is StreetType.DOWNTOWN and rng.random() < 0.6:
        s = rng.uniform(start, max(end - 15.0, start + 1.0))
        count = int(rng.integers(4, 9))
        row = structures.bollards(rng, count, layout.next_instance(count))
        layout.place(row, s, side * (form.half_road + 0.35))


def _bicycles(layout: Layout, side: float, kerb: float, start: float, end: float) -> None:
    rng = layout.rng
    racks = (
        int(rng.integers(1, 4))
        if layout.section.street is StreetType.DOWNTOWN
        else int(rng.integers(0, 3))
    )
    for _ in range(racks):
        s = rng.uniform(start, end - 4.0)
        along = rng.random() < 0.5
        for number in range(int(rng.integers(2, 6))):
            yaw = rng.normal(0.0, 0.1) + (0.0 if along else side * math.pi / 2)
            d = kerb + (0.1 if along else 0.7)
            step = 1.9 if along else 0.65
            bike = figures.motorcycle(rng) if rng.random() < 0.1 else figures.bicycle(rng)
            layout.place(bike, s + step * number, side * d, yaw, layout.next_instance())


def add_median(layout: Layout) -> None:
    """Add the wall and lamps on the median of a motorway, and boards above it."""
    rng = layout.rng
    start, end = span(layout)
    concrete: Tint = (0.58, 0.57, 0.55)
    for s0, s1 in stretch(start, end, 8.0):
        layout.place(structures.wall(rng, s1 - s0, 0.85, Texture.CONCRETE, concrete), s0, 0.0)
    for s in np.arange(start + 10.0, end, 40.0):
        lamp = structures.street_lamp(rng, 1.0, 9.0, layout.next_instance())
        layout.place(lamp, s, 0.0)
    if rng.random() < 0.8:
        width = layout.form.half_road + 1.2
        layout.place(
            structures.gantry(rng, width, layout.next_instance()),
            rng.uniform(start + 20.0, end - 10.0),
            0.0,
        )


def add_background(layout: Layout, side: float) -> None:
    """Add a second row of buildings or trees, so that gaps do not show an empty plain."""
    rng, form, street = layout.rng, layout.form, layout.section.street
    start, end = layout.section.start, layout.section.end
    if street in (StreetType.DOWNTOWN, StreetType.RESIDENTIAL, StreetType.INDUSTRIAL):
        s = start
        while s < end - 8.0:
            width = rng.uniform(14.0, 26.0)
            floors = (
                int(rng.integers(3, 8))
                if street is StreetType.DOWNTOWN
                else int(rng.integers(2, 5))
            )
            facade = CITY_FACADES[rng.integers(len(CITY_FACADES))]
            block = structures.building(
                rng, side, width, 12.0, floors, facade, False, street is StreetType.RESIDENTIAL
            )
            layout.place(block, s, side * (form.half_road + form.front + rng.uniform(28.0, 36.0)))
            s += width + rng.uniform(0.0, 8.0)
    else:
        for s in np.arange(start, end, 6.0):
            layout.place(
                some_tree(rng, 7.0, 13.0),
                s + rng.uniform(-3.0, 3.0),
                side * (form.half_road + rng.uniform(24.0, 38.0)),
            )


def add_junction(layout: Layout) -> None:
    """Add lights, signs, waiting cars and the side street to the junction of the section."""
    rng, section, form = layout.rng, layout.section, layout.form
    if section.junction is JunctionType.NONE or section.index == 0:
        return
    before = layout.route.sections[section.index - 1].form
    edge = max(before.half_road, form.half_road)
    near, far = section.start - 1.0, section.body_start + 0.6
    if section.junction is JunctionType.LEVEL_CROSSING:
        for side in SIDES:
            seed = int(rng.integers(2**31))
            number = layout.next_instance()
            meshes = [
                structures.barrier_light(np.random.default_rng(seed), red, number)
                for red in (True, False)
            ]
            yaw = 0.0 if side < 0 else math.pi
            place = near - 1.5 if side < 0 else far + 1.5
            layout.place_light(meshes[0], meshes[1], place, side * (edge + 0.9), yaw)
        return
    signalled = section.stop_s > 0.0 or rng.random() < 0.5
    for place, side in ((near, -1.0), (far, -1.0), (far, 1.0)):
        if signalled:
            seed, number = int(rng.integers(2**31)), layout.next_instance()
            overhead = bool(place == far and rng.random() < 0.5)
            meshes = [
                structures.traffic_light(np.random.default_rng(seed), side, red, overhead, number)
                for red in (True, False)
            ]
            layout.place_light(meshes[0], meshes[1], place, side * (edge + 0.5))
        elif side < 0:
            sign = structures.traffic_sign(rng, Texture.SIGN_STOP, layout.next_instance())
            layout.place(sign, place, side * (edge + 0.5))
    for side in SIDES:
        # A car that waits in the side street, and the houses along it.
        if rng.random() < 0.6:
            d = side * (edge + rng.uniform(4.0, 8.0))
            lane = section.start + section.junction_length * (0.72 if side > 0 else 0.28)
            car = vehicles.car(rng)
            layout.place(car, lane, d, -side * math.pi / 2, layout.next_instance())
        if section.street in (StreetType.DOWNTOWN, StreetType.RESIDENTIAL, StreetType.INDUSTRIAL):
            for offset in (44.0, 60.0):
                facade = CITY_FACADES[rng.integers(len(CITY_FACADES))]
                block = structures.building(
                    rng, side, 18.0, 10.0, int(rng.integers(2, 5)), facade, False, False
                )
                layout.place(block, section.start - 1.0, side * (edge + offset))
        for place in (section.start + 1.5, section.body_start - 1.5):
            if rng.random() < 0.5:
                sign = structures.traffic_sign(rng, Texture.SIGN_NO_ENTRY, layout.next_instance())
                layout.place(sign, place, side * (edge + 2.0), -side * math.pi / 2)
