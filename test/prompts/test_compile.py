"""From a vocabulary to the prompt table, with the golden network's text encoder."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from activesam_ros.errors import CheckpointError, VocabularyError
from activesam_ros.prompts import compile as compile_module
from activesam_ros.prompts.cache import cache_path, write_tensors
from activesam_ros.prompts.canonical import prompt_of
from activesam_ros.prompts.compile import (
    CompiledPrompts,
    PromptStyle,
    compile_prompts,
    prompt_words,
)
from activesam_ros.prompts.table import PromptTable
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.text_encoder import TextEncoder
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.settings import Settings

RED = (255, 0, 0)
STREET = Vocabulary(
    "street",
    (
        VocabularyClass(0, ("road",), RED, hypernyms=(("way",),)),
        VocabularyClass(
            1, ("trafficlight", "Tie"), RED, hypernyms=(("light",), ("neckwear", "mouse"))
        ),
        VocabularyClass(2, ("person",), RED, hypernyms=((),)),
    ),
)


@dataclasses.dataclass
class Compiler:
    """compile_prompts on the golden weights, counting how often the encoder is loaded."""

    weights: Path
    config: Sam3Config
    encoder: TextEncoder
    cache_dir: Path
    loads: int = 0

    def __call__(
        self,
        vocabulary: Vocabulary = STREET,
        settings: Settings | None = None,
        style: PromptStyle = PromptStyle.EXPANDED,
    ) -> CompiledPrompts:
        return compile_prompts(
            vocabulary,
            settings or Settings(),
            self.weights,
            self.config,
            self.cache_dir,
            style=style,
        )

    def load_encoder(
        self, path: Path, config: Sam3Config, device: torch.device, dtype: torch.dtype
    ) -> TextEncoder:
        assert (path, config, device.type, dtype) == (
            self.weights,
            self.config,
            "cpu",
            torch.float32,
        )
        self.loads += 1
        return self.encoder


@pytest.fixture(autouse=True)
def no_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)


@pytest.fixture
def compiler(
    tmp_path: Path,
    weights: Path,
    config: Sam3Config,
    encoder: TextEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> Compiler:
    made = Compiler(weights, config, encoder, tmp_path / "cache")
    monkeypatch.setattr(compile_module, "load_text_encoder", made.load_encoder)
    return made


def assert_same_tensors(one: PromptTable, other: PromptTable) -> None:
    for name in ("features", "padding", "context", "context_padding"):
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype
        assert torch.equal(left, right), name


def pooled(encoder: TextEncoder, text: str) -> torch.Tensor:
    """The mean of the token table's rows of a text, start and end included."""
    tokenizer = Tokenizer()
    ids = tokenizer.encode([text])[0][: tokenizer.length(text)]
    return encoder.encoder.token_embedding.weight[torch.from_numpy(ids)].mean(dim=0)


def test_the_table_holds_the_encoders_features_of_the_canonical_words(
    compiler: Compiler, encoder: TextEncoder
) -> None:
    table = compiler().table
    ids = torch.from_numpy(Tokenizer().encode(["road", "traffic light", "necktie", "person"]))
    torch.testing.assert_close(table.features, encoder(ids))
    assert torch.equal(table.padding, ids == 0)
    assert (~table.padding).sum(dim=1).tolist() == [3, 4, 4, 3]
    assert (table.features.dtype, table.features.device.type) == (torch.float32, "cpu")


def test_neighbor_tokens_follow_the_formula(compiler: Compiler, encoder: TextEncoder) -> None:
    table = compiler().table
    vectors = [pooled(encoder, prompt_of(query)) for query in STREET.queries]
    for query, own in enumerate(vectors):
        cosine = {
            other: float(torch.cosine_similarity(own, theirs, dim=0))
            for other, theirs in enumerate(vectors)
            if other != query
        }
        nearest = sorted(cosine, key=lambda other: -cosine[other])[:2]
        powers = np.exp([cosine[other] for other in nearest])
        for slot, other in enumerate(nearest):
            weight = float(powers[slot] / powers.sum())
            expected = encoder.resizer(vectors[other] * weight)
            torch.testing.assert_close(table.context[query, slot], expected)
    assert not table.context_padding[:, :2].any()


