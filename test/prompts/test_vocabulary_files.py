"""Vocabularies from text files, YAML and presets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from activesam_ros.errors import VocabularyError
from activesam_ros.prompts.vocabulary_files import (
    chosen_vocabulary,
    load_offered_vocabulary,
    load_vocabulary,
    preset_names,
    vocabulary_from_classes,
)
from activesam_ros.sam3.tokenizer import Tokenizer

Write = Callable[[str, str | bytes], str]


def refusal(path: str, tokenizer: Tokenizer) -> str:
    """The message after the file's name."""
    with pytest.raises(VocabularyError) as caught:
        load_vocabulary(path, tokenizer)
    assert str(caught.value).startswith(path)
    return str(caught.value).removeprefix(path)


def test_a_file_may_be_in_the_home_folder(
    write: Write, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(write("street.txt", "road\n"))
    monkeypatch.setenv("HOME", str(path.parent))
    assert load_vocabulary("~/street.txt", tokenizer).name == "street"


def test_a_text_file_has_a_class_a_line_and_ids_from_zero(
    write: Write, tokenizer: Tokenizer
) -> None:
    path = write("street.txt", "road\n  tree ,hedge\t\r\ngrass, wild flowers\nwood \n")
    vocabulary = load_vocabulary(path, tokenizer)
    assert vocabulary.name == "street"
    assert [(entry.id, entry.names) for entry in vocabulary.classes] == [
        (0, ("road",)),
        (1, ("tree", "hedge")),
        (2, ("grass", "wild flowers")),
        (3, ("wood",)),
    ]
    assert all(entry.hypernyms is None and not entry.pinned for entry in vocabulary.classes)


@pytest.mark.parametrize("content", ["road\nsky", "road\nsky\n", "\ufeffroad\r\nsky\r\n"])
def test_the_last_newline_and_a_byte_order_mark_do_not_matter(
    write: Write, tokenizer: Tokenizer, content: str
) -> None:
    assert load_vocabulary(write("v.txt", content), tokenizer).queries == ("road", "sky")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ":1: the file is empty"),
        ("\n \n", ":1: the file is empty"),
        ("\ufeff", ":1: the file is empty"),
        ("road\n\nsky\n", ":2: there is no class name"),
        ("road\nsky\n\n", ":3: there is no class name"),
        ("road\nsky,\n", ":2: 'sky,' has an empty name"),
        ("road\nsky\n Road ", ":3: the name 'Road' is already in line 1"),
        ("road\nsky, road", ":2: the name 'road' is already in line 1"),
        ("bus  stop\nbus stop", ":2: the name 'bus stop' is already in line 1"),
        ("tree, tree", ":1: the name 'tree' is already in line 1"),
        (
            "motorbike\nsky\nmotorcycle",
            ":3: the name 'motorcycle' and 'motorbike' in line 1 are one",
        ),
        (
            "car\n\uff43\uff41\uff52",
            ":2: the name '\uff43\uff41\uff52' and 'car' in line 1 are one",
        ),
        (
            "traffic-light\ntraffic light",
            ":2: the name 'traffic light' and 'traffic-light' in line",
        ),
        ("a\nb\rc", ":2: the name 'b\\rc' has the unprintable character U+000D"),
        ("a\n" + "word " * 40, ":2: the prompt"),
        ("a\n" + "x" * 1001, ":2: the name"),
        ("\n".join(map(str, range(65_536))), ":65536: 65,536 classes are more than the 65,535"),
    ],
)
def test_text_that_cannot_be_used_is_refused_with_its_line(
    write: Write, tokenizer: Tokenizer, content: str, message: str
) -> None:
    assert refusal(write("v.txt", content), tokenizer).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"road\nsky\ncaf\xe9\n", ":3: the byte 0xE9 is not UTF-8"),
        (b"\xef\xbb\xbfroad\n\xff\n", ":2: the byte 0xFF is not UTF-8"),
        ("road\nsky\n".encode("utf-16"), ":1: the byte 0xFF is not UTF-8"),
        ("road\nsky\n".encode("utf-16-le"), ":1: the name"),
    ],
)
@pytest.mark.parametrize("name", ["v.txt", "v.yaml"])
def test_other_encodings_are_refused_with_their_line(
    write: Write, tokenizer: Tokenizer, name: str, content: bytes, message: str
) -> None:
    found = refusal(write(name, content), tokenizer)
    if name == "v.yaml" and "name" in message:
        message = ":1: the character U+0000 is not allowed in YAML"
    assert found.startswith(message)


