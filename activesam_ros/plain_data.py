"""Dataclasses, arrays and collections as bytes, and back by their type hints; nothing executable.

The bytes are a safetensors file: JSON in the tensor ``content``, and arrays and byte strings beside
it. Whatever a field does not say is refused, so that damaged or hostile bytes make no other object.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from activesam_ros.errors import PlainDataError

_Value = TypeVar("_Value")
_CONTENT = "content"
# What a float may be written as.
_INTEGERS = range(-(1 << 53), (1 << 53) + 1)
_NO_ARRAYS: Mapping[str, NDArray[Any]] = {}


def to_bytes(value: object) -> bytes:
    """The bytes of a value whose type :func:`from_bytes` knows; raises TypeError for others."""
    arrays: list[NDArray[Any]] = []
    text = json.dumps(_plain(value, arrays)).encode()
    stored = {str(index): np.ascontiguousarray(array) for index, array in enumerate(arrays)}
    return save({_CONTENT: np.frombuffer(text, np.uint8), **stored})


def from_bytes(data: bytes, kind: type[_Value]) -> _Value:
    """The value of type ``kind``, a dataclass, in ``data``.

    Fields may be dataclasses, enumerations, None, bool, int, float, str, bytes, Path, arrays of one
    dtype, and tuples, lists, mappings, counters and unions of them. Raises PlainDataError.
    """
    try:
        arrays = load(data)
    except (SafetensorError, LookupError, ValueError, TypeError) as error:
        raise PlainDataError(f"its content cannot be read: {error}") from error
    text = arrays.pop(_CONTENT, np.zeros(0, np.uint8)).tobytes()
    return from_json(text, kind, arrays)


def from_json(
    text: bytes | str, kind: type[_Value], arrays: Mapping[str, NDArray[Any]] = _NO_ARRAYS
) -> _Value:
    """The value of type ``kind`` that JSON alone says; see :func:`from_bytes`."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlainDataError(f"its content cannot be read: {error}") from error
    value: _Value = _typed(tree, kind, arrays)
    return value


def _plain(value: object, arrays: list[NDArray[Any]]) -> object:
    """What JSON can say of ``value``; arrays and byte strings become indices of ``arrays``."""
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (bytes, np.ndarray)):
        array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
        arrays.append(array)
        return len(arrays) - 1
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name), arrays) for field in fields}
    if isinstance(value, Mapping):
        return [[_plain(key, arrays), _plain(item, arrays)] for key, item in value.items()]
    if isinstance(value, Sequence):
        return [_plain(item, arrays) for item in value]
    raise TypeError(f"a {type(value).__name__} is no plain data")


def _typed(tree: Any, hint: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """``tree`` as the type ``hint``; raises PlainDataError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _one_of(tree, arguments, arrays)
    if origin is np.ndarray:
        return _array(tree, np.dtype(typing.get_args(arguments[-1])[0]), arrays)
    if hint is bytes:
        return _array(tree, np.dtype(np.uint8), arrays).tobytes()
    if dataclasses.is_dataclass(hint):
        return _dataclass(tree, hint, arrays)
    if origin in (dict, Mapping, Counter):
        return _mapping(tree, origin, arguments, arrays)
    if origin in (tuple, list, Sequence):
        return _items(tree, origin, arguments, arrays)
    if hint is float and (type(tree) is float or (type(tree) is int and tree in _INTEGERS)):
        return float(tree)
    if hint in (bool, int, str, types.NoneType) and type(tree) is hint:
        return tree
    if isinstance(hint, type) and issubclass(hint, (enum.Enum, Path)):
        return _made(hint, tree) if type(tree) is str else _refuse(tree, hint)
    return _refuse(tree, hint)


def _one_of(tree: Any, hints: Sequence[Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
    for hint in hints:
        try:
            return _typed(tree, hint, arrays)
        except PlainDataError:
            continue
    return _refuse(tree, " | ".join(map(_name, hints)))


def _array(tree: Any, dtype: np.dtype[Any], arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    array = arrays.get(str(tree)) if type(tree) is int else None
    if array is None or array.dtype != dtype:
        _refuse(tree if array is None else array.dtype, f"an array of {dtype}")
    assert array is not None
    return array


def _dataclass(tree: Any, kind: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    hints = _field_hints(kind)
    if not isinstance(tree, dict) or tree.keys() != hints.keys():
        _refuse(sorted(tree) if isinstance(tree, dict) else tree, kind)
    values = {name: _typed(tree[name], hint, arrays) for name, hint in hints.items()}
    return kind(**values)


def _mapping(
    tree: Any, kind: Any, hints: Sequence[Any], arrays: Mapping[str, NDArray[Any]]
) -> dict[Any, Any]:
    of_keys, of_values = (hints[0], int) if kind is Counter else hints
    found: dict[Any, Any] = Counter() if kind is Counter else {}
    for entry in tree if isinstance(tree, list) else _refuse(tree, kind):
        if not isinstance(entry, list) or len(entry) != 2:
            _refuse(entry, "a key and a value")
        key = _typed(entry[0], of_keys, arrays)
        if key in found:
            _refuse(entry[0], "a key that is there once")
        found[key] = _typed(entry[1], of_values, arrays)
    return found


def _items(
    tree: Any, kind: Any, hints: Sequence[Any], arrays: Mapping[str, NDArray[Any]]
) -> Sequence[Any]:
    if not isinstance(tree, list):
        _refuse(tree, kind)
    if kind is tuple and hints[-1] is not Ellipsis:
        if len(tree) != len(hints):
            _refuse(tree, f"{len(hints)} values")
        return tuple(_typed(item, hint, arrays) for item, hint in zip(tree, hints, strict=True))
    values = [_typed(item, hints[0], arrays) for item in tree]
    return values if kind is list else tuple(values)


def _made(kind: Any, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        return _refuse(text, kind)


def _refuse(found: object, expected: Any) -> Any:
    text = repr(found) if isinstance(found, (str, float, bool)) else type(found).__name__
    raise PlainDataError(f"{text[:60]} is in the place of {_name(expected)}")


def _name(hint: Any) -> str:
    return hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))


@functools.cache
def _field_hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
