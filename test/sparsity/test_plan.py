"""The whole network under a plan, against dense computation under the same masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from activesam_ros.cli import main
from activesam_ros.errors import SettingsError
from activesam_ros.pipeline import Network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import Prompts, Sam3ImageModel
from activesam_ros.sam3.plan import DENSE, BlockPlan, FusionPlan, ImagePlan
from activesam_ros.settings import Settings
from activesam_ros.sparsity.attention import PatternAttention, SparsePattern
from activesam_ros.sparsity.plan import (
    Densities,
    OrderOf,
    SparsePlan,
    Update,
    best_tokens,
    by_content,
    evenly,
    feed_first,
    feed_tokens,
    image_plan,
    token_count,
)
from activesam_ros.sparsity.token_order import ranks
from activesam_ros.sparsity.z_order import z_order

TOLERANCE = 1e-4
# A grid of 11 x 9 tokens: no whole windows, blocks or quads.
ODD_SIZE = (154, 126)
SWITCHES = (
    Densities(encoder_attention=0.4),
    Densities(encoder_mlp=0.4),
    Densities(fusion=0.4),
    Densities(fusion_mlp=0.4),
    Densities(0.4, 0.5, 0.3, 0.7),
)
NAMES = ("road", "car", "tree", "sky", "person", "bus", "dog")
VOCABULARY = Vocabulary(
    name="few",
    classes=tuple(
        VocabularyClass(id=index, names=(name,), color=(0, 0, 0), hypernyms=((),))
        for index, name in enumerate(NAMES)
    ),
)
NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@dataclass(frozen=True)
class MaskedPlan:
    """As SparsePlan, but with masks of tokens x tokens and masked updates."""

    config: Sam3Config
    densities: Densities
    first_block: int
    order_of: OrderOf

    def trunk(self, height: int, width: int) -> Sequence[BlockPlan]:
        chosen: list[Tensor] = []

        def feed(x: Tensor, update: Update) -> Tensor:
            return x + chosen[-1][..., None] * update(x)

        def block(index: int) -> BlockPlan:
            config = self.config
            is_global = index in config.global_attention_blocks
            grid = (height, width) if is_global else (config.window_size, config.window_size)
            density = self.densities.encoder_attention if index >= self.first_block else 1.0

            def attend(query: Tensor, key: Tensor, value: Tensor, content: Tensor) -> Tensor:
                curve = z_order(*grid, content.device)
                if is_global:
                    count = token_count(self.densities.encoder_mlp, height * width)
                    rank = ranks(self.order_of(content, curve, count)).double().mean(dim=1)
                    first = rank.argsort(dim=-1, stable=True)[:, :count]
                    chosen.append(torch.zeros_like(rank).scatter(1, first, 1.0).float())
                mask = self._mask(content, curve, density)
                return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)

            fed = not is_global and index >= max(self.first_block, 2)  # block 1 is global
            return BlockPlan(attend, feed if fed else None)

        return [block(index) for index in range(self.config.vision_layers)]

    def _mask(self, content: Tensor, curve: Tensor, density: float) -> Tensor:
        pattern = SparsePattern.of(len(curve), density)
        rank = ranks(self.order_of(content, curve, pattern.bar))
        own = rank // pattern.block
        return (rank < pattern.bar)[..., None, :] | (own[..., None, :] == own[..., None])

    def fusion(self, keys: Tensor, height: int, width: int) -> FusionPlan:
        """In grid order, masks instead."""
        curve, count = z_order(height, width, keys.device), height * width
        mask = self._mask(keys[:, None], curve, self.densities.fusion)
        bar = SparsePattern.of(count, self.densities.fusion).bar
        fed = token_count(self.densities.fusion_mlp, count)
        order = self.order_of(keys[:, None], curve, bar if self.densities.fusion < 1 else fed)
        chosen = (ranks(order)[:, 0] < fed).float()

        def attend(query: Tensor, key: Tensor, value: Tensor, _content: Tensor) -> Tensor:
            pairs = mask.repeat_interleave(len(query) // len(mask), dim=0)
            return F.scaled_dot_product_attention(query, key, value, attn_mask=pairs)

        def feed(x: Tensor, update: Update) -> Tensor:
            pairs = chosen.repeat_interleave(len(x) // len(chosen), dim=0)
            return x + pairs[..., None] * update(x)

        *inner, last = [BlockPlan(attend, feed)] * self.config.encoder_layers
        grid_order = torch.arange(count).expand(len(keys), -1)
        return FusionPlan(grid_order, grid_order, (*inner, dataclasses.replace(last, feed=None)))


def random_pixels(images: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.rand(images, 3, height, width, generator=generator) * 2 - 1


@pytest.fixture(scope="module")
def prompts(model: Sam3ImageModel) -> Prompts:
    tokens = torch.randn(3, 5, model.config.d_model, generator=torch.Generator().manual_seed(1))
    return Prompts(
        tokens, torch.tensor([[False] * 5, [False] * 4 + [True], [False] * 3 + [True] * 2])
    )


def relative_error(ours: Tensor, expected: Tensor) -> float:
    return float((ours - expected).abs().max() / expected.abs().max())


def name_of(value: object) -> str:
    """The same in every process, so no address of a function."""
    return getattr(value, "__name__", str(value))


@torch.inference_mode()
@pytest.mark.parametrize(
    ("size", "densities", "order_of"),
    [
        *((ODD_SIZE, densities, by_content) for densities in SWITCHES),
        *((size, SWITCHES[-1], by_content) for size in ((168, 168), (112, 112))),
        *((size, SWITCHES[-1], evenly) for size in (ODD_SIZE, (168, 168))),
    ],
    ids=name_of,
)
def test_a_plan_computes_what_its_masks_say(
    model: Sam3ImageModel,
    prompts: Prompts,
    size: tuple[int, int],
    densities: Densities,
    order_of: OrderOf,
) -> None:
    pixels = random_pixels(2, *size)
    first = 0 if densities.encoder_mlp < 1 else 2
    ours, expected, dense = (
        model.encode_image(pixels, plan)
        for plan in (
            SparsePlan(model.config, densities, first, order_of),
            MaskedPlan(model.config, densities, first, order_of),
            None,
        )
    )
    for name in ("fine", "middle", "coarse"):
        level = getattr(ours.pyramid, name)
        assert relative_error(level, getattr(expected.pyramid, name)) < TOLERANCE
    memory = model.fuse(ours, prompts)[0].memory
    assert memory.shape[0] == 6
    assert relative_error(memory, model.fuse(expected, prompts)[0].memory) < TOLERANCE
    assert relative_error(memory, model.fuse(dense, prompts)[0].memory) > 10 * TOLERANCE
    if not densities.sparse_encoder:
        assert torch.equal(ours.pyramid.fine, dense.pyramid.fine)


@torch.inference_mode()
def test_the_network_by_kernels_is_the_network_by_gathering(
    model: Sam3ImageModel, prompts: Prompts
) -> None:
    """FlexAttention without compiling it stands for a GPU's kernels."""
    from torch.nn.attention.flex_attention import flex_attention

    pixels = random_pixels(1, *ODD_SIZE)
    memories = []
    for attention in (PatternAttention(), PatternAttention(flex_attention)):
        plan = SparsePlan(model.config, SWITCHES[-1], 2, by_content, attention)
        features = model.encode_image(pixels, plan)
        memories.append(model.fuse(features, prompts)[0].memory)
    assert relative_error(*memories) < TOLERANCE


