"""Canonical class names (ActiveSAM, contextual prompt expansion, step 1)."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType

from activesam_ros.sam3.tokenizer import cleaned, words_of

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

#: A name in lower case without spaces and ASCII punctuation -> what the text encoder reads.
CANONICAL: Mapping[str, str] = MappingProxyType({**_COMPOUNDS, **_WORD_ORDER, **_AMBIGUOUS})

# Letters and pictographs beyond ASCII stay, so that a name that has them is not in the table.
_NOT_IN_KEY = re.compile("[^a-z0-9\x80-\U0010ffff]+")


def prompt_of(name: str) -> str:
    """The words that the text encoder reads for ``name``: the name itself unless listed above."""
    return CANONICAL.get(without_punctuation(cleaned(name)), name)


def without_punctuation(name: str) -> str:
    """A ``name`` in lower case without spaces and ASCII punctuation."""
    return _NOT_IN_KEY.sub("", name)


@functools.lru_cache(maxsize=1 << 17)
def canonical_name(name: str) -> str:
    """Equal for names that are one prompt: by the table above, and by what the tokenizer ignores.

    The tokenizer ignores case, spaces, full-width forms and HTML entities. Raises
    MissingDependencyError without ``regex`` and ``ftfy``.
    """
    return " ".join(words_of(prompt_of(name)))
