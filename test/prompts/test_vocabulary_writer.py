"""The YAML writer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.prompts.canonical import canonical_name
from activesam_ros.prompts.entries import name_problem
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.prompts.vocabulary_writer import vocabulary_to_yaml
from activesam_ros.sam3.tokenizer import Tokenizer

AWKWARD = ["no", "Yes", "null", "12", "1e3", "a: b", "# x", "'", '"', "~", "-", "b\\n", "é", "🚗"]
NAMES = st.one_of(st.sampled_from(AWKWARD), st.text(max_size=20).map(str.strip)).filter(
    lambda name: name_problem(name) is None
)
COLORS = st.tuples(*[st.integers(0, 255)] * 3)


@st.composite
def vocabularies(draw: st.DrawFn) -> Vocabulary:
    names = draw(st.lists(NAMES, min_size=1, max_size=12, unique_by=canonical_name))
    sizes = draw(st.lists(st.integers(1, 3), min_size=len(names), max_size=len(names)))
    groups: list[tuple[str, ...]] = []
    while names:
        size = sizes[len(groups)]
        groups.append(tuple(names[:size]))
        del names[:size]
    ids = draw(
        st.lists(st.integers(0, 65534), min_size=len(groups), max_size=len(groups), unique=True)
    )
    rows = st.lists(NAMES, max_size=2).map(tuple)
    classes = [
        VocabularyClass(
            id=class_id,
            names=group,
            color=draw(COLORS),
            pinned=draw(st.booleans()),
            threshold=draw(st.one_of(st.just(0.0), st.floats(0, 1))),
            hypernyms=draw(st.one_of(st.none(), st.tuples(*[rows] * len(group)))),
        )
        for class_id, group in zip(ids, groups, strict=True)
    ]
    return Vocabulary(draw(NAMES), tuple(classes))


@given(vocabulary=vocabularies(), comment=st.sampled_from(["", "one line", "two\n\nlines"]))
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory,
    unlimited_tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    comment: str,
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(vocabulary_to_yaml(vocabulary, comment), encoding="utf-8")
    assert load_vocabulary(str(path), unlimited_tokenizer) == vocabulary


def test_a_class_takes_one_line_where_it_fits() -> None:
    vocabulary = Vocabulary(
        "street",
        (
            VocabularyClass(1, ("road",), (1, 2, 3), hypernyms=(("way",),)),
            VocabularyClass(3, ("car",), (7, 8, 9), threshold=0.25, hypernyms=((),)),
            VocabularyClass(
                2,
                ("vegetation", "horizontal vegetation", "vertical vegetation"),
                (4, 5, 6),
                pinned=True,
                threshold=1e-05,
                hypernyms=(("plant life",), (), ("no",)),
            ),
        ),
    )
    assert vocabulary_to_yaml(vocabulary, "A street.") == (
        "# A street.\n"
        "name: street\n"
        "classes:\n"
        "  - {id: 1, name: road, color: [1, 2, 3], hypernyms: [way]}\n"
        "  - {id: 3, name: car, color: [7, 8, 9], threshold: 0.25, hypernyms: []}\n"
        "  - id: 2\n"
        "    name: vegetation\n"
        "    aliases: [horizontal vegetation, vertical vegetation]\n"
        "    color: [4, 5, 6]\n"
        "    pinned: true\n"
        "    threshold: 1.0e-05\n"
        "    hypernyms:\n"
        "      vegetation: [plant life]\n"
        "      horizontal vegetation: []\n"
        '      vertical vegetation: ["no"]\n'
    )
