"""The world of a seed: what surrounds the ego vehicle at a given time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from activesam_ros.demo.world import figures
from activesam_ros.demo.world.ground import Ground, GroundWindow
from activesam_ros.demo.world.layout import Placed
from activesam_ros.demo.world.mesh import Floats, Mesh, MeshGroups, joined
from activesam_ros.demo.world.route import Section, plan_route
from activesam_ros.demo.world.streets import lay_out
from activesam_ros.demo.world.traffic import Agent, Lane, Pose, cast_agents, lane_center
from activesam_ros.demo.world.weather import draw_conditions

VIEW_AHEAD_M = 150.0
# What stands behind a forward camera matters only for its shadow.
SHADOWS_BEHIND_M = 40.0
MOVING_BEHIND_M = 15.0
# The ego vehicle meets the agents of a section there, but may see them from other sections.
CAST_REACH_M = 260.0
KEPT_SECTIONS = 12


@dataclass(frozen=True)
class Surroundings:
    """Everything around the ego vehicle, in vehicle coordinates, and its own motion.

    sun: unit vector [3] to the sun; heading_rad: in the world; speed_m_s: of the ego vehicle.
    """

    mesh: Mesh
    window: GroundWindow
    sun: Floats
    heading_rad: float
    speed_m_s: float


class World:
    """Route, streets, traffic and weather of one seed. Several threads may use it."""

    def __init__(self, seed: int, duration_s: float) -> None:
        self.seed = seed
        self.route = plan_route(seed, duration_s)
        self.ground = Ground(seed, self.route)
        self.conditions = draw_conditions(np.random.default_rng([seed, 8]))
        self._layout = lru_cache(KEPT_SECTIONS)(self._lay_out)
        self._cast = lru_cache(KEPT_SECTIONS)(self._cast_agents)

    def _lay_out(self, index: int) -> Placed:
        return lay_out(self.seed, self.route.sections[index], self.route)

    def _cast_agents(self, index: int) -> tuple[Agent, ...]:
        return cast_agents(self.seed, self.route.sections[index], self.route)

    def ego_pose(self, time_s: float) -> tuple[float, float, float, float]:
        """World x, y, heading and s of the ego vehicle."""
        s = float(self.route.ego(time_s))
        before, after = (lane_center(self.route, s + step, Lane.OWN) for step in (-2.0, 2.0))
        x, y, heading = self.route.world(s, lane_center(self.route, s, Lane.OWN))
        return float(x), float(y), float(heading) + math.atan2(after - before, 4.0), s

    def surroundings(self, time_s: float, all_around: bool = False) -> Surroundings:
        """The surroundings at ``time_s``; ``all_around``: also what is far behind the vehicle."""
        x, y, heading, s = self.ego_pose(time_s)
        meshes = []
        behind = VIEW_AHEAD_M if all_around else SHADOWS_BEHIND_M
        for section in self.route.sections_between(s - behind, s + VIEW_AHEAD_M):
            placed = self._layout(section.index)
            lights = placed.red if self._is_red(section, time_s) else placed.green
            offset = (placed.origin[0] - x, placed.origin[1] - y, 0.0)
            meshes += [
                _cut(part.placed(offset, 0.0), heading, behind) for part in (placed.static, lights)
            ]
        meshes += self._moving(time_s, x, y, s, behind if all_around else MOVING_BEHIND_M)
        ahead_s = min(time_s + 0.2, (len(self.route.ego_s) - 1) * 0.1)
        speed = max(float(self.route.ego(ahead_s)) - s, 0.0) / max(ahead_s - time_s, 0.05)
        cos, sin = math.cos(heading), math.sin(heading)
        east, north, up = self.conditions.sun_direction
        sun = np.array([cos * east + sin * north, cos * north - sin * east, up], np.float32)
        return Surroundings(
            mesh=joined(meshes).placed((0.0, 0.0, 0.0), -heading),
            window=self.ground.window(s, (x, y, heading)),
            sun=sun,
            heading_rad=heading,
            speed_m_s=speed,
        )

    def _is_red(self, section: Section, time_s: float) -> bool:
        return section.stop_s > 0.0 and time_s < self.route.time_at(section.start - 4.6)

    def _moving(self, time_s: float, x: float, y: float, s: float, behind: float) -> list[Mesh]:
        meshes = []
        for section in self.route.sections_between(s - CAST_REACH_M, s + CAST_REACH_M):
            for agent in self._cast(section.index):
                motion = agent.motion
                if not motion.appears_s <= time_s <= motion.vanishes_s:
                    continue
                place, d, yaw = motion.at(time_s, self.route)
                if not -behind < place - s < VIEW_AHEAD_M or abs(d) > 90.0:
                    continue
                at_x, at_y, street = self.route.world(place, d)
                mesh = _agent_mesh(agent, time_s)
                offset = (float(at_x) - x, float(at_y) - y, 0.0)
                meshes.append(mesh.placed(offset, float(street) + yaw, agent.instance))
        return meshes


def _cut(mesh: Mesh, heading: float, behind: float) -> Mesh:
    """Drop the groups that are too far away to be seen."""
    forward = mesh.groups.center[:, 0] * math.cos(heading) + mesh.groups.center[:, 1] * math.sin(
        heading
    )
    keep = (forward > -behind) & (forward < VIEW_AHEAD_M)
    if keep.all():
        return mesh
    faces, rods = keep[mesh.faces["group"]], keep[mesh.rods["group"]]
    number = np.cumsum(keep) - 1
    kept_faces, kept_rods = mesh.faces[faces], mesh.rods[rods]
    kept_faces["group"] = number[kept_faces["group"]]
    kept_rods["group"] = number[kept_rods["group"]]
    return Mesh(
        corners=mesh.corners[faces],
        uv=mesh.uv[faces],
        faces=kept_faces,
        ends=mesh.ends[rods],
        radii=mesh.radii[rods],
        rods=kept_rods,
        groups=mesh.groups.take(keep),
    )


def _agent_mesh(agent: Agent, time_s: float) -> Mesh:
    """The agent at ``time_s``, in its own frame."""
    if agent.figure is None:
        if agent.mesh is None:
            raise ValueError("An agent needs a mesh or a figure.")
        return agent.mesh
    figure = agent.figure
    turn = agent.phase + 2.0 * math.pi * agent.pace_hz * time_s
    if agent.pose is Pose.WALKING:
        stride = min(agent.pace_hz, 1.0)
        ends = figures.walking_pose(figure.height, turn, stride)
    else:
        ends = figures.riding_pose(figure.height, turn, agent.pose is Pose.MOTORCYCLING)
    shown = figure.radii[:, 0] > 0.0
    groups = MeshGroups(
        center=np.array([[0.0, 0.0, figure.height / 2]], np.float32),
        footprint=np.array([[0.35, 0.45, figure.height]], np.float32),
        yaw=np.zeros(1, np.float32),
        instance=np.zeros(1, np.uint16),
        far=np.zeros(1, np.bool_),
    )
    empty = joined([])
    body = replace(
        empty, ends=ends[shown], radii=figure.radii[shown], rods=figure.rods[shown], groups=groups
    )
    if agent.mesh is None:
        return body
    # Rider and machine are one group, so that their parts are sorted together.
    mesh = agent.mesh
    return replace(
        mesh,
        ends=np.concatenate([mesh.ends, body.ends]),
        radii=np.concatenate([mesh.radii, body.radii]),
        rods=np.concatenate([mesh.rods, body.rods]),
    )
