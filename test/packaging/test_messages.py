"""The generated messages and the service have exactly the fields that others build on."""

from __future__ import annotations

from typing import Any

import pytest
from activesam_ros.msg import ActiveClass, ActiveClasses, Vocabulary, VocabularyEntry
from activesam_ros.srv import SetVocabulary

FIELDS: dict[Any, dict[str, str]] = {
    ActiveClass: {
        "id": "uint16",
        "name": "string",
        "presence": "float",
        "pixel_fraction": "float",
        "reason": "uint8",
    },
    ActiveClasses: {
        "header": "std_msgs/Header",
        "vocabulary_version": "uint32",
        "vocabulary_size": "uint32",
        "classes": "sequence<activesam_ros/ActiveClass>",
        "latency_ms": "float",
        "degradation": "uint8",
    },
    VocabularyEntry: {
        "id": "uint16",
        "name": "string",
        "color": "std_msgs/ColorRGBA",
        "pinned": "boolean",
    },
    Vocabulary: {
        "header": "std_msgs/Header",
        "version": "uint32",
        "entries": "sequence<activesam_ros/VocabularyEntry>",
    },
}
REQUEST = {"preset": "string", "names": "sequence<string>"}
RESPONSE = {
    "success": "boolean",
    "message": "string",
    "version": "uint32",
    "effective_from": "builtin_interfaces/Time",
}


def fields(message: Any) -> list[tuple[str, str]]:
    """Names and types of a message class in order, without what later distributions add."""
    return [
        (name, kind)
        for name, kind in message.get_fields_and_field_types().items()
        if not name.startswith("_")
    ]


@pytest.mark.parametrize("message", FIELDS, ids=lambda message: message.__name__)
def test_message_fields_in_order(message: Any) -> None:
    assert fields(message) == list(FIELDS[message].items())


def test_service_fields_in_order() -> None:
    assert fields(SetVocabulary.Request) == list(REQUEST.items())
    assert fields(SetVocabulary.Response) == list(RESPONSE.items())


def test_reasons_are_numbered_as_documented() -> None:
    reasons = ActiveClass
    assert (reasons.UNPRUNED, reasons.PREVIEWED, reasons.PINNED, reasons.CARRIED) == (0, 1, 2, 3)


def test_degradations_are_numbered_as_documented() -> None:
    names = ("NOTHING", "PREVIEWS", "CLASSES", "RESOLUTION")
    assert [getattr(ActiveClasses, name) for name in names] == [0, 1, 2, 3]


def test_message_survives_serialization() -> None:
    from rclpy.serialization import deserialize_message, serialize_message

    sent = ActiveClasses(
        vocabulary_version=7,
        vocabulary_size=65535,
        classes=[ActiveClass(id=65534, name="crosswalk", reason=ActiveClass.PINNED)],
        latency_ms=12.5,
    )
    sent.header.frame_id = "camera"
    assert deserialize_message(serialize_message(sent), ActiveClasses) == sent
