"""What the ids on a recording's label topic mean in the vocabulary that is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from activesam_ros.errors import RecordingError, VocabularyError
from activesam_ros.evaluation.scoring.metrics import IGNORE_INDEX, LABEL_IDS, IdMap
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.recorded_frames import Recording
from activesam_ros.recordings.serialization import VOCABULARY

GROUND_TRUTH_VOCABULARY = "/ground_truth/vocabulary"
UNLABELLED = (IGNORE_INDEX, 65535)


@dataclass(frozen=True)
class LabelMeaning:
    """ids: from label ids to class indices. unknown: label names that are no class, so not counted.

    source: the topic that named the ids, None where they are taken for the vocabulary's own.
    """

    ids: IdMap
    unknown: tuple[str, ...]
    source: str | None


def label_meaning(recording: Recording, label_topic: str, vocabulary: Vocabulary) -> LabelMeaning:
    """By name where the recording says what its ids mean, else ids equal the vocabulary's.

    Looked for beside the label topic, then on /ground_truth/vocabulary; a name matches a class by
    its name or an alias. 255, 65535 and ids that mean no class do not count.
    Raises RecordingError when no name matches.
    """
    beside = label_topic.rsplit("/", 1)[0] + "/vocabulary"
    for topic in dict.fromkeys((beside, GROUND_TRUTH_VOCABULARY)):
        names = _names(recording, topic)
        if names:
            return _by_name(names, topic, vocabulary)
    own = {entry.id: index for index, entry in enumerate(vocabulary.classes)}
    return LabelMeaning(_ids(own, vocabulary), (), None)


def _names(recording: Recording, topic: str) -> dict[int, str]:
    """Names by id from the first vocabulary message on ``topic``; empty where there is none."""
    for message in recording.messages(topic, VOCABULARY):
        return {int(entry.id): str(entry.name) for entry in message.entries}
    return {}


def _by_name(names: Mapping[int, str], topic: str, vocabulary: Vocabulary) -> LabelMeaning:
    index_of_class = {entry.id: index for index, entry in enumerate(vocabulary.classes)}
    index_of_id: dict[int, int] = {}
    unknown: list[str] = []
    for id, name in names.items():
        try:
            index_of_id[id] = index_of_class[vocabulary.class_named(name).id]
        except VocabularyError:
            unknown.append(name)
    if not index_of_id:
        raise RecordingError(
            f"None of the {len(names)} names on {topic} ({', '.join(list(names.values())[:3])} and "
            f"so on) is a class of the vocabulary {vocabulary.name!r}; give the one that the "
            "labels were made with, or one that contains it."
        )
    return LabelMeaning(_ids(index_of_id, vocabulary), tuple(unknown), topic)


def _ids(index_of_id: Mapping[int, int], vocabulary: Vocabulary) -> IdMap:
    ignored = [id for id in range(LABEL_IDS) if id not in index_of_id or id in UNLABELLED]
    return IdMap.of(index_of_id, len(vocabulary.classes), ignored)
