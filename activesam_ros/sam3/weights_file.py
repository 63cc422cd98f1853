"""Opens a file of weights as a table of tensors, and runs nothing of what it holds.

A .pt file is a pickle in a zip archive. Its instructions are read first: only those of plain
tensors and plain values go on to PyTorch, which loads with weights_only.
"""

from __future__ import annotations

import contextlib
import io
import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from activesam_ros.errors import CheckpointError, MissingDependencyError, os_reason
from activesam_ros.regular_files import open_regular

HOW_TO_GET = "weights/README.md says where the official file comes from"
LARGEST_FILE = 64 << 30
# At full size the pickle has 300 kB.
_LARGEST_PICKLE = 16 << 20
_LONGEST_TEXT = 160

_STORAGES = (
    *("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"),
    *("ComplexDouble", "ComplexFloat"),
)
# What the pickle of plain tensors and of a training's other values may name.
_PLAIN = {
    "collections OrderedDict",
    "collections Counter",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch Size",
    "torch device",
    "torch.storage UntypedStorage",
    *(f"torch {kind}Storage" for kind in _STORAGES),
    *(f"torch {name}" for name, value in vars(torch).items() if isinstance(value, torch.dtype)),
}
_SPECIAL = {
    "torch._utils _rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils _rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch.serialization _get_layout": "a sparse tensor",
    "torch._utils _rebuild_meta_tensor_no_storage": "a meta tensor, which has no values",
    "torch._utils _rebuild_nested_tensor": "a nested tensor",
    "torch._utils _rebuild_qtensor": "a quantised tensor",
    "torch._utils _rebuild_wrapper_subclass": "a tensor of a special class",
    "torch._tensor _rebuild_from_type_v2": "a tensor of a special class",
}
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")  # names of safetensors


@dataclass(frozen=True)
class Entry:
    """A value of a file. fault: why it is no plain tensor of floats, "" if it is one."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]
    fault: str = ""
    is_tensor: bool = True


def opened_weights(path: Path) -> AbstractContextManager[Mapping[str, Entry]]:
    """The tensors of a file by name; raises CheckpointError in one sentence."""
    try:
        with open_regular(path, LARGEST_FILE) as file:
            head = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(
            f"There are no weights at {path}; {HOW_TO_GET} and where to put it."
        ) from None
    except OSError as error:
        raise CheckpointError(f"The weights {path} cannot be read: {os_reason(error)}.") from None
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a git-lfs pointer, not the weights themselves; run 'git lfs pull' there or "
            "download the file itself."
        )
    if head.lstrip()[:1] == b"<":
        raise CheckpointError(
            f"{path} is a web page, probably a login or licence page saved under the weights' "
            f"name; log in, accept the licence and download again ({HOW_TO_GET})."
        )
    if head.startswith(b"PK\x03\x04"):
        return _open_pickle(path)
    if head[8:9] == b"{":
        return _open_safetensors(path)
    if head.startswith(b"\x80"):
        raise CheckpointError(
            f"{path} is a pickle in an old or foreign format, which is never executed; "
            "save it again with torch.save, or as safetensors."
        )
    raise CheckpointError(
        f"{path} is neither a PyTorch nor a safetensors file ({len(head)} bytes looked at); "
        f"download it again ({HOW_TO_GET})."
    )


@contextlib.contextmanager
def _open_pickle(path: Path) -> Iterator[Mapping[str, Entry]]:
    try:
        _check_pickle(path, _pickle_of(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except CheckpointError:
        raise
    # PyTorch's reader raises whatever the instructions of a damaged file lead to.
    except Exception as error:
        raise _damaged(path, error) from error
    state = loaded.get("model", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a table of tensors.")
    yield {key: _entry(value) for key, value in state.items() if isinstance(key, str)}


def _pickle_of(path: Path) -> bytes:
    """The pickle in the archive; raises CheckpointError where anything is compressed."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        found = [member for member in members if member.filename.endswith("/data.pkl")]
        if len(found) != 1 or len(set(names)) != len(names):
            raise CheckpointError(
                f"{path} is a zip archive, but not one of torch.save: it has {len(found)} members "
                f"data.pkl; download it again ({HOW_TO_GET})."
            )
        for member in members:
            if (
                member.compress_type != zipfile.ZIP_STORED
                or member.file_size > member.compress_size
            ):
                raise CheckpointError(
                    f"{path} is compressed inside ({member.filename[:60]!r}), which torch.save "
                    "never does; save it again with torch.save, or as safetensors."
                )
        if found[0].file_size > _LARGEST_PICKLE:
            raise CheckpointError(
                f"{path} has {found[0].file_size:,} bytes of pickle beside its tensors, more than "
                f"the {_LARGEST_PICKLE:,} allowed; use a file of tensors only ({HOW_TO_GET})."
            )
        data = archive.read(found[0])
    # PyTorch has a zip reader of its own: what was looked at must be what it loads.
    if torch._C.PyTorchFileReader(str(path)).get_record("data.pkl") != data:
        raise CheckpointError(f"{path} is damaged: its archive can be read in two ways.")
    return data


