"""Canonical class names (ActiveSAM, contextual prompt expansion, step 1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_COMPOUNDS = {
    "trafficlight": "traffic light",
    "trafficsign": "traffic sign",
    "pottedplant": "potted plant",
    "tvmonitor": "tv monitor",
    "windowpane": "window pane",
    "coffeetable": "coffee table",
    "streetlight": "street light",
    "signboard": "sign board",
    "arcademachine": "arcade machine",
    "kitchenisland": "kitchen island",
    "dirttrack": "dirt track",
    "chestofdrawers": "chest of drawers",
    "televisionreceiver": "television receiver",
    "conveyerbelt": "conveyor belt",
    "bedclothes": "bed clothes",
    "sportsball": "sports ball",
    "baseballbat": "baseball bat",
    "baseballglove": "baseball glove",
    "tennisracket": "tennis racket",
    "wineglass": "wine glass",
    "cellphone": "cell phone",
    "hairdrier": "hair drier",
    "firehydrant": "fire hydrant",
    "stopsign": "stop sign",
    "parkingmeter": "parking meter",
    "diningtable": "dining table",
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
}
_WORD_ORDER = {
    "wallbrick": "brick wall",
    "wallconcrete": "concrete wall",
    "wallstone": "stone wall",
    "walltile": "tile wall",
    "wallwood": "wooden wall",
    "wallpanel": "wall panel",
    "floormarble": "marble floor",
    "floorstone": "stone floor",
    "floortile": "tile floor",
    "floorwood": "wooden floor",
    "ceilingtile": "tile ceiling",
    "windowblind": "window blind",
}
_AMBIGUOUS = {
    "tie": "necktie",
    "remote": "remote control",
    "mouse": "computer mouse",
    "monitor": "computer monitor",
    "ashcan": "trash can",
    "plaything": "toy",
    "buffet": "sideboard",
}

#: A name in lower case without anything but a-z and 0-9 -> the words that the text encoder reads.
CANONICAL: Mapping[str, str] = MappingProxyType({**_COMPOUNDS, **_WORD_ORDER, **_AMBIGUOUS})

_NOT_IN_KEY = re.compile("[^a-z0-9]+")


def canonical(name: str) -> str:
    """The words that the text encoder reads for ``name``: the name itself unless listed above."""
    return CANONICAL.get(_NOT_IN_KEY.sub("", name.lower()), name)