def test_hypernym_tokens_are_canonical_and_projected(
    compiler: Compiler, encoder: TextEncoder
) -> None:
    table = compiler().table
    expected = {(0, 2): "way", (1, 2): "light", (2, 2): "neckwear", (2, 3): "computer mouse"}
    for query in range(4):
        for slot in (2, 3):
            name = expected.get((query, slot))
            assert bool(table.context_padding[query, slot]) == (name is None)
            token = encoder.resizer(pooled(encoder, name)) if name else torch.zeros(64)
            torch.testing.assert_close(table.context[query, slot], token)


@pytest.mark.parametrize(("neighbors", "hypernyms"), [(0, 0), (0, 2), (2, 0), (1, 1), (16, 16)])
def test_the_counts_of_context_tokens_are_settings(
    compiler: Compiler, neighbors: int, hypernyms: int
) -> None:
    settings = Settings(neighbor_tokens=neighbors, hypernym_tokens=hypernyms)
    table = compiler(settings=settings).table
    assert table.context.shape == (4, neighbors + hypernyms, 64)
    present = (~table.context_padding).sum(dim=1).tolist()
    found = min(neighbors, 3)
    assert present == [found + min(hypernyms, count) for count in (1, 1, 2, 0)]
    assert_same_tensors(compiler(settings=settings).table, table)


def test_a_single_query_has_no_neighbors(compiler: Compiler) -> None:
    vocabulary = Vocabulary("one", STREET.classes[:1])
    table = compiler(vocabulary).table
    assert table.context_padding.tolist() == [[True, True, False, True]]


def test_plain_prompts_are_the_names_as_written(compiler: Compiler, encoder: TextEncoder) -> None:
    table = compiler(style=PromptStyle.PLAIN).table
    ids = torch.from_numpy(Tokenizer().encode(["road", "trafficlight", "Tie", "person"]))
    torch.testing.assert_close(table.features, encoder(ids))
    assert table.context.shape == (4, 0, 64)
    assert table.fingerprint != compiler().table.fingerprint


def test_plain_prompts_need_no_wordnet(caplog: pytest.LogCaptureFixture) -> None:
    vocabulary = Vocabulary("bare", (VocabularyClass(0, ("road",), RED),))
    words = prompt_words(vocabulary, Settings(), PromptStyle.PLAIN)
    assert words.hypernyms == ((),)
    assert not caplog.records


def test_with_a_cache_hit_the_text_encoder_is_not_loaded(compiler: Compiler) -> None:
    first, second = compiler(), compiler()
    assert (first.cache_hit, second.cache_hit) == (False, True)
    assert compiler.loads == 1
    assert second.table.fingerprint == first.table.fingerprint
    assert_same_tensors(first.table, second.table)


