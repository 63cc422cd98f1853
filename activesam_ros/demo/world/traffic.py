"""Everything that moves: walkers, riders, vehicles, trains. Time alone gives the positions."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from activesam_ros.demo.world import figures, vehicles
from activesam_ros.demo.world.classes import ClassId
from activesam_ros.demo.world.figures import Figure
from activesam_ros.demo.world.ground import TRACK_D_M
from activesam_ros.demo.world.layout import INSTANCES_PER_SECTION, SIDES
from activesam_ros.demo.world.mesh import Mesh, Tint
from activesam_ros.demo.world.route import JunctionType, Route, Section, StreetType

MERGE_M = 14.0


class Lane(enum.Enum):
    """The line that a position across the street is measured from."""

    STREET = "centre line"
    OWN = "ego vehicle's lane"
    ONCOMING = "inner lane of the other direction"


class Pose(enum.Enum):
    """The pose of a figure."""

    NONE = "no figure"
    WALKING = "walking"
    CYCLING = "cycling"
    MOTORCYCLING = "motorcycling"


@dataclass(frozen=True, slots=True)
class Motion:
    """Position s = s0 + v t + c t² / 2, d = d0 + w t, with t from ``start_s``; metres, seconds.

    with_ego: s is relative to the ego vehicle. lane: the line that d is relative to. limit: the
    largest |d|. yaw: fixed angle, None for the direction of the motion. The agent exists only
    from ``appears_s`` to ``vanishes_s``.
    """

    s0: float
    d0: float
    start_s: float
    v: float = 0.0
    w: float = 0.0
    c: float = 0.0
    lane: Lane = Lane.STREET
    with_ego: bool = False
    limit: float = 1e9
    yaw: float | None = None
    appears_s: float = -math.inf
    vanishes_s: float = math.inf

    def at(self, time_s: float, route: Route) -> tuple[float, float, float]:
        """s, d and the angle relative to the street at ``time_s``."""
        t = time_s - self.start_s
        s = self.s0 + self.v * t + 0.5 * self.c * t * t
        if self.with_ego:
            s += float(route.ego(time_s))
        d = self.d0 + self.w * t
        d = min(max(d, -self.limit), self.limit)
        if self.lane is not Lane.STREET:
            d += lane_center(route, s, self.lane)
        if self.yaw is not None:
            return s, d, self.yaw
        moving_across = abs(self.w) > 0.05 and abs(d) < self.limit
        if moving_across:
            return s, d, math.atan2(self.w, self.v)
        return s, d, math.pi if self.v < 0.0 and not self.with_ego else 0.0


@dataclass(frozen=True)
class Agent:
    """Something that moves: a mesh, a figure, or both. phase and pace_hz: of its steps."""

    motion: Motion
    instance: int
    mesh: Mesh | None = None
    figure: Figure | None = None
    pose: Pose = Pose.NONE
    phase: float = 0.0
    pace_hz: float = 1.0


def lane_center(route: Route, s: float, lane: Lane) -> float:
    """d of the middle of a lane; it changes smoothly from one section to the next."""
    section = route.section_at(s)
    here = _lane_of(section, lane)
    border = section.start + 0.5 * section.junction_length
    if s < border + MERGE_M and section.index > 0:
        before = _lane_of(route.sections[section.index - 1], lane)
        part = min(max((s - border + MERGE_M) / (2.0 * MERGE_M), 0.0), 1.0)
        return before + part * (here - before)
    if s > section.end - MERGE_M and section.index + 1 < len(route.sections):
        following = route.sections[section.index + 1]
        border = following.start + 0.5 * following.junction_length
        part = min(max((s - border + MERGE_M) / (2.0 * MERGE_M), 0.0), 1.0)
        return here + part * (_lane_of(following, lane) - here)
    return here


def _lane_of(section: Section, lane: Lane) -> float:
    form = section.form
    if lane is Lane.OWN:
        return -(form.half_median + (form.lanes - 0.5) * form.lane)
    return form.half_median + 0.5 * form.lane


class _Cast:
    """Collects the agents of a section."""

    def __init__(self, seed: int, section: Section, route: Route) -> None:
        self.rng = np.random.default_rng([seed, 7, section.index])
        self.section = section
        self.route = route
        self.agents: list[Agent] = []
        self.enters_s = route.time_at(section.start)
        self.leaves_s = route.time_at(section.end)
        self.stop_at_s = route.time_at(section.start - 5.6)
        self._instance = section.index * INSTANCES_PER_SECTION % 60_000 + 400

    def next_instance(self) -> int:
        self._instance += 1
        return self._instance

    def stops_near(self, time_s: float, margin_s: float) -> bool:
        """Whether the ego vehicle stands still within ``margin_s`` of ``time_s``."""
        span = np.array([time_s - margin_s, time_s + margin_s])
        moved = np.diff(self.route.ego(np.linspace(span[0], span[1], 9)))
        return bool((moved < 0.4 * margin_s / 4.0).any())

    def person(self, motion: Motion, pace: float) -> None:
        """Add a walker; ``pace`` in m/s sets the frequency of the steps."""
        figure = figures.draw_figure(self.rng, ClassId.PERSON)
        self.agents.append(
            Agent(
                motion,
                self.next_instance(),
                None,
                figure,
                Pose.WALKING,
                float(self.rng.uniform(0.0, 6.3)),
                abs(pace) / (0.85 * figure.height),
            )
        )

    def rider(self, motion: Motion, motorcycle: bool) -> None:
        """Add a rider on a bicycle or motorcycle."""
        figure = figures.draw_figure(self.rng, ClassId.RIDER, motorcycle or self.rng.random() < 0.5)
        mesh = figures.motorcycle(self.rng) if motorcycle else figures.bicycle(self.rng)
        pose = Pose.MOTORCYCLING if motorcycle else Pose.CYCLING
        self.agents.append(
            Agent(
                motion,
                self.next_instance(),
                mesh,
                figure,
                pose,
                float(self.rng.uniform(0.0, 6.3)),
                1.1,
            )
        )

    def vehicle(self, mesh: Mesh, motion: Motion) -> None:
        """Add something rigid."""
        self.agents.append(Agent(motion, self.next_instance(), mesh))


_WALKERS = {
    StreetType.RESIDENTIAL: 6,
    StreetType.DOWNTOWN: 16,
    StreetType.RAILWAY: 5,
    StreetType.INDUSTRIAL: 4,
}
# Metres from the middle of a car, truck, bus, motorcycle, bicycle, tram to its rear end.
_TRAILING_M = (2.5, 5.0, 6.5, 1.5, 1.5, 23.0)
# Shares of cars, trucks, buses, motorcycles, bicycles and trams in the traffic.
_MIX = {
    StreetType.RESIDENTIAL: (0.58, 0.08, 0.10, 0.15, 0.09, 0.0),
    StreetType.DOWNTOWN: (0.40, 0.07, 0.17, 0.14, 0.09, 0.13),
    StreetType.HIGHWAY: (0.44, 0.26, 0.15, 0.15, 0.0, 0.0),
    StreetType.RURAL: (0.48, 0.12, 0.12, 0.20, 0.08, 0.0),
    StreetType.RAILWAY: (0.60, 0.12, 0.10, 0.10, 0.08, 0.0),
    StreetType.INDUSTRIAL: (0.42, 0.38, 0.08, 0.07, 0.05, 0.0),
}


def cast_agents(seed: int, section: Section, route: Route) -> tuple[Agent, ...]:
    """Everything that moves and that the ego vehicle meets in ``section``."""
    cast = _Cast(seed, section, route)
    _walkers(cast)
    _crossing_people(cast)
    _oncoming(cast)
    _ahead(cast)
    _cyclists(cast)
    _trains(cast)
    return tuple(cast.agents)


def _walkers(cast: _Cast) -> None:
    rng, section, form = cast.rng, cast.section, cast.section.form
    count = _WALKERS.get(section.street, 0)
    for side in SIDES:
        for _ in range(int(rng.poisson(count / 2))):
            s = rng.uniform(section.body_start + 4.0, section.end - 4.0)
            d = side * (form.half_road + rng.uniform(0.6, max(form.sidewalk - 0.4, 0.8)))
            meets_s = cast.route.time_at(s - 14.0)
            if rng.random() < 0.2:
                yaw = float(rng.uniform(-math.pi, math.pi))
                cast.person(Motion(s, d, meets_s, yaw=yaw), 0.0)
                continue
            speed = float(rng.uniform(0.8, 1.6) * rng.choice([-1.0, 1.0]))
            group = 2 if rng.random() < 0.25 else 1
            for number in range(group):
                cast.person(Motion(s, d + 0.55 * number * side, meets_s, v=speed), speed)


def _crossing_people(cast: _Cast) -> None:
    rng, section = cast.rng, cast.section
    if section.junction is not JunctionType.CROSSROADS or section.index == 0:
        return
    before = cast.route.sections[section.index - 1]
    places = []
    if before.form.sidewalk:
        places.append((section.start - 2.3, before.form.half_road))
    if section.form.sidewalk:
        places.append((section.body_start + 2.3, section.form.half_road))
    for s, edge in places:
        waits = section.stop_s > 0.0
        for _ in range(int(rng.integers(2, 7)) if waits else int(rng.integers(0, 3))):
            direction = float(rng.choice([-1.0, 1.0]))
            speed = float(rng.uniform(1.0, 1.6))
            limit = edge + rng.uniform(0.6, 1.6)
            # They cross while the ego vehicle waits; otherwise they stand at the kerb.
            start_s = cast.stop_at_s + (rng.uniform(-4.0, 3.0) if waits else 40.0)
            motion = Motion(
                s + rng.uniform(-1.2, 1.2),
                -direction * limit,
                start_s,
                w=direction * speed,
                limit=limit,
            )
            cast.person(motion, speed)


def _draw_vehicle(cast: _Cast, kinds: tuple[float, ...]) -> int:
    return int(cast.rng.choice(6, p=kinds))


def _send(cast: _Cast, kind: int, motion: Motion) -> None:
    rng = cast.rng
    if kind == 0:
        cast.vehicle(vehicles.car(rng), motion)
    elif kind == 1:
        cast.vehicle(vehicles.truck(rng), motion)
    elif kind == 2:
        cast.vehicle(vehicles.bus(rng), motion)
    elif kind in (3, 4):
        cast.rider(motion, kind == 3)
    else:
        _train(cast, motion, 2, _train_paint(rng))


def _train_paint(rng: np.random.Generator) -> Tint:
    palette: tuple[Tint, ...] = (
        (0.80, 0.16, 0.14), (0.86, 0.72, 0.18), (0.20, 0.38, 0.62), (0.80, 0.80, 0.78),
        (0.24, 0.48, 0.34), (0.60, 0.62, 0.64),
    )  # fmt: skip
    return palette[rng.integers(len(palette))]


def _train(cast: _Cast, motion: Motion, carriages: int, paint: Tint) -> None:
    """Add a train; the first carriage leads."""
    speed = motion.v if abs(motion.v) > abs(motion.w) else motion.w
    forward = 1.0 if speed >= 0.0 else -1.0
    across = abs(motion.w) > abs(motion.v)
    instance = cast.next_instance()
    for number in range(carriages):
        shift = -forward * 15.3 * number
        yaw = (forward * math.pi / 2) if across else (0.0 if forward > 0 else math.pi)
        own = Motion(
            motion.s0 + (0.0 if across else shift),
            motion.d0 + (shift if across else 0.0),
            motion.start_s,
            v=motion.v,
            w=motion.w,
            lane=motion.lane,
            yaw=yaw,
            appears_s=motion.appears_s,
            vanishes_s=motion.vanishes_s,
        )
        mesh = vehicles.carriage(cast.rng, number == 0, paint)
        cast.agents.append(Agent(own, instance, mesh))


def _oncoming(cast: _Cast) -> None:
    rng, section, form = cast.rng, cast.section, cast.section.form
    speed = form.speed_m_s * rng.uniform(0.75, 1.0)
    kinds = _MIX[section.street]
    spacing_s = 2.2 if section.street in (StreetType.HIGHWAY, StreetType.DOWNTOWN) else 3.2
    time_s = cast.enters_s + rng.uniform(0.0, 2.0)
    while time_s < cast.leaves_s:
        if not cast.stops_near(time_s, 2.0):
            kind = _draw_vehicle(cast, kinds)
            lane = 0 if form.lanes == 1 else int(rng.integers(form.lanes))
            d = lane * form.lane + rng.normal(0.0, 0.12)
            pace = speed
            if kind == 4:
                d, pace = d + 0.9, rng.uniform(4.0, 6.0)
            meets = float(cast.route.ego(time_s))
            _send(cast, kind, Motion(meets, d, time_s, v=-pace, lane=Lane.ONCOMING))
            # The next vehicle keeps its distance from the rear end of a long one.
            room_m = _TRAILING_M[kind] + 12.0
            time_s += max(rng.exponential(spacing_s), room_m / (speed + form.speed_m_s))
        else:
            time_s += 1.0


def _ahead(cast: _Cast) -> None:
    """Add a vehicle that the ego vehicle approaches, and vehicles in the other lane."""
    rng, section, form = cast.rng, cast.section, cast.section.form
    kinds = _MIX[section.street]
    middle_s = rng.uniform(cast.enters_s, max(cast.leaves_s, cast.enters_s + 0.1))
    if rng.random() < 0.75 and not cast.stops_near(middle_s, 6.0):
        kind = _draw_vehicle(cast, kinds)
        gap = rng.uniform(9.0, 22.0) + (3.0, 5.0, 6.0, 1.0, 1.0, 9.0)[kind]
        motion = Motion(
            gap,
            rng.normal(0.0, 0.15),
            middle_s,
            c=rng.uniform(0.9, 2.2),
            lane=Lane.OWN,
            with_ego=True,
            appears_s=middle_s - 15.0,
            vanishes_s=middle_s + 15.0,
        )
        _send(cast, kind, motion)
    if form.lanes < 2:
        return
    for _ in range(int(rng.integers(1, 4))):
        time_s = rng.uniform(cast.enters_s, max(cast.leaves_s, cast.enters_s + 0.1))
        kind = _draw_vehicle(cast, kinds)
        speed = rng.uniform(2.0, 6.0) * rng.choice([-1.0, 1.0], p=[0.3, 0.7])
        motion = Motion(
            rng.uniform(4.0, 12.0),
            form.lane,
            time_s,
            v=speed,
            lane=Lane.OWN,
            with_ego=True,
            appears_s=time_s - 9.0,
            vanishes_s=time_s + 14.0,
        )
        _send(cast, kind, motion)


def _cyclists(cast: _Cast) -> None:
    rng, section, form = cast.rng, cast.section, cast.section.form
    if section.street is StreetType.HIGHWAY:
        return
    for _ in range(int(rng.poisson(2.2 if section.street is StreetType.DOWNTOWN else 1.2))):
        s = rng.uniform(section.body_start, section.end)
        speed = float(rng.uniform(3.5, 5.5))
        motorcycle = bool(rng.random() < 0.4)
        edge = form.half_road - (form.margin if form.margin > 1.0 else 0.0)
        meets_s = cast.route.time_at(s - rng.uniform(6.0, 16.0))
        d = -(edge - rng.uniform(0.45, 0.8))
        cast.rider(Motion(s, d, meets_s, v=speed), motorcycle)


def _trains(cast: _Cast) -> None:
    rng, section = cast.rng, cast.section
    if section.street is StreetType.RAILWAY or (
        section.street is StreetType.RURAL and rng.random() < 0.6
    ):
        s = rng.uniform(section.body_start + 20.0, section.end - 5.0)
        speed = float(rng.choice([-1.0, 1.0]) * rng.uniform(3.0, 14.0))
        motion = Motion(s, TRACK_D_M, cast.route.time_at(s - 22.0), v=speed)
        _train(cast, motion, int(rng.integers(3, 6)), _train_paint(rng))
    if section.junction is JunctionType.LEVEL_CROSSING and section.stop_s > 0.0:
        direction = float(rng.choice([-1.0, 1.0]))
        speed = direction * rng.uniform(8.0, 12.0)
        motion = Motion(
            section.start + 6.0,
            -direction * 8.0,
            cast.stop_at_s,
            w=speed,
            appears_s=cast.stop_at_s - 12.0,
            vanishes_s=cast.stop_at_s + 20.0,
        )
        _train(cast, motion, int(rng.integers(2, 5)), _train_paint(rng))
