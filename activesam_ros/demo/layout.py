"""What stands in a section of street."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from activesam_ros.demo import figures, structures, vehicles
from activesam_ros.demo.ground import TRACK_D_M
from activesam_ros.demo.mesh import Mesh, Tint, joined
from activesam_ros.demo.route import JunctionType, Route, Section, StreetType
from activesam_ros.demo.textures import Cell

INSTANCES_PER_SECTION = 800
SIDES = (1.0, -1.0)
CITY_CELLS = (Cell.FACADE_BRICK, Cell.FACADE_OFFICE, Cell.FACADE_OLD, Cell.FACADE_GLASS)


@dataclass(frozen=True)
class Placed:
    """Meshes in world coordinates relative to ``origin``; lights as they are red and green."""

    origin: tuple[float, float]
    static: Mesh
    red: Mesh
    green: Mesh


class Layout:
    """Places things of one section at road coordinates."""

    def __init__(self, seed: int, section: Section, route: Route) -> None:
        self.rng = np.random.default_rng([seed, 6, section.index])
        self.section = section
        self.form = section.form
        self.route = route
        x, y, _ = route.pose(section.start)
        self._origin = (float(x), float(y))
        self._placed: list[Mesh] = []
        self._lights: dict[bool, list[Mesh]] = {True: [], False: []}
        self._instance = section.index * INSTANCES_PER_SECTION % 60_000

    def place(self, mesh: Mesh, s: float, d: float, yaw: float = 0.0, instance: int = 0) -> None:
        """``mesh`` with its origin at (s, d), turned by ``yaw`` against the street."""
        self._placed.append(self._moved(mesh, s, d, yaw, instance))

    def place_light(self, red: Mesh, green: Mesh, s: float, d: float, yaw: float = 0.0) -> None:
        """A light that changes."""
        self._lights[True].append(self._moved(red, s, d, yaw, 0))
        self._lights[False].append(self._moved(green, s, d, yaw, 0))

    def _moved(self, mesh: Mesh, s: float, d: float, yaw: float, instance: int) -> Mesh:
        x, y, heading = self.route.world(s, d)
        position = (float(x) - self._origin[0], float(y) - self._origin[1], 0.0)
        return mesh.placed(position, float(heading) + yaw, instance)

    def next_instance(self, count: int = 1) -> int:
        """A number that no other object near has."""
        first = self._instance + 1
        self._instance += count
        return first

    def result(self) -> Placed:
        """Everything placed so far."""
        return Placed(
            self._origin,
            joined(self._placed),
            joined(self._lights[True]),
            joined(self._lights[False]),
        )


def lay_out(seed: int, section: Section, route: Route) -> Placed:
    """Everything that stands in ``section``."""
    layout = Layout(seed, section, route)
    _junction(layout)
    for side in SIDES:
        _FRONTS[section.street](layout, side)
        _parked(layout, side)
        _furniture(layout, side)
        _background(layout, side)
    if section.street is StreetType.HIGHWAY:
        _median(layout)
    return layout.result()


def _span(layout: Layout) -> tuple[float, float]:
    return layout.section.body_start + 1.0, layout.section.end - 1.0


def _row_of_houses(layout: Layout, side: float, setback: float, gap: tuple[float, float]) -> None:
    rng, form = layout.rng, layout.form
    s, end = _span(layout)
    tint = structures.leaf_tint(rng)
    while s < end - 7.0:
        width = min(rng.uniform(8.0, 13.0), end - s)
        cell = Cell.FACADE_HOUSE if rng.random() < 0.7 else Cell.FACADE_BRICK
        house = structures.building(
            rng, side, width, rng.uniform(8.0, 11.0), int(rng.integers(1, 4)), cell, False, True
        )
        layout.place(house, s, side * (form.half_road + setback + rng.uniform(0.0, 1.5)))
        space = rng.uniform(*gap)
        garden = form.half_road + form.sidewalk
        for _ in range(int(rng.integers(0, 3))):
            place = s + rng.uniform(0.0, width + space)
            d = side * (garden + rng.uniform(1.2, max(setback - form.sidewalk - 0.6, 1.4)))
            if rng.random() < 0.55:
                layout.place(structures.bush(rng, rng.uniform(0.7, 1.6), tint), place, d)
            else:
                layout.place(_some_tree(rng, 3.5, 6.5), place, d)
        _border(layout, side, s - 0.5, s + width + space - 0.5, garden + 0.3)
        if rng.random() < 0.6:
            layout.place(
                _some_tree(rng, 6.0, 11.0),
                s + width + space / 2,
                side * (form.half_road + setback + rng.uniform(5.0, 12.0)),
            )
        s += width + space


def _some_tree(rng: np.random.Generator, low: float, high: float) -> Mesh:
    return structures.tree(
        rng, rng.uniform(low, high), structures.leaf_tint(rng), bool(rng.random() < 0.2)
    )


def _border(layout: Layout, side: float, start: float, end: float, d: float) -> None:
    """Hedge, fence, wall or nothing between sidewalk and garden, with a gateway."""
    rng = layout.rng
    kind = rng.random()
    gate = rng.uniform(0.2, 0.7) * (end - start)
    for s0, s1 in ((start, start + gate), (start + gate + 1.6, min(end, layout.section.end - 1))):
        if s1 - s0 < 1.5:
            continue
        for part in _stretch(s0, s1, 8.0):
            if kind < 0.30:
                tint = structures.leaf_tint(rng)
                mesh = structures.hedge(rng, part[1] - part[0], rng.uniform(0.9, 1.8), tint)
            elif kind < 0.62:
                mesh = structures.fence(rng, part[1] - part[0], int(rng.integers(0, 3)))
            elif kind < 0.85:
                mesh = structures.wall(
                    rng, part[1] - part[0], rng.uniform(0.8, 1.7), _wall_cell(rng), _wall_tint(rng)
                )
            else:
                return
            layout.place(mesh, part[0], side * d)


def _wall_cell(rng: np.random.Generator) -> Cell:
    return (Cell.BRICK, Cell.STONE, Cell.PLASTER, Cell.CONCRETE)[rng.integers(4)]


def _wall_tint(rng: np.random.Generator) -> Tint:
    palette: tuple[Tint, ...] = (
        (0.56, 0.55, 0.52), (0.52, 0.34, 0.27), (0.66, 0.60, 0.48), (0.44, 0.44, 0.46),
        (0.74, 0.72, 0.68),
    )  # fmt: skip
    red, green, blue = palette[rng.integers(len(palette))]
    level = rng.uniform(0.85, 1.15)
    return red * level, green * level, blue * level


def _stretch(start: float, end: float, longest: float) -> list[tuple[float, float]]:
    count = max(1, math.ceil((end - start) / longest))
    edges = np.linspace(start, end, count + 1)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _residential(layout: Layout, side: float) -> None:
    _row_of_houses(layout, side, layout.form.sidewalk + 4.5, (3.0, 6.0))


def _downtown(layout: Layout, side: float) -> None:
    rng, form = layout.rng, layout.form
    s, end = _span(layout)
    while s < end - 6.0:
        width = min(rng.uniform(10.0, 20.0), end - s)
        cell = CITY_CELLS[rng.integers(len(CITY_CELLS))]
        block = structures.building(
            rng,
            side,
            width,
            14.0,
            int(rng.integers(2, 6)),
            cell,
            bool(rng.random() < 0.75),
            bool(rng.random() < 0.2),
        )
        layout.place(block, s, side * (form.half_road + form.sidewalk + rng.uniform(0.0, 0.4)))
        s += width
        if rng.random() < 0.18:
            gap = rng.uniform(4.0, 8.0)
            stop = min(s + gap, end)
            wall = structures.wall(
                rng, stop - s, rng.uniform(1.8, 2.6), _wall_cell(rng), _wall_tint(rng)
            )
            layout.place(wall, s, side * (form.half_road + form.sidewalk + 0.5))
            layout.place(
                _some_tree(rng, 6.0, 9.0),
                (s + stop) / 2,
                side * (form.half_road + form.sidewalk + 4.0),
            )
            s = stop


def _highway(layout: Layout, side: float) -> None:
    rng, form = layout.rng, layout.form
    start, end = _span(layout)
    noise_wall = rng.random() < 0.55
    d = form.half_road + (rng.uniform(1.5, 4.0) if noise_wall else rng.uniform(2.5, 5.0))
    cell = (Cell.CONCRETE, Cell.WOOD, Cell.STONE)[rng.integers(3)]
    height, tint = rng.uniform(2.2, 3.4), _wall_tint(rng)
    for s0, s1 in _stretch(start, end, 8.0):
        if noise_wall:
            mesh = structures.wall(rng, s1 - s0, height, cell, tint)
        else:
            mesh = structures.fence(rng, s1 - s0, 3)
        layout.place(mesh, s0, side * d)
    _woods(layout, side, d + 2.5, 16.0, 5.0)


def _woods(layout: Layout, side: float, d: float, depth: float, spacing: float) -> None:
    rng = layout.rng
    start, end = _span(layout)
    for s in np.arange(start, end, spacing):
        place = s + rng.uniform(-2.0, 2.0)
        if rng.random() < 0.75:
            layout.place(_some_tree(rng, 6.0, 12.0), place, side * (d + rng.uniform(0.0, depth)))
        if rng.random() < 0.4:
            bush = structures.bush(rng, rng.uniform(1.0, 2.4), structures.leaf_tint(rng))
            layout.place(bush, place, side * (d + rng.uniform(-1.5, 3.0)))


def _rural(layout: Layout, side: float) -> None:
    rng, form = layout.rng, layout.form
    start, end = _span(layout)
    edge = form.half_road
    if rng.random() < 0.7:
        style = int(rng.choice([0, 1, 3, 4], p=[0.15, 0.2, 0.15, 0.5]))
        d = edge + rng.uniform(1.8, 4.0)
        for s0, s1 in _stretch(start, start + rng.uniform(0.6, 1.0) * (end - start), 8.0):
            layout.place(structures.fence(rng, s1 - s0, style), s0, side * d)
    elif rng.random() < 0.5:
        d, tint = edge + rng.uniform(1.8, 3.5), structures.leaf_tint(rng)
        for s0, s1 in _stretch(start, start + rng.uniform(0.4, 0.9) * (end - start), 8.0):
            layout.place(structures.hedge(rng, s1 - s0, rng.uniform(1.2, 2.2), tint), s0, side * d)
    pole_d = side * (edge + 1.4)
    if side > 0:
        for s in np.arange(start + 4.0, end, 26.0):
            layout.place(structures.utility_pole(rng, layout.next_instance()), s, pole_d)
    if rng.random() < 0.5:
        s = rng.uniform(start + 10.0, end - 20.0)
        cell = Cell.FACADE_HOUSE if rng.random() < 0.6 else Cell.HALL
        barn = structures.building(rng, side, 14.0, 10.0, 2, cell, False, True)
        layout.place(barn, s, side * (edge + rng.uniform(9.0, 15.0)))
    depth = 5.0 if side < 0 else 9.0
    _woods(layout, side, edge + (4.5 if side > 0 else 13.0), depth, 9.0)


def _railway(layout: Layout, side: float) -> None:
    rng, form = layout.rng, layout.form
    start, end = _span(layout)
    if side > 0:
        _row_of_houses(layout, side, form.sidewalk + 4.0, (4.0, 9.0))
        return
    edge = form.half_road + form.sidewalk
    style = int(rng.choice([0, 1, 3]))
    for s0, s1 in _stretch(start + 4.0, end, 8.0):
        layout.place(structures.fence(rng, s1 - s0, style), s0, side * (edge + 0.5))
    behind = TRACK_D_M - 3.2
    kind = rng.random()
    tint, cell, height = _wall_tint(rng), _wall_cell(rng), rng.uniform(1.8, 3.0)
    green = structures.leaf_tint(rng)
    for s0, s1 in _stretch(start + 4.0, end, 8.0):
        if kind < 0.4:
            layout.place(structures.wall(rng, s1 - s0, height, cell, tint), s0, behind)
        elif kind < 0.7:
            layout.place(structures.hedge(rng, s1 - s0, height, green), s0, behind)
    mast = structures.utility_pole
    for s in np.arange(start + 8.0, end, 30.0):
        layout.place(mast(rng, layout.next_instance()), s, TRACK_D_M + 2.8)
    _woods(layout, side, -behind + 2.0, 6.0, 7.0)


def _industrial(layout: Layout, side: float) -> None:
    rng, form = layout.rng, layout.form
    start, end = _span(layout)
    d = form.half_road + form.sidewalk + 0.4
    s = start
    while s < end - 5.0:
        stop = min(s + rng.uniform(14.0, 30.0), end)
        kind = rng.random()
        cell, tint, height = _wall_cell(rng), _wall_tint(rng), rng.uniform(1.7, 2.7)
        style = int(rng.choice([0, 2, 3]))
        for s0, s1 in _stretch(s, stop - 4.0, 8.0):
            if kind < 0.55:
                layout.place(structures.wall(rng, s1 - s0, height, cell, tint), s0, side * d)
            elif kind < 0.92:
                layout.place(structures.fence(rng, s1 - s0, style), s0, side * d)
        hall_cell = Cell.HALL if rng.random() < 0.7 else Cell.FACADE_OFFICE
        hall = structures.building(
            rng, side, stop - s - 2.0, 18.0, int(rng.integers(2, 4)), hall_cell, False, False
        )
        layout.place(hall, s, side * (d + rng.uniform(5.0, 9.0)))
        if rng.random() < 0.5:
            layout.place(_some_tree(rng, 5.0, 8.0), s + 3.0, side * (d + 2.2))
        if rng.random() < 0.5:
            lorry = vehicles.truck(rng)
            layout.place(lorry, stop - 8.0, side * (d + 3.0), 0.1, layout.next_instance())
        s = stop


_FRONTS = {
    StreetType.RESIDENTIAL: _residential,
    StreetType.DOWNTOWN: _downtown,
    StreetType.HIGHWAY: _highway,
    StreetType.RURAL: _rural,
    StreetType.RAILWAY: _railway,
    StreetType.INDUSTRIAL: _industrial,
}
# Share of parking bays that are taken, and what stands there: car, truck, bus, motorcycles.
_PARKED = {
    StreetType.RESIDENTIAL: (0.55, (0.90, 0.02, 0.0, 0.08)),
    StreetType.DOWNTOWN: (0.65, (0.78, 0.06, 0.04, 0.12)),
    StreetType.INDUSTRIAL: (0.60, (0.40, 0.50, 0.06, 0.04)),
}


def _parked(layout: Layout, side: float) -> None:
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


def _furniture(layout: Layout, side: float) -> None:
    """Lamps, signs, bollards, bicycle racks, trees along the kerb."""
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
        cell = structures.SIGN_CELLS[rng.integers(len(structures.SIGN_CELLS))]
        sign = structures.traffic_sign(rng, cell, layout.next_instance())
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


def _median(layout: Layout) -> None:
    rng = layout.rng
    start, end = _span(layout)
    concrete: Tint = (0.58, 0.57, 0.55)
    for s0, s1 in _stretch(start, end, 8.0):
        layout.place(structures.wall(rng, s1 - s0, 0.85, Cell.CONCRETE, concrete), s0, 0.0)
    for s in np.arange(start + 10.0, end, 40.0):
        lamp = structures.street_lamp(rng, 1.0, 9.0, layout.next_instance())
        layout.place(lamp, s, 0.0)
    if rng.random() < 0.8:
        span = layout.form.half_road + 1.2
        layout.place(
            structures.gantry(rng, span, layout.next_instance()),
            rng.uniform(start + 20.0, end - 10.0),
            0.0,
        )


def _background(layout: Layout, side: float) -> None:
    """A second row, so that gaps do not look into nothing."""
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
            cell = CITY_CELLS[rng.integers(len(CITY_CELLS))]
            block = structures.building(
                rng, side, width, 12.0, floors, cell, False, street is StreetType.RESIDENTIAL
            )
            layout.place(block, s, side * (form.half_road + form.front + rng.uniform(28.0, 36.0)))
            s += width + rng.uniform(0.0, 8.0)
    else:
        for s in np.arange(start, end, 6.0):
            layout.place(
                _some_tree(rng, 7.0, 13.0),
                s + rng.uniform(-3.0, 3.0),
                side * (form.half_road + rng.uniform(24.0, 38.0)),
            )


def _junction(layout: Layout) -> None:
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
            sign = structures.traffic_sign(rng, Cell.SIGN_STOP, layout.next_instance())
            layout.place(sign, place, side * (edge + 0.5))
    for side in SIDES:
        # cars that wait in the side street, houses along it
        if rng.random() < 0.6:
            d = side * (edge + rng.uniform(4.0, 8.0))
            lane = section.start + section.junction_length * (0.72 if side > 0 else 0.28)
            car = vehicles.car(rng)
            layout.place(car, lane, d, -side * math.pi / 2, layout.next_instance())
        if section.street in (StreetType.DOWNTOWN, StreetType.RESIDENTIAL, StreetType.INDUSTRIAL):
            for offset in (44.0, 60.0):
                cell = CITY_CELLS[rng.integers(len(CITY_CELLS))]
                block = structures.building(
                    rng, side, 18.0, 10.0, int(rng.integers(2, 5)), cell, False, False
                )
                layout.place(block, section.start - 1.0, side * (edge + offset))
        for place in (section.start + 1.5, section.body_start - 1.5):
            if rng.random() < 0.5:
                sign = structures.traffic_sign(rng, Cell.SIGN_NO_ENTRY, layout.next_instance())
                layout.place(sign, place, side * (edge + 2.0), -side * math.pi / 2)
