"""The ground: the surface at each place along and across the street."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.world.classes import ClassId
from activesam_ros.demo.world.mesh import Floats, Texture, Tint
from activesam_ros.demo.world.route import JunctionType, Route, Section, StreetType

HALF_WIDTH_M = 40.0
ACROSS_M = 0.05
ALONG_M = 0.1
COLUMNS = int(2 * HALF_WIDTH_M / ACROSS_M)
TABLE_STEP_M = 0.5
TABLE_RANGE_M = (-150.0, 320.0)


@dataclass(frozen=True, slots=True)
class Surface:
    """The texture, tint and label of a part of the ground; it repeats every ``tile_m`` metres."""

    texture: Texture
    tint: Tint
    label: ClassId
    tile_m: float


class Material:
    """Row numbers of the surface table."""

    ROAD, OLD_ROAD, PARKING, LINE, YELLOW, BIKE_PATH, SIDEWALK, KERB, LAWN, SOIL = range(10)
    BALLAST, RAIL, YARD, MEADOW, PATCH, GUTTER = range(10, 16)


COUNT = 16
# Row numbers of the profiles of a section.
_DASH, _GAP, _STRIPES, _STOP_LINE, _JUNCTION = range(5)
TRACK_D_M = -13.0
TRACK_HALF_WIDTH_M = 2.2


def draw_surfaces(rng: np.random.Generator) -> tuple[Surface, ...]:
    """The surface table of one drive, in the order of Material."""

    def grey(low: float, high: float, warm: float = 0.03) -> Tint:
        level = rng.uniform(low, high)
        red, blue = rng.uniform(1.0 - warm, 1.0 + warm, 2)
        return level * red, level, level * blue

    def varied(red: float, green: float, blue: float) -> Tint:
        level = rng.uniform(0.8, 1.2)
        shift = rng.uniform(0.9, 1.1, 3)
        return red * level * shift[0], green * level * shift[1], blue * level * shift[2]

    road = grey(0.27, 0.50)
    red, green, blue = road
    paving = rng.choice(3)
    sidewalk_texture = (Texture.PAVERS, Texture.SLABS, Texture.COBBLES)[paving]
    sidewalk = grey(0.36, 0.62, 0.06) if rng.random() < 0.7 else varied(0.52, 0.40, 0.34)
    parking_texture = Texture.COBBLES if rng.random() < 0.5 else Texture.ASPHALT
    line = rng.uniform(0.75, 0.95)
    meadow = varied(0.36, 0.42, 0.20) if rng.random() < 0.7 else varied(0.56, 0.50, 0.26)
    table = {
        Material.ROAD: Surface(Texture.ASPHALT, road, ClassId.ROAD, 4.0),
        Material.OLD_ROAD: Surface(Texture.OLD_ASPHALT, road, ClassId.ROAD, 5.0),
        Material.PARKING: Surface(parking_texture, grey(0.28, 0.48), ClassId.ROAD, 3.0),
        Material.LINE: Surface(Texture.PAINT, (line, line, line * 0.98), ClassId.ROAD, 2.0),
        Material.YELLOW: Surface(Texture.PAINT, (0.85, 0.66, 0.16), ClassId.ROAD, 2.0),
        Material.BIKE_PATH: Surface(Texture.ASPHALT, varied(0.50, 0.25, 0.21), ClassId.ROAD, 4.0),
        Material.SIDEWALK: Surface(sidewalk_texture, sidewalk, ClassId.SIDEWALK, 2.4),
        Material.KERB: Surface(Texture.CONCRETE, grey(0.55, 0.75), ClassId.SIDEWALK, 2.0),
        Material.LAWN: Surface(Texture.GRASS, varied(0.30, 0.42, 0.17), ClassId.TERRAIN, 3.0),
        Material.SOIL: Surface(Texture.SOIL, varied(0.42, 0.33, 0.23), ClassId.TERRAIN, 3.0),
        Material.BALLAST: Surface(Texture.GRAVEL, grey(0.36, 0.50, 0.08), ClassId.TERRAIN, 2.0),
        Material.RAIL: Surface(Texture.METAL, (0.34, 0.30, 0.28), ClassId.TERRAIN, 2.0),
        Material.YARD: Surface(Texture.CONCRETE, grey(0.40, 0.58), ClassId.SIDEWALK, 5.0),
        Material.MEADOW: Surface(Texture.GRASS, meadow, ClassId.TERRAIN, 4.0),
        Material.PATCH: Surface(
            Texture.ASPHALT, (red * 0.75, green * 0.75, blue * 0.75), ClassId.ROAD, 4.0
        ),
        Material.GUTTER: Surface(Texture.COBBLES, grey(0.30, 0.45), ClassId.ROAD, 1.6),
    }
    return tuple(table[row] for row in range(COUNT))


class _Profile:
    """One cross-section of the street: row [COLUMNS] holds the material of each column."""

    def __init__(self, outside: int) -> None:
        self.row = np.full(COLUMNS, outside, np.uint8)

    def strip(self, low: float, high: float, material: int) -> None:
        """Lay ``material`` where low <= d < high, in metres."""
        first = round((low + HALF_WIDTH_M) / ACROSS_M)
        last = round((high + HALF_WIDTH_M) / ACROSS_M)
        self.row[max(first, 0) : max(last, 0)] = material

    def both(self, low: float, high: float, material: int) -> None:
        """Lay ``material`` on both sides of the centre line."""
        self.strip(low, high, material)
        self.strip(-high, -low, material)


def section_profiles(section: Section, seed: int) -> NDArray[np.uint8]:
    """The five cross-sections of a section, uint8 [5, COLUMNS] of materials."""
    rng = np.random.default_rng([seed, 4, section.index])
    form, street = section.form, section.street
    asphalt = Material.OLD_ROAD if rng.random() < 0.4 else Material.ROAD
    outside = {
        StreetType.DOWNTOWN: Material.YARD,
        StreetType.INDUSTRIAL: Material.YARD,
        StreetType.RESIDENTIAL: Material.LAWN,
        StreetType.HIGHWAY: Material.MEADOW,
        StreetType.RURAL: Material.MEADOW,
        StreetType.RAILWAY: Material.LAWN,
    }[street]
    base = _Profile(outside)
    edge = form.half_road
    base.both(0.0, edge, asphalt)
    if form.margin > 1.0:
        own = street is not StreetType.HIGHWAY
        base.both(edge - form.margin, edge, Material.PARKING if own else asphalt)
    if form.sidewalk:
        base.both(edge - 0.35, edge, Material.GUTTER)
        base.both(edge, edge + 0.22, Material.KERB)
        base.both(edge + 0.22, edge + form.sidewalk, Material.SIDEWALK)
        if street is StreetType.RESIDENTIAL and rng.random() < 0.6:
            base.both(edge + 0.22, edge + rng.uniform(1.0, 1.5), Material.LAWN)
    elif rng.random() < 0.6:
        base.both(edge, edge + rng.uniform(0.6, 1.6), Material.SOIL)
    if street is StreetType.RURAL:
        base.both(edge + 7.0, edge + 7.0 + rng.uniform(5.0, 14.0), Material.SOIL)
    if street is StreetType.HIGHWAY:
        base.both(0.0, form.half_median, Material.LAWN)
    if street in (StreetType.RAILWAY, StreetType.RURAL):
        low, high = TRACK_D_M - TRACK_HALF_WIDTH_M, TRACK_D_M + TRACK_HALF_WIDTH_M
        base.strip(low, high, Material.BALLAST)
        for rail in (-0.75, 0.75):
            base.strip(TRACK_D_M + rail - 0.07, TRACK_D_M + rail + 0.07, Material.RAIL)
    lane_edge = edge - form.margin
    if street in (StreetType.HIGHWAY, StreetType.RURAL):
        base.both(lane_edge - 0.2, lane_edge, Material.LINE)
    if street is StreetType.HIGHWAY:
        base.both(form.half_median + 0.2, form.half_median + 0.35, Material.LINE)
    if street is StreetType.DOWNTOWN and rng.random() < 0.5:
        base.both(edge + 0.3, edge + 1.3, Material.SIDEWALK)
    center = Material.YELLOW if rng.random() < 0.25 else Material.LINE
    dashed, gap = _copy(base), _copy(base)
    for lane in range(form.lanes):
        if lane:
            middle = form.half_median + lane * form.lane
            dashed.both(middle - 0.07, middle + 0.07, Material.LINE)
    if not form.half_median and street is not StreetType.RESIDENTIAL:
        dashed.strip(-0.07, 0.07, center)
        if rng.random() < 0.35:
            gap.strip(-0.07, 0.07, center)
    stripes = _copy(base)
    for start in np.arange(-edge + 0.3, edge - 0.5, 1.0):
        stripes.strip(start, start + 0.5, Material.LINE)
    stop = _copy(base)
    stop.strip(-lane_edge, -form.half_median, Material.LINE)
    junction = _Profile(asphalt)
    if section.junction is JunctionType.LEVEL_CROSSING:
        junction = _Profile(Material.BALLAST)
        junction.both(0.0, edge + form.sidewalk, asphalt)
    return np.stack([dashed.row, gap.row, stripes.row, stop.row, junction.row])


def _copy(profile: _Profile) -> _Profile:
    copy = _Profile(0)
    copy.row = profile.row.copy()
    return copy


def section_rows(section: Section, following: Section | None) -> NDArray[np.uint8]:
    """The profile at every ALONG_M of a section, uint8 [N]."""
    s = np.arange(section.start, section.end, ALONG_M)
    street = section.street
    period, dash = {StreetType.HIGHWAY: (12.0, 4.0), StreetType.RURAL: (9.0, 4.5)}.get(
        street, (6.0, 3.0)
    )
    rows = np.where(s % period < dash, _DASH, _GAP).astype(np.uint8)
    crossing = section.junction is JunctionType.CROSSROADS and section.form.sidewalk > 0.0
    rows[s < section.body_start] = _JUNCTION
    if crossing:
        rows[(s >= section.body_start + 0.8) & (s < section.body_start + 3.8)] = _STRIPES
    if following is not None and following.junction is not JunctionType.NONE:
        to_go = section.end - s
        rows[(to_go > 5.0) & (to_go <= 5.45)] = _STOP_LINE
        if following.junction is JunctionType.CROSSROADS and section.form.sidewalk > 0.0:
            rows[(to_go > 0.8) & (to_go <= 3.8)] = _STRIPES
    return rows


class Ground:
    """The ground of a drive. It keeps the tables of recent sections."""

    def __init__(self, seed: int, route: Route) -> None:
        self.surfaces = draw_surfaces(np.random.default_rng([seed, 5]))
        self._route = route
        self._profiles = lru_cache(maxsize=16)(
            lambda index: section_profiles(route.sections[index], seed)
        )
        self._rows = lru_cache(maxsize=16)(self._section_rows)

    def _section_rows(self, index: int) -> NDArray[np.uint8]:
        sections = self._route.sections
        following = sections[index + 1] if index + 1 < len(sections) else None
        return section_rows(sections[index], following)

    def window(self, ego_s: float, pose: tuple[float, float, float]) -> GroundWindow:
        """The tables around the ego vehicle at ``ego_s``; pose: its world x, y and heading."""
        low, high = ego_s + TABLE_RANGE_M[0], ego_s + TABLE_RANGE_M[1]
        sections = self._route.sections_between(low, high)
        rows = np.concatenate(
            [
                self._rows(section.index).astype(np.int32) + 5 * number
                for number, section in enumerate(sections)
            ]
        )
        profiles = np.concatenate([self._profiles(section.index) for section in sections])
        s = np.arange(low, high, TABLE_STEP_M)
        x, y, heading = self._route.pose(s)
        ego_x, ego_y, ego_heading = pose
        cos, sin = np.cos(ego_heading), np.sin(ego_heading)
        forward = cos * (x - ego_x) + sin * (y - ego_y)
        left = -sin * (x - ego_x) + cos * (y - ego_y)
        turned = heading - ego_heading
        return GroundWindow(
            rows=rows,
            profiles=profiles,
            rows_start=sections[0].start,
            first_s=low,
            center=np.stack([forward, left, np.cos(turned), np.sin(turned)]).astype(np.float32),
            s_of_x=np.interp(np.arange(*TABLE_RANGE_M, TABLE_STEP_M), forward, s - low).astype(
                np.float32
            ),
        )


@dataclass(frozen=True)
class GroundWindow:
    """Tables of the ground around one ego position; lengths in metres.

    rows: [N], the profile at every ALONG_M from ``rows_start``. profiles: [5 K, COLUMNS], materials
    of K sections. center: [4, M], x, y and cos, sin of the heading of the centre line, in vehicle
    coordinates, every TABLE_STEP_M from ``first_s``. s_of_x: [M'], s - first_s by x.
    """

    rows: NDArray[np.int32]
    profiles: NDArray[np.uint8]
    rows_start: float
    first_s: float
    center: NDArray[np.float32]
    s_of_x: NDArray[np.float32]

    def road_coordinates(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Road coordinates (s - first_s, d) of vehicle coordinates; all [N], metres."""
        index = ((x - TABLE_RANGE_M[0]) * (1.0 / TABLE_STEP_M)).astype(np.int32)
        s = self.s_of_x.take(index, mode="clip")
        step = np.float32(1.0 / TABLE_STEP_M)
        for _ in range(2):
            index = (s * step + 0.5).astype(np.int32)
            dx = x - self.center[0].take(index, mode="clip")
            dy = y - self.center[1].take(index, mode="clip")
            cos = self.center[2].take(index, mode="clip")
            sin = self.center[3].take(index, mode="clip")
            s = index.astype(np.float32) * np.float32(TABLE_STEP_M) + dx * cos + dy * sin
            d = dy * cos - dx * sin
        return s, d

    def materials(self, s: Floats, d: Floats) -> NDArray[np.uint8]:
        """The material at s - first_s and d, uint8 [N]."""
        offset = np.float32(self.first_s - self.rows_start)
        row = ((s + offset) * np.float32(1.0 / ALONG_M)).astype(np.int32)
        column = ((d + np.float32(HALF_WIDTH_M)) * np.float32(1.0 / ACROSS_M)).astype(np.int32)
        np.clip(column, 0, COLUMNS - 1, out=column)
        profile = self.rows.take(row, mode="clip")
        return self.profiles.reshape(-1).take(profile * COLUMNS + column, mode="clip")
