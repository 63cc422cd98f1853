"""Token merging against a transcription of the paper's steps, and random tokens."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from activesam_ros.demo.untrained import UNTRAINED_CONFIG
from activesam_ros.sam3.model import Prompts, Sam3ImageModel
from benchmarks.sparse.plans import SWITCHES, WAYS, TokenGroups, at_random, merged, plan_of


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def one_matching(keys: Tensor, surplus: int) -> list[set[int]]:
    """ToMe section 3: keys [n, d] in two sets by turns, an edge from each of the first to its most
    similar of the second, the ``surplus`` strongest edges contracted. Places that come together.
    """
    edges = []
    for even in range(0, len(keys), 2):
        odds = range(1, len(keys), 2)
        similarity = {odd: float(F.cosine_similarity(keys[even], keys[odd], dim=0)) for odd in odds}
        best = max(similarity, key=lambda odd: similarity[odd])
        edges.append((similarity[best], even, best))
    groups = {place: {place} for place in range(len(keys))}
    for _, even, odd in sorted(edges, reverse=True)[:surplus]:
        groups[odd] |= groups.pop(even)
    return [groups[place] for place in sorted(groups)]


def by_the_paper(keys: Tensor, wanted: int) -> list[set[int]]:
    """Matchings until ``wanted`` tokens are left; a merged key is the mean weighted by sizes."""
    groups = [{token} for token in range(len(keys))]
    values, sizes = keys, [1] * len(keys)
    while len(groups) > wanted:
        together = one_matching(values, len(groups) - wanted)
        values = torch.stack(
            [
                sum((values[place] * sizes[place] for place in places), torch.zeros(len(keys[0])))
                / sum(sizes[place] for place in places)
                for places in together
            ]
        )
        groups = [set().union(*(groups[place] for place in places)) for places in together]
        sizes = [len(group) for group in groups]
    return groups


@pytest.mark.parametrize("tokens", [1, 2, 9, 36, 49])
@pytest.mark.parametrize("density", [0.7, 0.5, 0.4, 0.3])
def test_groups_are_those_of_the_paper(tokens: int, density: float) -> None:
    keys = normal(2, tokens, 5)
    groups = merged(keys, density)
    wanted = max(round(density * tokens), 1)
    assert groups.sizes.shape == (2, wanted)
    for image in range(2):
        expected = by_the_paper(keys[image], wanted)
        found = [
            set((groups.of_token[image] == group).nonzero()[:, 0].tolist())
            for group in range(wanted)
        ]
        assert found == expected
        assert groups.sizes[image].tolist() == [len(group) for group in expected]


def test_merging_is_a_mean_and_unmerging_gives_it_to_all() -> None:
    groups = TokenGroups(torch.tensor([[0, 1, 0, 0, 2]]), torch.tensor([[3.0, 1.0, 1.0]]))
    x = torch.tensor([[1.0, 5.0, 2.0, 6.0, 7.0]])[..., None]
    assert groups.mean(x)[0, :, 0].tolist() == [3, 5, 7]
    assert groups.spread(groups.mean(x))[0, :, 0].tolist() == [3, 5, 3, 3, 7]
    heads = x[:, None].expand(1, 2, 5, 1)
    assert groups.spread(groups.mean(heads))[0, 1, :, 0].tolist() == [3, 5, 3, 3, 7]


def test_equal_tokens_lose_nothing_by_proportional_attention() -> None:
    """softmax(q k + log size) over merged keys is softmax over the keys, where those are equal."""
    distinct = normal(3, 8)
    content = torch.cat((distinct, distinct, distinct, distinct))[None, None]  # [1, 1, 12, 8]
    content = content[:, :, torch.tensor([0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11])]
    query, value = content * 2, content + 1
    expected = F.scaled_dot_product_attention(query, content, value)
    for block in (2, 3):  # a window and a global block
        plan = plan_of(UNTRAINED_CONFIG, "encoder_attention", 0.5, "tome")
        attend = plan.trunk(3, 4)[block].attend
        assert attend is not None
        assert (attend(query, content, value, content) - expected).abs().max() < 1e-5


def test_random_tokens_are_another_order_for_each_head() -> None:
    torch.manual_seed(0)
    order = at_random(torch.zeros(2, 3, 36, 4), torch.arange(36), 10)
    assert torch.equal(order.sort(dim=-1).values, torch.arange(36).expand(2, 3, 36))
    assert len({tuple(row) for row in order.flatten(0, 1).tolist()}) == 6


@torch.inference_mode()
@pytest.mark.parametrize("way", WAYS)
def test_every_switch_changes_its_stage_alone(way: str) -> None:
    torch.manual_seed(1)
    model = Sam3ImageModel(UNTRAINED_CONFIG).eval()
    side = UNTRAINED_CONFIG.resolution
    pixels = normal(2, 3, side, side)
    prompts = Prompts(normal(3, 4, UNTRAINED_CONFIG.d_model), torch.zeros(3, 4, dtype=torch.bool))

    def stages(switch: str, density: float) -> tuple[Tensor, Tensor]:
        plan = plan_of(UNTRAINED_CONFIG, switch, density, way)
        features = model.encode_image(pixels, plan)
        return features.pyramid.coarse, model.fuse(features, prompts)[0].memory

    dense = model.encode_image(pixels)
    memory = model.fuse(dense, prompts)[0].memory
    for switch in SWITCHES:
        encoded, fused = stages(switch, 0.4)
        assert math.isfinite(float(encoded.sum() + fused.sum()))
        assert torch.equal(encoded, dense.pyramid.coarse) != switch.startswith("encoder")
        assert not torch.allclose(fused, memory, atol=1e-4)
        for exact in zip(stages(switch, 1.0), (dense.pyramid.coarse, memory), strict=True):
            assert torch.equal(*exact)