def _check_pickle(path: Path, data: bytes) -> None:
    """Raise CheckpointError for an instruction that no table of plain tensors needs."""
    text = ""  # the last one is the name of the tensor that is made next
    for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
        if opcode.name in ("BINUNICODE", "SHORT_BINUNICODE", "UNICODE"):
            text = str(argument)
        elif opcode.name == "GLOBAL" and (argument in _SPECIAL or _is_quantised(argument)):
            kind = _SPECIAL.get(str(argument), "a quantised tensor")
            raise CheckpointError(
                f"{path}: {text[:_LONGEST_TEXT]!r} is {kind}, where a plain tensor belongs; use "
                f"the official file or one that was converted from it ({HOW_TO_GET})."
            )
        elif opcode.name == "STACK_GLOBAL" or (
            opcode.name in ("GLOBAL", "INST") and argument not in _PLAIN
        ):
            named = f" ({str(argument)[:_LONGEST_TEXT]!r})" if argument else ""
            raise CheckpointError(
                f"{path} holds Python objects beside tensors{named}, which could run code and are "
                f"never loaded; use a file of tensors only ({HOW_TO_GET})."
            )


def _is_quantised(argument: object) -> bool:
    """Whether an instruction names a storage of quantised numbers."""
    return isinstance(argument, str) and argument.startswith(("torch QInt", "torch QUInt"))


def _entry(value: Any) -> Entry:
    if not isinstance(value, Tensor):
        fault = f"a Python {type(value).__name__}"
        return Entry((), partial(_itself, value), fault, is_tensor=False)
    return Entry(tuple(value.shape), partial(_itself, value), _fault(value))


def _fault(tensor: Tensor) -> str:
    if tensor.layout != torch.strided:
        return "a sparse tensor"
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.is_quantized:
        return "a quantised tensor"
    if tensor.device.type != "cpu":
        return f"on the device {tensor.device.type} and has no values here"
    if not tensor.is_floating_point():
        return f"a tensor of {str(tensor.dtype).removeprefix('torch.')}"
    return ""


@contextlib.contextmanager
def _open_safetensors(path: Path) -> Iterator[Mapping[str, Entry]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise MissingDependencyError(
            f"{path} is a safetensors file, which needs the package: pip install safetensors."
        ) from None
    try:
        opened = safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from None
    with opened as file:
        entries = {}
        for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
            part = file.get_slice(key)
            dtype = part.get_dtype()
            fault = "" if dtype in _FLOATS else f"a tensor of {dtype}"
            entries[key] = Entry(tuple(part.get_shape()), partial(file.get_tensor, key), fault)
        yield entries


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).strip() or type(error).__name__).split("\n")[0][:_LONGEST_TEXT]
    return CheckpointError(
        f"{path} is truncated or damaged ({reason}); compare its size with the source and "
        "download it again."
    )
