"""Places meshes in a section of street."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from activesam_ros.demo.world import structures
from activesam_ros.demo.world.mesh import Mesh, Texture, joined
from activesam_ros.demo.world.route import Route, Section

INSTANCES_PER_SECTION = 800
SIDES = (1.0, -1.0)
CITY_FACADES = (
    Texture.FACADE_BRICK,
    Texture.FACADE_OFFICE,
    Texture.FACADE_OLD,
    Texture.FACADE_GLASS,
)


@dataclass(frozen=True)
class Placed:
    """The meshes of a section relative to ``origin`` (x, y); red, green: its lights."""

    origin: tuple[float, float]
    static: Mesh
    red: Mesh
    green: Mesh


class Layout:
    """Places meshes at road coordinates (s, d) of one section, in metres."""

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
        """Put the origin of ``mesh`` at (s, d) and turn it by ``yaw`` relative to the street."""
        self._placed.append(self._moved(mesh, s, d, yaw, instance))

    def place_light(self, red: Mesh, green: Mesh, s: float, d: float, yaw: float = 0.0) -> None:
        """Place a traffic light that changes between two meshes."""
        self._lights[True].append(self._moved(red, s, d, yaw, 0))
        self._lights[False].append(self._moved(green, s, d, yaw, 0))

    def _moved(self, mesh: Mesh, s: float, d: float, yaw: float, instance: int) -> Mesh:
        x, y, heading = self.route.world(s, d)
        position = (float(x) - self._origin[0], float(y) - self._origin[1], 0.0)
        return mesh.placed(position, float(heading) + yaw, instance)

    def next_instance(self, count: int = 1) -> int:
        """The first of ``count`` numbers that no object nearby has."""
        first = self._instance + 1
        self._instance += count
        return first

    def result(self) -> Placed:
        """The meshes placed so far."""
        return Placed(
            self._origin,
            joined(self._placed),
            joined(self._lights[True]),
            joined(self._lights[False]),
        )


def span(layout: Layout) -> tuple[float, float]:
    """The stretch (s, s) between the junction and the end of the section, with a margin of 1 m."""
    return layout.section.body_start + 1.0, layout.section.end - 1.0


def some_tree(rng: np.random.Generator, low: float, high: float) -> Mesh:
    """A tree of any kind, ``low`` to ``high`` metres tall."""
    return structures.tree(
        rng, rng.uniform(low, high), structures.leaf_tint(rng), bool(rng.random() < 0.2)
    )


def stretch(start: float, end: float, longest: float) -> list[tuple[float, float]]:
    """[start, end) in equal parts of at most ``longest`` metres."""
    count = max(1, math.ceil((end - start) / longest))
    edges = np.linspace(start, end, count + 1)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