def test_the_length_of_a_prompt_is_that_of_its_canonical_words(write: Write) -> None:
    path = write("v.txt", "road\n" + " ".join("chestofdrawers") + "\n")
    assert load_vocabulary(path).queries[1] == "c h e s t o f d r a w e r s"
    long = write("long.txt", "road\n" + "a " * 31 + "\n")
    with pytest.raises(VocabularyError, match=r"long.txt:2: .* 33 tokens .* more than the 32"):
        load_vocabulary(long)
    assert load_vocabulary(write("fits.txt", "a " * 30)).queries == (("a " * 30).strip(),)


def test_aliases_of_one_class_may_be_one_prompt(write: Write, tokenizer: Tokenizer) -> None:
    vocabulary = load_vocabulary(
        write("v.txt", "motorcycle, motorbike\nmouse \U0001f42d\nmouse"), tokenizer
    )
    assert vocabulary.classes[0].names == ("motorcycle", "motorbike")
    assert vocabulary.query_class == (0, 0, 1, 2)


def test_a_yaml_file_says_everything(write: Write, tokenizer: Tokenizer) -> None:
    path = write(
        "robot.yaml",
        """
        # what the robot meets
        name: my robot
        classes:
          - {id: 3, name: road, color: [1, 2, 3], hypernyms: [way]}
          - id: 7
            name: tree
            aliases: [hedge, " bush "]
            colour: [4, 5, 6]
            pinned: yes
            threshold: 0.25
            hypernyms: {bush: [woody plant], tree: [plant, life]}
          - name: sky
        """,
    )
    vocabulary = load_vocabulary(path, tokenizer)
    road, tree, sky = vocabulary.classes
    assert vocabulary.name == "my robot"
    assert (road.id, road.names, road.color, road.pinned) == (3, ("road",), (1, 2, 3), False)
    assert road.hypernyms == (("way",),)
    assert (tree.id, tree.names, tree.color) == (7, ("tree", "hedge", "bush"), (4, 5, 6))
    assert tree.pinned
    assert tree.hypernyms == (("plant", "life"), (), ("woody plant",))
    assert (sky.id, sky.hypernyms, sky.pinned) == (2, None, False)
    assert [entry.threshold for entry in vocabulary.classes] == [0.0, 0.25, 0.0]


