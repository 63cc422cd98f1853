"""The route of a drive: sections of street, the centre line, the motion of the ego vehicle.

Road coordinates: s along the centre line, d to the left of it, in metres. Traffic drives on the
right.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEP_M = 1.0
SIMULATION_STEP_S = 0.1
BEHIND_M, AHEAD_M, RUN_OUT_M = 160.0, 320.0, 700.0
BRAKING_M_S2 = 2.5
ACCELERATION_M_S2 = 1.8


class StreetType(enum.Enum):
    """Types of street."""

    RESIDENTIAL = "residential"
    DOWNTOWN = "downtown"
    HIGHWAY = "highway"
    RURAL = "rural"
    RAILWAY = "railway"
    INDUSTRIAL = "industrial"


@dataclass(frozen=True, slots=True)
class StreetForm:
    """Widths in metres, from the centre line outwards, equal on both sides.

    lanes: per direction. lane: width of one. half_median: half of the strip between the directions.
    margin: parking bays or shoulder, which belong to the road. front: from the edge of the road to
    buildings, walls or woods.
    """

    lanes: int
    lane: float
    half_median: float
    margin: float
    sidewalk: float
    front: float
    speed_m_s: float

    @property
    def half_road(self) -> float:
        return self.half_median + self.lanes * self.lane + self.margin


FORMS = {
    StreetType.RESIDENTIAL: StreetForm(1, 3.0, 0.0, 2.1, 3.0, 7.5, 8.0),
    StreetType.DOWNTOWN: StreetForm(1, 3.2, 0.0, 2.2, 4.2, 4.2, 8.5),
    StreetType.HIGHWAY: StreetForm(2, 3.6, 1.0, 1.8, 0.0, 6.0, 20.0),
    StreetType.RURAL: StreetForm(1, 3.4, 0.0, 0.3, 0.0, 5.0, 15.0),
    StreetType.RAILWAY: StreetForm(1, 3.2, 0.0, 0.4, 2.4, 5.5, 10.0),
    StreetType.INDUSTRIAL: StreetForm(1, 3.4, 0.0, 2.4, 2.2, 4.6, 10.0),
}
# Every seven sections hold these types in random order.
_CYCLE = (
    StreetType.RESIDENTIAL,
    StreetType.DOWNTOWN,
    StreetType.DOWNTOWN,
    StreetType.RAILWAY,
    StreetType.HIGHWAY,
    StreetType.RURAL,
    StreetType.INDUSTRIAL,
)


class JunctionType(enum.Enum):
    """Types of junction at the beginning of a section."""

    NONE = "none"
    CROSSING = "crossing"
    CROSSROADS = "crossroads"
    LEVEL_CROSSING = "level crossing"


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of street [start, end) with a junction at its beginning; s in metres.

    The junction covers [start, start + junction_length). stop_s: seconds that the ego vehicle waits
    before it.
    """

    index: int
    street: StreetType
    start: float
    end: float
    junction: JunctionType
    junction_length: float
    stop_s: float

    @property
    def form(self) -> StreetForm:
        return FORMS[self.street]

    @property
    def body_start(self) -> float:
        """s at the end of the junction, in metres."""
        return self.start + self.junction_length


@dataclass(frozen=True)
class Route:
    """The sections in order, the centre line, and the ego vehicle's position over time.

    center: [N, 3], x, y and heading every STEP_M from ``first_s``. ego_s: [T], s at multiples of
    SIMULATION_STEP_S.
    """

    sections: tuple[Section, ...]
    first_s: float
    center: Array
    ego_s: Array

    def pose(self, s: Array | float) -> tuple[Array, Array, Array]:
        """World x, y and heading of the centre line at ``s``."""
        place = np.clip(
            (np.asarray(s, np.float64) - self.first_s) / STEP_M, 0.0, len(self.center) - 1.001
        )
        index = place.astype(np.int64)
        weight = (place - index)[..., None]
        rows = self.center[index] * (1.0 - weight) + self.center[index + 1] * weight
        return rows[..., 0], rows[..., 1], rows[..., 2]

    def world(self, s: Array | float, d: Array | float) -> tuple[Array, Array, Array]:
        """World x, y and heading of the street at road coordinates (s, d)."""
        x, y, heading = self.pose(s)
        return x - np.sin(heading) * d, y + np.cos(heading) * d, heading

    def ego(self, time_s: Array | float) -> Array:
        """s of the ego vehicle at ``time_s``."""
        times_s = np.arange(len(self.ego_s)) * SIMULATION_STEP_S
        return np.asarray(np.interp(time_s, times_s, self.ego_s))

    def time_at(self, s: float) -> float:
        """The time in seconds at which the ego vehicle reaches ``s``."""
        index = int(np.searchsorted(self.ego_s, s))
        return index * SIMULATION_STEP_S

    def section_at(self, s: float) -> Section:
        """The section that contains ``s``."""
        starts = [section.start for section in self.sections]
        return self.sections[max(int(np.searchsorted(starts, s, side="right")) - 1, 0)]

    def sections_between(self, low: float, high: float) -> tuple[Section, ...]:
        """The sections that overlap [low, high]."""
        first = self.section_at(low).index
        last = self.section_at(high).index
        return self.sections[first : last + 1]


