"""Reads weights: the official ``sam3.pt``, or safetensors with the same key names."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from activesam_ros.errors import CheckpointError, os_reason
from activesam_ros.regular_files import check_regular, open_regular
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import Sam3ImageModel
from activesam_ros.sam3.text_encoder import TextEncoder
from activesam_ros.sam3.weights_file import HOW_TO_GET, LARGEST_FILE, Entry, opened_weights

# The prefix of each stage's official names; the rest of a name is the module's own.
IMAGE_STAGES = {
    "vision_encoder": "detector.backbone.vision_backbone",
    "geometry_encoder": "detector.geometry_encoder",
    "fusion_encoder": "detector.transformer.encoder",
    "decoder": "detector.transformer.decoder",
    "mask_head": "detector.segmentation_head",
    "scoring": "detector.dot_prod_scoring",
}
TEXT_STAGE = "detector.backbone.language_backbone"
# Parts of the video tracker, and buffers that follow from the configuration.
IGNORED_PREFIXES = ("tracker.", "detector.backbone.vision_backbone.sam2_convs.")
IGNORED_SUFFIX = ".freqs_cis"
TEXT_PROJECTION_WIDTH = 512
_BLOCK_BYTES = 1 << 20
ROI_SIDE = 7
# A tensor of the layer with the number {}, and the setting that says how many layers there are.
_LAYERS = {
    "vision_layers": f"{IMAGE_STAGES['vision_encoder']}.trunk.blocks.{{}}.norm1.weight",
    "geometry_layers": f"{IMAGE_STAGES['geometry_encoder']}.encode.{{}}.norm1.weight",
    "encoder_layers": f"{IMAGE_STAGES['fusion_encoder']}.layers.{{}}.norm1.weight",
    "decoder_layers": f"{IMAGE_STAGES['decoder']}.layers.{{}}.norm1.weight",
    "text_layers": f"{TEXT_STAGE}.encoder.transformer.resblocks.{{}}.ln_1.weight",
}


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Inside, new modules get no values: to load weights into them, or for their shapes.

    They are on the device ``meta``. Initialisation is skipped, since nn.init.normal_ there would
    import PyTorch's compiler, which takes more than a second and 150 MB.
    """
    with torch.device("meta"), _Uninitialised():
        yield


class _Uninitialised(TorchFunctionMode):
    """Turns the functions of torch.nn.init into no-ops."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == torch.nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def load_image_model(
    path: Path, config: Sam3Config, device: torch.device, dtype: torch.dtype
) -> Sam3ImageModel:
    """The image model with the file's weights, frozen, on ``device`` in ``dtype``.

    Tensors go one by one from the memory-mapped file to the device, so that memory never holds a
    second copy. Raises CheckpointError with the fault of the file and the way out.
    """
    with checked_weights(path, config) as tensors:
        with shapes_only():
            model = Sam3ImageModel(config)
        for attribute, prefix in IMAGE_STAGES.items():
            _fill(getattr(model, attribute), prefix, path, tensors, device, dtype)
    return model.eval()


def load_text_encoder(
    path: Path, config: Sam3Config, device: torch.device, dtype: torch.dtype
) -> TextEncoder:
    """The text encoder; see :func:`load_image_model` for the errors."""
    with checked_weights(path, config) as tensors:
        with shapes_only():
            encoder = TextEncoder(config)
        _fill(encoder, TEXT_STAGE, path, tensors, device, dtype)
    return encoder.eval()


def check_weights(path: Path, config: Sam3Config) -> None:
    """Check the file's keys and shapes without reading its tensors; raises CheckpointError."""
    with checked_weights(path, config):
        pass