YAML_REFUSALS = [
    ("[road, sky]", 1, "the file must be a mapping of name, classes, not a list"),
    ("road\nsky\n", 1, "the file must be a mapping"),
    ("# nothing\n", 1, "the file must be a mapping of name, classes, not nothing"),
    ("name: x\n", 1, "the key 'classes' is missing"),
    ("name: x\nclasses: []\n", 2, "'classes' is empty"),
    ("name: x\nclasses: {road: 1}\n", 2, "'classes' must be a list, not a mapping"),
    ("name: x\nclass: []\n", 2, "the file has the unknown key 'class'"),
    ("classes:\n- road\n", 2, "a class must be a mapping of"),
    ("classes:\n- {id: 1}\n", 2, "a class has no 'name'"),
    ("classes:\n- {name: a}\n- {name: b,\n   size: 3}\n", 4, "a class has the unknown key 'size'"),
    ("classes:\n- {name: a, name: b}\n", 2, "a class has the key 'name' twice"),
    ("classes:\n- {name: no}\n", 2, "'name' must be text, not 'no'; put it in quotes"),
    ("classes:\n- {name: 12}\n", 2, "'name' must be text, not '12'"),
    ("classes:\n- {name: }\n", 2, "'name' must be text, not nothing"),
    ("classes:\n- {name: ' '}\n", 2, "'name' is empty"),
    ("classes:\n- {name: 'tree, hedge'}\n", 2, "the name 'tree, hedge' has a comma"),
    ("classes:\n- {name: a, aliases: b}\n", 2, "'aliases' must be a list, not 'b'"),
    ("classes:\n- {name: a, aliases: [b, 3]}\n", 2, "each of 'aliases' must be text"),
    ("classes:\n- {name: a, aliases: [A]}\n", 2, "the name 'A' is already in line 2"),
    ("classes:\n- {name: a}\n- {name: b}\n- {name: a}\n", 4, "the name 'a' is already in line 2"),
    ("classes:\n- {name: a, id: 4}\n- {name: b, id: 4}\n", 3, "the id 4 of 'b' is already that"),
    ("classes:\n- {name: a, id: 1}\n- {name: b}\n", 3, "the id 1 of 'b' is already that of 'a'"),
    ("classes:\n- {name: a, id: -1}\n", 2, "'id' must be an integer from 0 to 65534, not '-1'"),
    ("classes:\n- {name: a, id: 65535}\n", 2, "'id' must be an integer from 0 to 65534"),
    ("classes:\n- {name: a, id: 1.5}\n", 2, "'id' must be an integer"),
    ("classes:\n- {name: a, id: 1:30}\n", 2, "'id' must be an integer"),
    ("classes:\n- {name: a, color: [1, 2]}\n", 2, "'color' has 2 numbers"),
    ("classes:\n- {name: a, color: [1, 2, 256]}\n", 2, "a colour's number must be an integer"),
    ("classes:\n- {name: a, color: '#ff0000'}\n", 2, "'color' must be a list, not '#ff0000'"),
    ("classes:\n- name: a\n  color: [1, 2, 3]\n  colour: [1, 2, 3]\n", 4, "'color' and 'colour'"),
    ("classes:\n- {name: a, pinned: 1}\n", 2, "'pinned' must be true or false, not '1'"),
    ("classes:\n- {name: a, threshold: high}\n", 2, "'threshold' must be a number from 0 to 1"),
    ("classes:\n- {name: a, threshold: 1.01}\n", 2, "from 0 to 1, not '1.01'"),
    ("classes:\n- {name: a,\n   threshold: -0.1}\n", 3, "from 0 to 1, not '-0.1'"),
    ("classes:\n- {name: a, threshold: .nan}\n", 2, "from 0 to 1, not '.nan'"),
    ("classes:\n- {name: a, threshold: '0.5'}\n", 2, "from 0 to 1, not '0.5'"),
    ("classes:\n- {name: a, threshold: [0.5]}\n", 2, "from 0 to 1, not a list"),
    ("classes:\n- {name: a, hypernyms: way}\n", 2, "'hypernyms' must be a list"),
    ("classes:\n- name: a\n  aliases: [b]\n  hypernyms: [c]\n", 4, "'hypernyms' of a class with"),
    ("classes:\n- {name: a, hypernyms: {b: [c]}}\n", 2, "'hypernyms' has the unknown key 'b'"),
    ('classes:\n- {name: a, hypernyms: ["x\\x07"]}\n', 2, "unprintable character U+0007"),
    ("classes:\n- {name: a\n", 3, "this is not YAML"),
    ("classes: [\t{]\n", 1, "this is not YAML"),
    ("a: 1\n---\nb: 2\n", 2, "this is not YAML"),
    ("classes: *nowhere\n", 1, "this is not YAML"),
    ("classes:\n- {name: \x00}\n", 2, "the character U+0000 is not allowed in YAML"),
    ("[" * 5000, 1, "this YAML is nested too deeply"),
    ("classes: &a [*a]\n", 1, "a class must be a mapping"),
    ("classes: !!python/object/apply:os.getcwd []\n", 1, "'classes' is empty"),
]