def test_prompts_that_are_no_numbers_are_refused_and_not_taken_from_the_cache(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compiler().table
    parts = {
        "features": first.features.clone(),
        "padding": first.padding,
        "context": first.context,
        "context_padding": first.context_padding,
    }
    parts["features"].view(-1)[-1] = torch.nan
    write_tensors(compiler.cache_dir, first.fingerprint, parts)
    again = compiler()
    assert not again.cache_hit
    assert torch.equal(again.table.features, first.features)
    cache_path(compiler.cache_dir, first.fingerprint).unlink()
    monkeypatch.setattr(compile_module, "encode_words", lambda *_: parts)
    with pytest.raises(CheckpointError, match="makes prompts that are NaN or infinite"):
        compiler()
    assert not cache_path(compiler.cache_dir, first.fingerprint).exists()


def test_a_cache_that_others_may_write_is_not_used(
    compiler: Compiler, caplog: pytest.LogCaptureFixture
) -> None:
    first = compiler()
    compiler.cache_dir.chmod(0o777)
    again = compiler()
    assert (first.cache_hit, again.cache_hit, compiler.loads) == (False, False, 2)
    assert torch.equal(again.table.features, first.table.features)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    compiler.cache_dir.chmod(0o700)
    assert compiler().cache_hit


def test_colors_ids_and_pins_share_a_cached_table(compiler: Compiler) -> None:
    compiler()
    repainted = Vocabulary(
        "other name",
        tuple(
            dataclasses.replace(entry, id=entry.id + 7, color=(1, 2, 3), pinned=True)
            for entry in STREET.classes
        ),
    )
    found = compiler(repainted)
    assert found.cache_hit
    assert found.table.vocabulary == repainted


@pytest.mark.parametrize(
    ("vocabulary", "settings"),
    [
        (Vocabulary("street", STREET.classes[::-1]), Settings()),
        (Vocabulary("street", STREET.classes[:2]), Settings()),
        (
            Vocabulary(
                "street",
                (dataclasses.replace(STREET.classes[0], names=("roads",)), *STREET.classes[1:]),
            ),
            Settings(),
        ),
        (
            Vocabulary(
                "street",
                (dataclasses.replace(STREET.classes[0], hypernyms=((),)), *STREET.classes[1:]),
            ),
            Settings(),
        ),
        (STREET, Settings(neighbor_tokens=1)),
        (STREET, Settings(hypernym_tokens=1)),
    ],
)
def test_other_words_or_context_settings_make_another_table(
    compiler: Compiler, vocabulary: Vocabulary, settings: Settings
) -> None:
    compiler()
    assert not compiler(vocabulary, settings).cache_hit
    assert compiler.loads == 2
    assert compiler().cache_hit


def test_other_settings_share_a_cached_table(compiler: Compiler) -> None:
    compiler()
    assert compiler(settings=Settings(max_active=3, confidence_threshold=0.9)).cache_hit


def test_a_tuned_text_encoder_makes_another_table(
    compiler: Compiler, weights: Path, tmp_path: Path
) -> None:
    """Also where only one small tensor of a large file was tuned."""
    state = torch.load(weights, weights_only=True)["model"]
    compiler.weights = tmp_path / "copy.safetensors"

    def hits(changed: str | None) -> bool:
        table = {**state, "tracker.ballast": torch.zeros(8 * 2**20)}
        if changed:
            table[changed] = table[changed] + 1e-3
        save_file(table, compiler.weights)
        return compiler().cache_hit

    assert not hits(None)
    assert hits(None), "a copy is the same weights"
    assert hits("detector.transformer.decoder.query_embed.weight"), "which no prompt depends on"
    assert not hits("detector.backbone.language_backbone.resizer.bias")


def test_a_damaged_cache_file_is_compiled_again(
    compiler: Compiler, caplog: pytest.LogCaptureFixture
) -> None:
    first = compiler().table
    path = cache_path(compiler.cache_dir, first.fingerprint)
    path.write_bytes(path.read_bytes()[:-100])
    again = compiler()
    assert not again.cache_hit
    assert len(caplog.records) == 1
    assert_same_tensors(again.table, first)
    assert compiler().cache_hit


def test_a_cache_folder_that_cannot_be_used_is_one_warning(
    compiler: Compiler, caplog: pytest.LogCaptureFixture
) -> None:
    compiler.cache_dir.write_text("a file in the way")
    assert not compiler().cache_hit
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_without_wordnet_the_table_is_made_and_is_not_kept_for_when_there_is_one(
    compiler: Compiler, caplog: pytest.LogCaptureFixture
) -> None:
    bare = Vocabulary(
        "bare", tuple(dataclasses.replace(entry, hypernyms=None) for entry in STREET.classes)
    )
    table = compiler(bare).table
    assert len(caplog.records) == 1
    assert table.context_padding[:, 2:].all()
    assert not compiler(STREET).cache_hit


def test_a_prompt_longer_than_the_context_is_refused(compiler: Compiler) -> None:
    vocabulary = Vocabulary("long", (VocabularyClass(0, ("a " * 31 + "b",), RED, False, ((),)),))
    with pytest.raises(VocabularyError, match="34 tokens, more than the 32"):
        compiler(vocabulary)
    assert not compiler.cache_dir.exists()


def test_no_folder_means_the_default_one(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACTIVESAM_CACHE", str(tmp_path / "default"))
    compiled = compile_prompts(STREET, Settings(), compiler.weights, compiler.config, None)
    assert cache_path(tmp_path / "default", compiled.table.fingerprint).exists()


def test_a_compilation_ends_between_two_batches_of_prompts(encoder: TextEncoder) -> None:
    prompts = tuple(f"thing {number}" for number in range(3 * 64))
    words = compile_module.PromptWords(prompts, ((),) * len(prompts), 0, 0)
    steps = 0

    def end_at_the_second() -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        compile_module.encode_words(words, encoder, Tokenizer(), end_at_the_second)
    assert steps == 2
