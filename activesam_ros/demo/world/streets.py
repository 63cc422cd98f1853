"""Everything that stands in a section of street, by its type: houses, walls, fences, woods."""

from __future__ import annotations

import numpy as np

from activesam_ros.demo.world import structures, vehicles
from activesam_ros.demo.world.ground import TRACK_D_M
from activesam_ros.demo.world.layout import (
    CITY_FACADES,
    SIDES,
    Layout,
    Placed,
    some_tree,
    span,
    stretch,
)
from activesam_ros.demo.world.mesh import Texture, Tint
from activesam_ros.demo.world.route import Route, Section, StreetType
from activesam_ros.demo.world.street_furniture import (
    add_background,
    add_furniture,
    add_junction,
    add_median,
    add_parked,
)


def _row_of_houses(layout: Layout, side: float, setback: float, gap: tuple[float, float]) -> None:
    rng, form = layout.rng, layout.form
    s, end = span(layout)
    tint = structures.leaf_tint(rng)
    while s < end - 7.0:
        width = min(rng.uniform(8.0, 13.0), end - s)
        facade = Texture.FACADE_HOUSE if rng.random() < 0.7 else Texture.FACADE_BRICK
        house = structures.building(
            rng, side, width, rng.uniform(8.0, 11.0), int(rng.integers(1, 4)), facade, False, True
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
                layout.place(some_tree(rng, 3.5, 6.5), place, d)
        _border(layout, side, s - 0.5, s + width + space - 0.5, garden + 0.3)
        if rng.random() < 0.6:
            layout.place(
                some_tree(rng, 6.0, 11.0),
                s + width + space / 2,
                side * (form.half_road + setback + rng.uniform(5.0, 12.0)),
            )
        s += width + space


def _border(layout: Layout, side: float, start: float, end: float, d: float) -> None:
    """A hedge, fence, wall or nothing between pavement and garden, with a gap for the gate."""
    rng = layout.rng
    kind = rng.random()
    gate = rng.uniform(0.2, 0.7) * (end - start)
    for s0, s1 in ((start, start + gate), (start + gate + 1.6, min(end, layout.section.end - 1))):
        if s1 - s0 < 1.5:
            continue
        for part in stretch(s0, s1, 8.0):
            if kind < 0.28:
                tint = structures.leaf_tint(rng)
                mesh = structures.hedge(rng, part[1] - part[0], rng.uniform(0.9, 1.8), tint)
            elif kind < 0.66:
                mesh = structures.fence(rng, part[1] - part[0], int(rng.integers(0, 3)))
            elif kind < 0.90:
                mesh = structures.wall(
                    rng,
                    part[1] - part[0],
                    rng.uniform(0.8, 1.7),
                    _wall_texture(rng),
                    _wall_tint(rng),
                )
            else:
                return
            layout.place(mesh, part[0], side * d)


def _wall_texture(rng: np.random.Generator) -> Texture:
    return (Texture.BRICK, Texture.STONE, Texture.PLASTER, Texture.CONCRETE)[rng.integers(4)]


def _wall_tint(rng: np.random.Generator) -> Tint:
    palette: tuple[Tint, ...] = (
        (0.56, 0.55, 0.52), (0.52, 0.34, 0.27), (0.66, 0.60, 0.48), (0.44, 0.44, 0.46),
        (0.74, 0.72, 0.68),
    )  # fmt: skip
    red, green, blue = palette[rng.integers(len(palette))]
    level = rng.uniform(0.85, 1.15)
    return red * level, green * level, blue * level


def _residential(layout: Layout, side: float) -> None:
    _row_of_houses(layout, side, layout.form.sidewalk + 4.5, (3.0, 6.0))


def _downtown(layout: Layout, side: float) -> None:
    rng, form = layout.rng, layout.form
    s, end = span(layout)
    while s < end - 6.0:
        width = min(rng.uniform(10.0, 20.0), end - s)
        facade = CITY_FACADES[rng.integers(len(CITY_FACADES))]
        block = structures.building(
            rng,
            side,
            width,
            14.0,
            int(rng.integers(2, 6)),
            facade,
            bool(rng.random() < 0.75),
            bool(rng.random() < 0.2),
        )
        layout.place(block, s, side * (form.half_road + form.sidewalk + rng.uniform(0.0, 0.4)))
        s += width
        if rng.random() < 0.18:
            gap = rng.uniform(4.0, 8.0)
            stop = min(s + gap, end)
            wall = structures.wall(
                rng, stop - s, rng.uniform(1.8, 2.6), _wall_texture(rng), _wall_tint(rng)
            )
            layout.place(wall, s, side * (form.half_road + form.sidewalk + 0.5))
            layout.place(
                some_tree(rng, 6.0, 9.0),
                (s + stop) / 2,
                side * (form.half_road + form.sidewalk + 4.0),
            )
            s = stop


def _highway(layout: Layout, side: float) -> None:
    rng, form = layout.rng, layout.form
    start, end = span(layout)
    noise_wall = rng.random() < 0.5
    d = form.half_road + (rng.uniform(1.5, 4.0) if noise_wall else rng.uniform(2.5, 5.0))
    texture = (Texture.CONCRETE, Texture.WOOD, Texture.STONE)[rng.integers(3)]
    height, tint = rng.uniform(2.2, 3.4), _wall_tint(rng)
    for s0, s1 in stretch(start, end, 8.0):
        if noise_wall:
            mesh = structures.wall(rng, s1 - s0, height, texture, tint)
        else:
            mesh = structures.fence(rng, s1 - s0, 3)
        layout.place(mesh, s0, side * d)
    _woods(layout, side, d + 2.5, 16.0, 5.0)


def _woods(layout: Layout, side: float, d: float, depth: float, spacing: float) -> None:
    rng = layout.rng
    start, end = span(layout)
    for s in np.arange(start, end, spacing):
        place = s + rng.uniform(-2.0, 2.0)
        if rng.random() < 0.75:
            layout.place(some_tree(rng, 6.0, 12.0), place, side * (d + rng.uniform(0.0, depth)))
        if rng.random() < 0.4:
            bush = structures.bush(rng, rng.uniform(1.0, 2.4), structures.leaf_tint(rng))
            layout.place(bush, place, side * (d + rng.uniform(-1.5, 3.0)))


def _rural(layout: Layout, side: float) -> None:
    rng, form = layout.rng, layout.form
    start, end = span(layout)
    edge = form.half_road
    if rng.random() < 0.7:
        style = int(rng.choice([0, 1, 3, 4], p=[0.15, 0.2, 0.15, 0.5]))
        d = edge + rng.uniform(1.8, 4.0)
        for s0, s1 in stretch(start, start + rng.uniform(0.6, 1.0) * (end - start), 8.0):
            layout.place(structures.fence(rng, s1 - s0, style), s0, side * d)
    elif rng.random() < 0.5:
        d, tint = edge + rng.uniform(1.8, 3.5), structures.leaf_tint(rng)
        for s0, s1 in stretch(start, start + rng.uniform(0.4, 0.9) * (end - start), 8.0):
            layout.place(structures.hedge(rng, s1 - s0, rng.uniform(1.2, 2.2), tint), s0, side * d)
    pole_d = side * (edge + 1.4)
    if side > 0:
        for s in np.arange(start + 4.0, end, 26.0):
            layout.place(structures.utility_pole(rng, layout.next_instance()), s, pole_d)
    if rng.random() < 0.5:
        s = rng.uniform(start + 10.0, end - 20.0)
        facade = Texture.FACADE_HOUSE if rng.random() < 0.6 else Texture.HALL
        barn = structures.building(rng, side, 14.0, 10.0, 2, facade, False, True)
        layout.place(barn, s, side * (edge + rng.uniform(9.0, 15.0)))
    depth = 5.0 if side < 0 else 9.0
    _woods(layout, side, edge + (4.5 if side > 0 else 13.0), depth, 9.0)


def _railway(layout: Layout, side: float) -> None:
    rng, form = layout.rng, layout.form
    start, end = span(layout)
    if side > 0:
        _row_of_houses(layout, side, form.sidewalk + 4.0, (4.0, 9.0))
        return
    edge = form.half_road + form.sidewalk
    style = int(rng.choice([0, 1, 3]))
    for s0, s1 in stretch(start + 4.0, end, 8.0):
        layout.place(structures.fence(rng, s1 - s0, style), s0, side * (edge + 0.5))
    behind = TRACK_D_M - 3.2
    kind = rng.random()
    tint, texture, height = _wall_tint(rng), _wall_texture(rng), rng.uniform(1.8, 3.0)
    green = structures.leaf_tint(rng)
    for s0, s1 in stretch(start + 4.0, end, 8.0):
        if kind < 0.4:
            layout.place(structures.wall(rng, s1 - s0, height, texture, tint), s0, behind)
        elif kind < 0.7:
            layout.place(structures.hedge(rng, s1 - s0, height, green), s0, behind)
    mast = structures.utility_pole
    for s in np.arange(start + 8.0, end, 30.0):
        layout.place(mast(rng, layout.next_instance()), s, TRACK_D_M + 2.8)
    _woods(layout, side, -behind + 2.0, 6.0, 7.0)


def _industrial(layout: Layout, side: float) -> None:
    rng, form = layout.rng, layout.form
    start, end = span(layout)
    d = form.half_road + form.sidewalk + 0.4
    s = start
    while s < end - 5.0:
        stop = min(s + rng.uniform(14.0, 30.0), end)
        kind = rng.random()
        texture, tint, height = _wall_texture(rng), _wall_tint(rng), rng.uniform(1.7, 2.7)
        style = int(rng.choice([0, 2, 3]))
        for s0, s1 in stretch(s, stop - 4.0, 8.0):
            if kind < 0.55:
                layout.place(structures.wall(rng, s1 - s0, height, texture, tint), s0, side * d)
            elif kind < 0.92:
                layout.place(structures.fence(rng, s1 - s0, style), s0, side * d)
        hall_facade = Texture.HALL if rng.random() < 0.7 else Texture.FACADE_OFFICE
        hall = structures.building(
            rng, side, stop - s - 2.0, 18.0, int(rng.integers(2, 4)), hall_facade, False, False
        )
        layout.place(hall, s, side * (d + rng.uniform(5.0, 9.0)))
        if rng.random() < 0.5:
            layout.place(some_tree(rng, 5.0, 8.0), s + 3.0, side * (d + 2.2))
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


def lay_out(seed: int, section: Section, route: Route) -> Placed:
    """The meshes of everything that stands in ``section``."""
    layout = Layout(seed, section, route)
    add_junction(layout)
    for side in SIDES:
        _FRONTS[section.street](layout, side)
        add_parked(layout, side)
        add_furniture(layout, side)
        add_background(layout, side)
    if section.street is StreetType.HIGHWAY:
        add_median(layout)
    return layout.result()