def plan_route(seed: int, duration_s: float) -> Route:
    """Draw sections until the route is long enough for ``duration_s``.

    A longer drive of the same seed begins with the shorter one.
    """
    rng = np.random.default_rng([seed, 2])
    sections: list[Section] = []
    ego: list[float] = [0.0]
    deck: list[StreetType] = []
    position = -BEHIND_M
    speed = -1.0
    steps = int(duration_s / SIMULATION_STEP_S) + 2
    # Traffic met beyond the end of the drive may be visible before it, so the route is longer.
    while len(ego) < steps or ego[-1] < ego[steps - 1] + RUN_OUT_M:
        if not deck:
            deck = [_CYCLE[index] for index in rng.permutation(len(_CYCLE))]
        sections.append(_draw_section(rng, len(sections), deck.pop(), position, sections))
        position = sections[-1].end
        if position > ego[-1] + AHEAD_M:
            if speed < 0.0:
                speed = _section_of(sections, 0.0).form.speed_m_s
            speed = _advance(sections, ego, speed, position - AHEAD_M / 2)
    return Route(
        sections=tuple(sections),
        first_s=-BEHIND_M,
        center=_center_line(np.random.default_rng([seed, 3]), position + BEHIND_M + AHEAD_M),
        ego_s=np.array(ego),
    )


def _draw_section(
    rng: np.random.Generator,
    index: int,
    street: StreetType,
    start: float,
    before: list[Section],
) -> Section:
    length = float(rng.uniform(70.0, 130.0))
    if street is StreetType.HIGHWAY:
        length *= 1.5
    fast = (StreetType.HIGHWAY, StreetType.RURAL)
    if not before:
        junction = JunctionType.NONE
    elif street is StreetType.RAILWAY:
        junction = JunctionType.LEVEL_CROSSING
    elif street in fast and before[-1].street in fast:
        junction = JunctionType.NONE
    else:
        junction = JunctionType.CROSSROADS
    lengths = {
        JunctionType.NONE: 0.0,
        JunctionType.CROSSING: 4.0,
        JunctionType.CROSSROADS: 16.0,
        JunctionType.LEVEL_CROSSING: 12.0,
    }
    waits = junction is not JunctionType.NONE and rng.random() < 0.6
    return Section(
        index=index,
        street=street,
        start=start,
        end=start + length,
        junction=junction,
        junction_length=lengths[junction],
        stop_s=float(rng.uniform(3.0, 6.0)) if waits else 0.0,
    )


def _section_of(sections: list[Section], s: float) -> Section:
    return next((section for section in sections if s < section.end), sections[-1])


def _advance(sections: list[Section], ego: list[float], speed: float, until: float) -> float:
    """Append positions to ``ego`` up to ``until``; speeds in m/s. Returns the last speed."""
    stops = [
        (section.start - 5.0, section.stop_s)
        for section in sections
        if section.stop_s and section.start - 5.0 > ego[-1] + 0.5
    ]
    ahead = [section for section in sections if section.end > ego[-1]]
    while ego[-1] < until:
        here = ego[-1]
        target = _section_of(ahead, here).form.speed_m_s
        if stops:
            gap = stops[0][0] - here
            if gap < 0.3:
                _, wait_s = stops.pop(0)
                ego.extend([here] * int(wait_s / SIMULATION_STEP_S))
                speed = 0.0
                continue
            target = min(target, (2.0 * BRAKING_M_S2 * gap) ** 0.5, gap + 0.3)
        change = target - speed
        low, high = -2.0 * BRAKING_M_S2 * SIMULATION_STEP_S, ACCELERATION_M_S2 * SIMULATION_STEP_S
        speed = max(speed + min(max(change, low), high), 0.2)
        ego.append(here + speed * SIMULATION_STEP_S)
    return speed


def _center_line(rng: np.random.Generator, length: float) -> Array:
    """Gentle bends: the heading is a sum of slow waves, so that the road never turns back."""
    s = np.arange(0.0, length, STEP_M)
    heading = np.zeros_like(s)
    for wavelength, largest in ((420.0, 0.24), (260.0, 0.14), (170.0, 0.05)):
        amplitude = rng.uniform(0.0, largest)
        phase = rng.uniform(0.0, 2.0 * np.pi)
        heading += amplitude * np.sin(
            2.0 * np.pi * s / (wavelength * rng.uniform(0.8, 1.2)) + phase
        )
    x = np.cumsum(np.cos(heading)) * STEP_M
    y = np.cumsum(np.sin(heading)) * STEP_M
    return np.stack([x, y, heading], axis=1)
