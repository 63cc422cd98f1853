"""Open-vocabulary semantic segmentation in real time for ROS 2: SAM 3, ActiveSAM, SparseSAM.

The names in ``__all__`` are the package's Python interface. Each is imported from its module when
it is first used, so that ``import activesam_ros`` stays quick and needs no PyTorch.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from activesam_ros.errors import ActiveSamError
    from activesam_ros.image_files import read_image
    from activesam_ros.pipeline import Network, NetworkOptions, load_network
    from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
    from activesam_ros.prompts.vocabulary_files import load_vocabulary
    from activesam_ros.segmentation.methods import Method
    from activesam_ros.segmentation.overlay import draw_overlay
    from activesam_ros.segmentation.result import ActiveClass, Segmentation
    from activesam_ros.segmentation.segmenter import Segmenter
    from activesam_ros.settings import Settings
    from activesam_ros.streaming.streams import StreamingSegmenter

__version__ = "0.1.0"
__all__ = [
    "ActiveClass",
    "ActiveSamError",
    "Method",
    "Network",
    "NetworkOptions",
    "Segmentation",
    "Segmenter",
    "Settings",
    "StreamingSegmenter",
    "Vocabulary",
    "draw_overlay",
    "load_network",
    "load_vocabulary",
    "read_image",
    "vocabulary_from_names",
]

# A module imported from the checkout finds the messages that colcon generated in the overlay.
__path__ = extend_path(__path__, __name__)

_NAMES_OF_MODULE = {
    "errors": ("ActiveSamError",),
    "image_files": ("read_image",),
    "pipeline": ("Network", "NetworkOptions", "load_network"),
    "prompts.vocabulary": ("Vocabulary", "vocabulary_from_names"),
    "prompts.vocabulary_files": ("load_vocabulary",),
    "segmentation.methods": ("Method",),
    "segmentation.overlay": ("draw_overlay",),
    "segmentation.result": ("ActiveClass", "Segmentation"),
    "segmentation.segmenter": ("Segmenter",),
    "settings": ("Settings",),
    "streaming.streams": ("StreamingSegmenter",),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    for module, names in _NAMES_OF_MODULE.items():
        if name in names:
            value: object = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
