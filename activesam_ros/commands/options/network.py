"""Options that several commands share: weights, device, vocabulary, settings, method."""

from __future__ import annotations

import argparse
from pathlib import Path

from activesam_ros.errors import UsageError
from activesam_ros.pipeline import DTYPES, NetworkOptions
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary, vocabulary_from_classes
from activesam_ros.resources import default_weights
from activesam_ros.segmentation.methods import Method, default_settings
from activesam_ros.settings import SETTINGS, Settings

METHODS = tuple(method.value for method in Method)


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """--weights, --config, --device, --dtype, --cache-dir, --vocabulary, --classes and --set."""
    add_weights_arguments(parser)
    add_device_argument(parser)
    parser.add_argument(
        "--dtype",
        default="auto",
        choices=DTYPES,
        help="precision (default: bfloat16 on a GPU, float32 on a CPU)",
    )
    add_cache_argument(parser)
    add_vocabulary_arguments(parser)


def add_weights_arguments(
    parser: argparse.ArgumentParser,
    default: str = "weights/sam3.pt if it is there, else the demo weights",
) -> None:
    """--weights and --config; ``default`` says what stands for weights that are not named."""
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="PATH",
        help=f"sam3.pt or a safetensors file (default: {default})",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="JSON",
        help="the network's dimensions (default: config.json beside the weights, else full size)",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="auto, cpu, cuda or cuda:N (default: a GPU if there is one)",
    )


def add_cache_argument(parser: argparse.ArgumentParser) -> None:
    """--cache-dir."""
    parser.add_argument(
        "--cache-dir",
        type=Path,
        metavar="DIR",
        help="where compiled prompts are kept (default: the user's cache folder)",
    )


def add_vocabulary_arguments(parser: argparse.ArgumentParser, *, positional: bool = False) -> None:
    """--vocabulary, or the vocabulary as a positional argument, --classes and --set."""
    description = "a bundled vocabulary, a YAML file, or a text file with one class a line"
    if positional:
        parser.add_argument("vocabulary", nargs="?", metavar="NAME|FILE", help=description)
    else:
        parser.add_argument("--vocabulary", metavar="NAME|FILE", help=description)
    add_classes_argument(parser)
    add_set_argument(parser)


def add_classes_argument(parser: argparse._ActionsContainer) -> None:
    """--classes, in a parser or a group."""
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help='class names instead of a vocabulary: "road, car, person", or with aliases '
        '"road; car, automobile; person"',
    )


def add_set_argument(parser: argparse._ActionsContainer) -> None:
    """--set, any number of times."""
    parser.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting; may be given several times: "
        + ", ".join(setting.name for setting in SETTINGS),
    )


def add_method_argument(parser: argparse._ActionsContainer) -> None:
    """--method with one method."""
    parser.add_argument(
        "--method",
        choices=METHODS,
        default=Method.ACTIVESAM2.value,
        help="default: %(default)s, ActiveSAM 2; activesam is its first version, full prunes no "
        "class, segearth is SegEarth-OV3, sam3 is plain SAM 3",
    )


def add_methods_argument(parser: argparse.ArgumentParser) -> None:
    """--method with one method or several, separated by commas."""
    parser.add_argument(
        "--method",
        default=Method.ACTIVESAM2.value,
        metavar="METHOD[,METHOD]...",
        help=f"one or more of {', '.join(METHODS)} (default: %(default)s)",
    )


def network_options(args: argparse.Namespace) -> NetworkOptions:
    """The network that the options of add_network_arguments describe."""
    return NetworkOptions(
        weights=weights_from(args),
        config=args.config,
        device=args.device,
        dtype=args.dtype,
        cache_dir=args.cache_dir,
    )


def weights_from(args: argparse.Namespace) -> Path:
    """The weights that --weights names, else :func:`default_weights`."""
    weights: Path | None = args.weights
    return default_weights() if weights is None else weights


def vocabulary_from(args: argparse.Namespace, default: str | None = None) -> Vocabulary:
    """The vocabulary that --vocabulary names or --classes lists, else ``default``.

    Raises UsageError if both are given, or neither and there is no default.
    """
    if args.vocabulary is not None and args.classes is not None:
        raise UsageError(
            f"The vocabulary {args.vocabulary!r} and --classes are both given; give one of them."
        )
    if args.classes is not None:
        return vocabulary_from_classes(args.classes)
    name = args.vocabulary or default
    if not name:
        raise UsageError(
            "No class is named; give a vocabulary, such as driving, or --classes 'road, car, "
            "person'."
        )
    return load_vocabulary(name)


def settings_from(args: argparse.Namespace, method: Method) -> Settings:
    """The default settings of the method, changed by every --set; raises SettingsError."""
    return default_settings(method).assign(args.assignments)


def method_from(args: argparse.Namespace) -> Method:
    """The method that --method names."""
    return Method(args.method)


def methods_from(args: argparse.Namespace) -> tuple[Method, ...]:
    """The methods that --method names, each once, in the order given; raises UsageError."""
    names = [name.strip() for name in args.method.split(",")]
    for name in names:
        if name not in METHODS:
            raise UsageError(f"--method {name!r} is unknown; give one of {', '.join(METHODS)}.")
    return tuple(Method(name) for name in dict.fromkeys(names))