def test_all_dense_is_no_plan(model: Sam3ImageModel) -> None:
    assert image_plan(Settings(), model.config) is None
    static = Settings(stripe_order="static", encoder_sparse_from_block=40)
    assert image_plan(static, model.config) is None


def test_early_blocks_stay_dense() -> None:
    config = Sam3Config()
    plan = image_plan(Settings(encoder_attention_density=0.4), config)
    assert plan is not None
    blocks = plan.trunk(72, 72)
    assert [block == DENSE for block in blocks] == [index < 8 for index in range(32)]
    assert all(block.feed is None for block in blocks)
    from_three = Settings(encoder_attention_density=0.4, encoder_sparse_from_block=3)
    plan = image_plan(from_three, config)
    assert plan is not None
    assert [block == DENSE for block in plan.trunk(72, 72)].count(True) == 3


def test_only_window_blocks_after_the_first_global_one_have_sparse_mlps() -> None:
    settings = Settings(encoder_mlp_density=0.4, encoder_sparse_from_block=0)
    plan = image_plan(settings, Sam3Config())
    assert plan is not None
    fed = [index for index, block in enumerate(plan.trunk(72, 72)) if block.feed is not None]
    assert fed == [index for index in range(8, 32) if index not in (15, 23, 31)]


def test_the_first_fusion_layer_and_the_last_mlp() -> None:
    settings = Settings(fusion_density=0.4, fusion_mlp_density=0.4)
    plan = image_plan(settings, Sam3Config())
    assert plan is not None
    assert all(block == DENSE for block in plan.trunk(72, 72))
    fusion = plan.fusion(torch.randn(1, 144, 256), 12, 12)
    assert fusion is not None
    assert [layer.attend is None for layer in fusion.layers] == [False] * 6
    assert [layer.feed is None for layer in fusion.layers] == [False] * 5 + [True]
    encoder_alone = image_plan(Settings(encoder_attention_density=0.4), Sam3Config())
    assert encoder_alone is not None
    assert encoder_alone.fusion(torch.randn(1, 144, 256), 12, 12) is None


@torch.inference_mode()
def test_the_fusion_order_is_found_once_per_image(model: Sam3ImageModel, prompts: Prompts) -> None:
    seen: list[torch.Size] = []

    def counting(keys: Tensor, curve: Tensor, kept: int) -> Tensor:
        seen.append(keys.shape)
        return by_content(keys, curve, kept)

    plan = SparsePlan(model.config, Densities(fusion=0.4), 2, counting)
    features = model.encode_image(random_pixels(1, 168, 168), plan)
    for _ in range(3):
        model.detect(features, prompts)
    assert seen == [(1, 1, 144, 64)]


