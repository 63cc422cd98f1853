"""Map the ids on a recording's label topic to classes of the evaluated vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from activesam_ros.errors import RecordingError, VocabularyError
from activesam_ros.evaluation.scoring.metrics import IGNORE_INDEX, LABEL_IDS, IdMap
from activesam_ros.evaluation.scoring.results import percent
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.recorded_frames import Recording
from activesam_ros.recordings.serialization import VOCABULARY

GROUND_TRUTH_VOCABULARY = "/ground_truth/vocabulary"
UNLABELLED = (IGNORE_INDEX, 65535)


@dataclass(frozen=True)
class LabelMeaning:
    """ids: from label ids to class indices. unknown: label names outside the vocabulary, by id.

    Pixels with unknown names do not count. source: the topic that named the ids, None when they
    are taken as the ids of the vocabulary.
    """

    ids: IdMap
    unknown: Mapping[int, str]
    source: str | None

    def uncounted(self, pixels: Mapping[int, int]) -> dict[str, int]:
        """Pixels by label for those that do not count, of ``pixels`` by id; most pixels first.

        Ids that mean "not labelled" are left out. An id without a name is called "id 7".
        """
        found: Counter[str] = Counter()
        for id, number in pixels.items():
            if id not in UNLABELLED and self.ids.table[id] < 0:
                found[self.unknown.get(id, f"id {id}")] += number
        return dict(found.most_common())


def uncounted_text(recording: Mapping[str, Any]) -> str:
    """Which labels do not count, from the entry ``recording`` of results.json; "" if all do."""
    pixels: Mapping[str, int] = recording.get("uncounted_labels", {})
    names = dict.fromkeys((*pixels, *recording.get("label_names_not_in_vocabulary", ())))
    if not names:
        return ""
    total = recording.get("label_pixels") or 0
    shares = (
        f"{name} ({percent(pixels.get(name, 0) / total) if total else 0} %)" for name in names
    )
    return (
        f"These labels are no class of the vocabulary and do not count, in % of the labelled "
        f"pixels: {', '.join(shares)}."
    )


def label_meaning(recording: Recording, label_topic: str, vocabulary: Vocabulary) -> LabelMeaning:
    """Match label ids by the names in the recording; without names, by the vocabulary's ids.

    Names come from the topic ``vocabulary`` beside the label topic, else from
    /ground_truth/vocabulary. A name matches the name or an alias of a class. 255, 65535 and ids
    without a class do not count. Raises RecordingError when no name matches.
    """
    beside = label_topic.rsplit("/", 1)[0] + "/vocabulary"
    for topic in dict.fromkeys((beside, GROUND_TRUTH_VOCABULARY)):
        names = _names(recording, topic)
        if names:
            return _by_name(names, topic, vocabulary)
    own = {entry.id: index for index, entry in enumerate(vocabulary.classes)}
    return LabelMeaning(_ids(own, vocabulary), {}, None)


def _names(recording: Recording, topic: str) -> dict[int, str]:
    """Names by id from the first vocabulary message on ``topic``; empty without a message."""
    for message in recording.messages(topic, VOCABULARY):
        return {int(entry.id): str(entry.name) for entry in message.entries}
    return {}


def _by_name(names: Mapping[int, str], topic: str, vocabulary: Vocabulary) -> LabelMeaning:
    index_of_class = {entry.id: index for index, entry in enumerate(vocabulary.classes)}
    index_of_id: dict[int, int] = {}
    unknown: dict[int, str] = {}
    for id, name in names.items():
        try:
            index_of_id[id] = index_of_class[vocabulary.class_named(name).id]
        except VocabularyError:
            unknown[id] = name
    if not index_of_id:
        raise RecordingError(
            f"None of the {len(names)} names on {topic} ({', '.join(list(names.values())[:3])} and "
            f"so on) is a class of the vocabulary {vocabulary.name!r}; give the vocabulary of the "
            "labels, or one that contains it."
        )
    return LabelMeaning(_ids(index_of_id, vocabulary), unknown, topic)


def _ids(index_of_id: Mapping[int, int], vocabulary: Vocabulary) -> IdMap:
    ignored = [id for id in range(LABEL_IDS) if id not in index_of_id or id in UNLABELLED]
    return IdMap.of(index_of_id, len(vocabulary.classes), ignored)