def weights_fingerprint(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal: names results that any tensor may change.

    Reads the whole file: 3.4 GB take about 2 s from memory. Raises CheckpointError when it cannot
    be read.
    """
    digest = hashlib.sha256()
    try:
        with open_regular(path, LARGEST_FILE) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise CheckpointError(f"The weights {path} cannot be read: {os_reason(error)}.") from None
    return digest.hexdigest()


def text_fingerprint(path: Path, config: Sam3Config) -> str:
    """SHA-256 over the tensors of the text encoder, in hexadecimal: names prompts made with them.

    Reads those tensors once per process and version of the file: at full size 1.4 GB, about 1 s on
    one core. The format of the file does not matter. Raises CheckpointError as
    :func:`load_text_encoder`.
    """
    try:
        status = check_regular(path, LARGEST_FILE)
    except OSError as error:
        raise CheckpointError(f"The weights {path} cannot be read: {os_reason(error)}.") from None
    # The time of change too: whoever writes a tensor can set the other time back.
    version = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _text_fingerprint(path, version, config)


@functools.lru_cache(maxsize=4)
def _text_fingerprint(path: Path, version: tuple[int, ...], config: Sam3Config) -> str:
    unused = unused_shapes(config)
    with checked_weights(path, config) as tensors, ThreadPoolExecutor(os.cpu_count()) as pool:
        keys = sorted(key for key in tensors if key.startswith(TEXT_STAGE) and key not in unused)
        digests = pool.map(lambda key: _tensor_digest(tensors[key].read()), keys)
        lines = [f"{key} {digest}" for key, digest in zip(keys, digests, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _tensor_digest(tensor: Tensor) -> str:
    content = tensor.reshape(-1).view(torch.uint8).numpy().data
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(content).hexdigest()}"


def parameter_shapes(config: Sam3Config) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter that this package uses, by official key."""
    with shapes_only():
        image, text = Sam3ImageModel(config), TextEncoder(config)
    stages = [(prefix, getattr(image, name)) for name, prefix in IMAGE_STAGES.items()]
    return {
        f"{prefix}.{name}": tuple(parameter.shape)
        for prefix, module in [*stages, (TEXT_STAGE, text)]
        for name, parameter in module.named_parameters()
    }


def unused_shapes(config: Sam3Config) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter that text prompts do not use, by official key."""
    d = config.d_model
    vision, geometry = IMAGE_STAGES["vision_encoder"], IMAGE_STAGES["geometry_encoder"]
    shapes: dict[str, tuple[int, ...]] = {
        f"{vision}.convs.3.conv_1x1.weight": (d, config.vision_width, 1, 1),
        f"{vision}.convs.3.conv_1x1.bias": (d,),
        f"{vision}.convs.3.conv_3x3.weight": (d, d, 3, 3),
        f"{vision}.convs.3.conv_3x3.bias": (d,),
        f"{TEXT_STAGE}.encoder.text_projection": (config.text_width, TEXT_PROJECTION_WIDTH),
        f"{geometry}.label_embed.weight": (2, d),
        f"{geometry}.img_pre_norm.weight": (d,),
        f"{geometry}.img_pre_norm.bias": (d,),
    }
    projections = {
        "points_direct_project": (d, 2),
        "points_pool_project": (d, d),
        "points_pos_enc_project": (d, d),
        "boxes_direct_project": (d, 4),
        "boxes_pool_project": (d, d, ROI_SIDE, ROI_SIDE),
        "boxes_pos_enc_project": (d, d + 2),
    }
    for name, shape in projections.items():
        shapes[f"{geometry}.{name}.weight"] = shape
        shapes[f"{geometry}.{name}.bias"] = (d,)
    pixel_decoder = f"{IMAGE_STAGES['mask_head']}.pixel_decoder"
    for stage in range(2, config.mask_upsampling_stages):
        shapes[f"{pixel_decoder}.conv_layers.{stage}.weight"] = (d, d, 3, 3)
        shapes[f"{pixel_decoder}.conv_layers.{stage}.bias"] = (d,)
        shapes[f"{pixel_decoder}.norms.{stage}.weight"] = (d,)
        shapes[f"{pixel_decoder}.norms.{stage}.bias"] = (d,)
    return shapes


def is_ignored(key: str) -> bool:
    """True for official keys of the video tracker and of buffers that are not loaded."""
    return key.startswith(IGNORED_PREFIXES) or key.endswith(IGNORED_SUFFIX)


def _fill(
    module: nn.Module,
    prefix: str,
    path: Path,
    tensors: Mapping[str, Entry],
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    state = {}
    for name, _ in module.named_parameters():
        key = f"{prefix}.{name}"
        # copy=True: a memory-mapped tensor crashes the process when the file is overwritten.
        state[name] = tensor = tensors[key].read().to(device=device, dtype=dtype, copy=True)
        # The sum is quick to make, and not finite if a number is not.
        if not tensor.sum().isfinite() and not tensor.isfinite().all():
            wrong = tensor.numel() - int(tensor.isfinite().sum())
            raise CheckpointError(
                f"{path}: {wrong} of the {tensor.numel()} numbers of {key!r} are NaN or infinite "
                f"in {str(dtype).removeprefix('torch.')}; the file is damaged, or its training "
                f"failed: use another one ({HOW_TO_GET})."
            )
    module.load_state_dict(state, assign=True)
    module.requires_grad_(False)


@contextlib.contextmanager
def checked_weights(path: Path, config: Sam3Config) -> Iterator[Mapping[str, Entry]]:
    """The file's tensors by official key, once their keys and shapes are checked.

    Raises CheckpointError.
    """
    with opened_weights(path) as tensors:
        _check_layers(path, tensors, config)
        used, unused = parameter_shapes(config), unused_shapes(config)
        relevant = {
            key: entry
            for key, entry in tensors.items()
            if key in used or (entry.is_tensor and not is_ignored(key))
        }
        missing = [key for key in used if key not in relevant]
        if missing:
            raise CheckpointError(
                f"{path} lacks {len(missing)} of the {len(used)} tensors of SAM 3's image model, "
                f"the first is {missing[0]!r}. It belongs to another model or another "
                f"configuration: give the --config that belongs to it, or the official "
                f"sam3.pt ({HOW_TO_GET})."
            )
        for key, entry in relevant.items():
            expected = used.get(key, unused.get(key))
            if expected is None:
                unexpected = sum(other not in used and other not in unused for other in relevant)
                raise CheckpointError(
                    f"{path} has {unexpected} tensors that SAM 3's image model of this "
                    f"configuration does not know, the first is {key!r}; give the --config that "
                    "belongs to the file."
                )
            if entry.fault and key in used:
                raise CheckpointError(
                    f"{path}: {key!r} is {entry.fault}, where a plain tensor of floats belongs; "
                    f"use the official file or one that was converted from it ({HOW_TO_GET})."
                )
            if entry.shape != expected:
                raise CheckpointError(
                    f"{path}: {key!r} has the shape {entry.shape}, but the configuration says "
                    f"{expected}; give the --config that belongs to the file."
                )
        yield relevant


def _check_layers(path: Path, tensors: Mapping[str, Entry], config: Sam3Config) -> None:
    """Check that the file has as many layers as the configuration, before any is built."""
    for name, form in _LAYERS.items():
        layers: int = getattr(config, name)
        if form.format(layers - 1) not in tensors:
            raise CheckpointError(
                f"{path} lacks tensors of SAM 3's image model, the first is "
                f"{form.format(layers - 1)!r} ({name}={layers}). It belongs to another model or "
                f"another configuration: give the --config that belongs to it, or the official "
                f"sam3.pt ({HOW_TO_GET})."
            )