@torch.inference_mode()
@pytest.mark.parametrize("densities", SWITCHES, ids=str)
def test_images_do_not_see_each_other(
    model: Sam3ImageModel, prompts: Prompts, densities: Densities
) -> None:
    pixels = random_pixels(2, 112, 112)
    plan = SparsePlan(model.config, densities, 2, by_content)
    together = model.fuse(model.encode_image(pixels, plan), prompts)[0].memory
    alone = model.fuse(model.encode_image(pixels[1:], plan), prompts)[0].memory
    assert relative_error(together[3:], alone) < TOLERANCE
    view = model.fuse(model.encode_image(pixels, plan).image(1), prompts)[0].memory
    assert relative_error(view, together[3:]) < TOLERANCE


@pytest.mark.parametrize("name", ["encoder_attention_density", "encoder_mlp_density"])
def test_a_plan_without_a_sparse_block_is_refused(model: Sam3ImageModel, name: str) -> None:
    settings = Settings.from_mapping({name: 0.5, "encoder_sparse_from_block": 4})
    with pytest.raises(SettingsError, match=r"encoder_sparse_from_block=4 .* 4 blocks .* 0 to 3"):
        image_plan(settings, model.config)


@pytest.mark.parametrize("order", ["content", "static"])
@pytest.mark.parametrize(
    "name",
    ["encoder_attention_density", "encoder_mlp_density", "fusion_density", "fusion_mlp_density"],
)
def test_every_switch_reaches_the_result(network: Network, name: str, order: str) -> None:
    settings = Settings(max_active=5)
    dense = network.segmenter(VOCABULARY, settings).segment(NOISE)
    again = network.segmenter(VOCABULARY, settings.replace({name: 1.0})).segment(NOISE)
    assert again.preview_presence == dense.preview_presence
    assert np.array_equal(again.labels, dense.labels)
    sparse = settings.replace({name: 0.3, "stripe_order": order})
    assert (
        network.segmenter(VOCABULARY, sparse).segment(NOISE).preview_presence
        != dense.preview_presence
    )


def test_a_plan_of_ones_own(network: Network) -> None:
    by_settings = network.segmenter(VOCABULARY, Settings(fusion_density=0.3))
    plan: ImagePlan = SparsePlan(network.config, Densities(fusion=0.3), 2, by_content)
    own = network.segmenter(VOCABULARY, Settings()).with_plan(plan)
    assert np.array_equal(own.segment(NOISE).labels, by_settings.segment(NOISE).labels)


def test_the_command_line_takes_them(golden_dir: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(NAMES), encoding="utf-8")
    command = [
        "segment",
        str(golden_dir / "background.png"),
        f"--weights={golden_dir / 'model.pt'}",
        f"--vocabulary={names}",
        "--set=hypernym_tokens=0",
        "--device=cpu",
        f"--cache-dir={tmp_path / 'cache'}",
        f"--output={tmp_path}",
    ]
    sparse = ["encoder_attention_density=0.4", "stripe_order=static", "fusion_mlp_density=0.5"]
    assert main([*command, *(f"--set={assignment}" for assignment in sparse)]) == 0
    assert (tmp_path / "background.labels.png").exists()
    assert main([*command, "--set=encoder_attention_density=0"]) == 2


def doubled(x: Tensor) -> Tensor:
    return 2 * x + 1


@pytest.mark.parametrize(
    ("density", "tokens", "count"), [(0.4, 5184, 2074), (0.3, 5184, 1555), (0.4, 36, 14)]
)
def test_how_many(density: float, tokens: int, count: int) -> None:
    assert token_count(density, tokens) == count


def test_the_lowest_mean_rank_over_heads_wins() -> None:
    ranks = torch.tensor([[[0, 1, 2, 3], [3, 1, 0, 2]], [[3, 2, 1, 0], [3, 2, 1, 0]]])
    assert best_tokens(ranks, 2).tolist() == [[1, 2], [2, 3]]  # means 1.5 1 1 2.5 and 3 2 1 0


@given(tokens=st.integers(1, 20), share=st.floats(0, 1), seed=st.integers(0, 9))
def test_only_chosen_tokens_change(tokens: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, tokens, 3, generator=generator)
    ranks = torch.rand(2, 4, tokens, generator=generator).argsort(dim=-1)
    chosen = best_tokens(ranks, round(share * tokens))
    fed = feed_tokens(x, chosen, doubled)
    expected = x.clone()
    for image in range(2):
        for token in chosen[image].tolist():
            expected[image, token] += doubled(x[image, token])
    assert torch.equal(fed, expected)


def test_feeding_the_first_is_feeding_those_tokens() -> None:
    x = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    first = torch.arange(4).expand(2, -1)
    assert torch.equal(feed_first(4, x, doubled), feed_tokens(x, first, doubled))
