"""Light and weather of a drive."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Rgb = tuple[float, float, float]
_T = TypeVar("_T")


class TimeOfDay(enum.Enum):
    """The time of day, which sets the height of the sun."""

    DAY = "day"
    DUSK = "dusk"
    NIGHT = "night"


class Sky(enum.Enum):
    """The state of the sky."""

    CLEAR = "clear"
    OVERCAST = "overcast"
    RAIN = "rain"
    FOG = "fog"


TIME_SHARES = {TimeOfDay.DAY: 0.68, TimeOfDay.DUSK: 0.16, TimeOfDay.NIGHT: 0.16}
# Roughly what the automatic exposure of a camera chooses.
EXPOSURE = {TimeOfDay.DAY: 1.0, TimeOfDay.DUSK: 1.2, TimeOfDay.NIGHT: 1.45}
SKY_SHARES = {Sky.CLEAR: 0.42, Sky.OVERCAST: 0.30, Sky.RAIN: 0.16, Sky.FOG: 0.12}


@dataclass(frozen=True)
class Conditions:
    """Light and weather of a whole drive. Colours are RGB factors around 1.

    sun_direction: unit vector to the sun (at night to the moon) in world coordinates.
    shade: share of the light on the ground that a shadow leaves. extinction_per_m: of fog and haze.
    wetness, rain, lamps: 0 to 1. noise_level: standard deviation in grey levels of 255.
    """

    time: TimeOfDay
    sky: Sky
    sun_direction: NDArray[np.float32]
    sun: Rgb
    ambient: Rgb
    zenith: Rgb
    horizon: Rgb
    cloud_cover: float
    cloud_color: Rgb
    extinction_per_m: float
    haze: Rgb
    shade: float
    wetness: float
    rain: float
    lamps: float
    noise_level: float
    blur_px: float
    white_balance: Rgb
    exposure: float
    contrast: float


def draw_conditions(rng: np.random.Generator) -> Conditions:
    """Draw conditions with the shares above."""
    time = _choice(rng, TIME_SHARES)
    sky = _choice(rng, SKY_SHARES)
    clear = sky is Sky.CLEAR
    azimuth = rng.uniform(-math.pi, math.pi)
    elevation = math.radians(
        rng.uniform(25.0, 65.0) if time is TimeOfDay.DAY else rng.uniform(7.0, 16.0)
    )
    sun_direction = np.array(
        [
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ],
        np.float32,
    )
    if time is TimeOfDay.DAY:
        warm = rng.uniform(0.0, 0.10)
        sun = _scaled((1.0 + warm, 0.98, 0.92 - warm), 0.85 if clear else 0.12)
        ambient = _scaled((0.92, 0.97, 1.06), 0.42 if clear else rng.uniform(0.66, 0.86))
        zenith = (0.24, 0.44, 0.80) if clear else (0.64, 0.68, 0.73)
        horizon = (0.72, 0.82, 0.93) if clear else (0.80, 0.82, 0.84)
        clouds = (0.97, 0.97, 0.98) if clear else (0.60, 0.62, 0.66)
    elif time is TimeOfDay.DUSK:
        sun = _scaled((1.15, 0.72, 0.42), 0.62 if clear else 0.10)
        ambient = _scaled((0.84, 0.86, 1.0), rng.uniform(0.30, 0.42))
        zenith = (0.22, 0.30, 0.52) if clear else (0.36, 0.38, 0.44)
        horizon = (0.95, 0.66, 0.46) if clear else (0.58, 0.54, 0.54)
        clouds = (0.80, 0.55, 0.50) if clear else (0.36, 0.36, 0.40)
    else:
        sun = _scaled((0.8, 0.9, 1.1), 0.04)
        ambient = _scaled((0.86, 0.92, 1.15), rng.uniform(0.13, 0.22))
        zenith = (0.02, 0.03, 0.07)
        horizon = (0.13, 0.12, 0.14)
        clouds = (0.10, 0.10, 0.12)
    dim = {Sky.CLEAR: 1.0, Sky.OVERCAST: 0.93, Sky.RAIN: 0.80, Sky.FOG: 0.90}[sky]
    extinction = {
        Sky.CLEAR: rng.uniform(0.0006, 0.0022),
        Sky.OVERCAST: rng.uniform(0.001, 0.004),
        Sky.RAIN: rng.uniform(0.004, 0.010),
        Sky.FOG: rng.uniform(0.014, 0.032),
    }[sky]
    raining = sky is Sky.RAIN
    night = time is TimeOfDay.NIGHT
    haze = horizon if sky is not Sky.FOG else _scaled((0.97, 0.98, 1.0), 0.18 if night else 0.74)
    return Conditions(
        time=time,
        sky=sky,
        sun_direction=sun_direction,
        sun=_scaled(sun, dim),
        ambient=_scaled(ambient, dim),
        zenith=_scaled(zenith, dim),
        horizon=_scaled(horizon, dim),
        cloud_cover=rng.uniform(-0.6, 0.7) if clear else rng.uniform(0.9, 1.6),
        cloud_color=clouds,
        extinction_per_m=extinction,
        haze=_scaled(haze, dim),
        shade=(0.42 if clear and not night else 0.86),
        wetness=rng.uniform(0.5, 1.0) if raining else 0.0,
        rain=rng.uniform(0.4, 1.0) if raining else 0.0,
        lamps=1.0 if night else (rng.uniform(0.2, 0.6) if time is TimeOfDay.DUSK else 0.0),
        noise_level=rng.uniform(4.0, 8.0) if night else rng.uniform(1.2, 4.0),
        blur_px=rng.uniform(0.45, 0.95),
        white_balance=(rng.uniform(0.95, 1.06), 1.0, rng.uniform(0.94, 1.06)),
        exposure=EXPOSURE[time] * rng.uniform(0.95, 1.25),
        contrast=rng.uniform(0.92, 1.10),
    )


def _scaled(color: Rgb, factor: float) -> Rgb:
    red, green, blue = color
    return red * factor, green * factor, blue * factor


def _choice(rng: np.random.Generator, shares: dict[_T, float]) -> _T:
    return list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]