@pytest.mark.parametrize(("content", "line", "message"), YAML_REFUSALS)
def test_yaml_that_cannot_be_used_is_refused_with_its_line(
    write: Write, tokenizer: Tokenizer, content: str, line: int, message: str
) -> None:
    found = refusal(write("v.yaml", content), tokenizer)
    assert found.startswith(f":{line}: "), found
    assert message in found


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@example(b"classes:\n- {name: a, ? b: c}")
@example(b"%YAML 3.1\n---\n")
@example(b"classes: [{name: a}, {name: \xe2\x80\xa8}]")
@pytest.mark.parametrize("suffix", [".txt", ".yaml"])
def test_any_bytes_make_a_vocabulary_or_a_vocabulary_error(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer, suffix: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(VocabularyError):
        assert load_vocabulary(str(path), tokenizer).queries


def test_an_unknown_preset_is_refused_with_the_known_ones(tokenizer: Tokenizer) -> None:
    with pytest.raises(VocabularyError, match=r"cityscapes, .*voc21\. Did you mean cityscapes"):
        load_vocabulary("citscapes", tokenizer)


@pytest.mark.parametrize(
    "name", ["", " ", "nowhere.txt", "no/such/file", "driving.txt", "a\x00b", "x" * 5000]
)
def test_a_missing_file_is_refused_with_the_presets(name: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(VocabularyError, match=r"driving|cannot be a vocabulary"):
        load_vocabulary(name, tokenizer)


def test_a_folder_and_a_pipe_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(VocabularyError, match="is a folder"):
        load_vocabulary(str(tmp_path), tokenizer)
    with pytest.raises(VocabularyError, match="not a regular file"):
        load_vocabulary(str(tmp_path / "pipe.txt"), tokenizer)


def test_a_weights_file_is_refused_unread(write: Write, tokenizer: Tokenizer) -> None:
    path = write("sam3.txt", b"")
    os.truncate(path, 2**32)
    assert "4,294,967,296 bytes, more than" in refusal(path, tokenizer)


def test_a_preset_comes_before_a_file_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer
) -> None:
    (tmp_path / "driving").write_text("only this\n")
    (tmp_path / "mine").write_text("only that\n")
    monkeypatch.chdir(tmp_path)
    assert "road" in load_vocabulary("driving", tokenizer).queries
    assert load_vocabulary("./driving", tokenizer).queries == ("only this",)
    assert load_vocabulary("mine", tokenizer).queries == ("only that",)


def test_the_presets_are_the_eight_benchmarks_and_driving() -> None:
    assert preset_names() == (
        "ade20k",
        "cityscapes",
        "coco_object",
        "coco_stuff",
        "context59",
        "context60",
        "driving",
        "voc20",
        "voc21",
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("road, car,person", [("road",), ("car",), ("person",)]),
        ("road", [("road",)]),
        ("road, car, ", [("road",), ("car",)]),
        ("road; car, automobile;", [("road",), ("car", "automobile")]),
        ("car, automobile;", [("car", "automobile")]),
    ],
)
def test_commas_separate_classes_or_their_aliases(
    text: str, names: list[tuple[str, ...]], tokenizer: Tokenizer
) -> None:
    vocabulary = chosen_vocabulary("driving", text, tokenizer)
    assert [entry.names for entry in vocabulary.classes] == names
    assert [entry.id for entry in vocabulary.classes] == list(range(1, len(names) + 1))


def test_without_classes_the_name_is_chosen(tokenizer: Tokenizer) -> None:
    assert chosen_vocabulary("voc21", " ", tokenizer).name == "voc21"


@pytest.mark.parametrize("text", ["road,,car", ",", ";", "road;;car"])
def test_an_empty_class_is_refused_by_its_place(text: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(VocabularyError, match=r"name [12]: there is no class name"):
        vocabulary_from_classes(text, tokenizer)


@pytest.mark.parametrize("relative", ["street.txt", "deep/street.txt", "inner.txt"])
def test_an_offered_file_is_named_from_its_folder_or_in_full(
    tmp_path: Path, tokenizer: Tokenizer, relative: str
) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("street.txt", "deep/street.txt"):
        (tmp_path / name).write_text("road\n")
    (tmp_path / "inner.txt").symlink_to("deep/street.txt")
    for given_name in (relative, str(tmp_path / relative)):
        found = load_offered_vocabulary(given_name, ["/no/such", str(tmp_path)], tokenizer)
        assert found.queries == ("road",)


@pytest.mark.parametrize(
    "asked",
    [
        *("secret.txt", "../secret.txt", "link.txt", "inner/secret.txt", "pipe.txt", ".", ""),
        *("/etc/passwd", "/no/such/file", "a\0b", "x" * 5000, "~/secret.txt", "inner"),
    ],
)
def test_no_other_file_is_offered_and_the_refusal_does_not_tell_whether_it_exists(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("hunter2\n")
    (tmp_path / "offered").mkdir()
    (tmp_path / "offered" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "offered" / "inner").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "offered" / "pipe.txt")
    messages = []
    for folders in ([], [str(tmp_path / "offered")]):
        with pytest.raises(VocabularyError, match="is neither a bundled vocabulary") as refused:
            load_offered_vocabulary(asked, folders, tokenizer)
        messages.append(str(refused.value))
    assert not any("hunter2" in message or "root:" in message for message in messages)
    assert max(map(len, messages)) < 500


@pytest.mark.parametrize("suffix", ["txt", "yaml"])
@pytest.mark.parametrize("content", [b"road\nhunter2,,x\n", b"classes: hunter2\n", b"\xff hunter2"])
def test_the_refusal_of_an_offered_file_has_a_line_and_nothing_of_its_content(
    tmp_path: Path, tokenizer: Tokenizer, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"v.{suffix}"
    path.write_bytes(b"," + content)
    with pytest.raises(VocabularyError, match=r"cannot be used: line \d is wrong") as refused:
        load_offered_vocabulary(path.name, [str(tmp_path)], tokenizer)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None
