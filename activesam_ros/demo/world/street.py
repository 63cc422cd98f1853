"""Everything that stands in a section of street."""

from __future__ import annotations

from activesam_ros.demo.world.layout import SIDES, Layout, Placed
from activesam_ros.demo.world.route import Route, Section, StreetType
from activesam_ros.demo.world.street_fronts import FRONTS
from activesam_ros.demo.world.street_furniture import (
    add_background,
    add_furniture,
    add_junction,
    add_median,
    add_parked,
)


def lay_out(seed: int, section: Section, route: Route) -> Placed:
    """Everything that stands in ``section``."""
    layout = Layout(seed, section, route)
    add_junction(layout)
    for side in SIDES:
        FRONTS[section.street](layout, side)
        add_parked(layout, side)
        add_furniture(layout, side)
        add_background(layout, side)
    if section.street is StreetType.HIGHWAY:
        add_median(layout)
    return layout.result()
