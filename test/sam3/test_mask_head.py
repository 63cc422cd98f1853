"""The mask head's cheaper computation against the straightforward one, values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.mask_head import (
    MaskHead,
    PixelDecoder,
    convolve_skip,
    convolve_upsampled,
)
from activesam_ros.sam3.vision_encoder import Pyramid
from benchmarks.oracles.plain_network import decode_pixels


@pytest.fixture(scope="module")
def mask_head(golden_config: Sam3Config) -> MaskHead:
    torch.manual_seed(3)
    return MaskHead(golden_config).double()


def random(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_upsampling_and_convolution_in_one(
    count: int, height: int, width: int, shared: bool
) -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1, dtype=torch.float64)
    x = random(count, 8, height, width)
    skip = random(1 if shared else count, 8, 2 * height, 2 * width)
    expected = conv(skip + x.repeat_interleave(2, -1).repeat_interleave(2, -2))
    ours = convolve_upsampled(x, conv, convolve_skip(skip, conv))
    torch.testing.assert_close(ours, expected)


def gradients(decoder: PixelDecoder, output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = random(*output.shape)
    return list(torch.autograd.grad((output * weights).sum(), [*inputs, *decoder.parameters()]))


def test_chosen_pairs_of_several_images_equal_the_plain_decoder(mask_head: MaskHead) -> None:
    decoder, d = mask_head.pixel_decoder, mask_head.semantic_seg_head.in_channels
    images = torch.tensor([1, 0, 1, 1])
    memory, middle, fine = random(4, d, 3, 5), random(2, d, 6, 10), random(2, d, 12, 20)
    inputs = [tensor.requires_grad_() for tensor in (memory, middle, fine)]
    ours = decoder(memory, decoder.skips(middle, fine).of(images))
    plain = decode_pixels(decoder, memory, middle[images], fine[images])
    torch.testing.assert_close(ours, plain)
    for ours_gradient, plain_gradient in zip(
        gradients(decoder, ours, inputs), gradients(decoder, plain, inputs), strict=True
    ):
        torch.testing.assert_close(ours_gradient, plain_gradient)


@torch.inference_mode()
def test_one_image_serves_all_prompts(mask_head: MaskHead) -> None:
    d = mask_head.semantic_seg_head.in_channels
    pyramid = Pyramid(random(1, d, 12, 20), random(1, d, 6, 10), random(1, d, 3, 5))
    memory, prompt = random(3, 15, d), random(3, 4, d)
    valid = torch.ones(3, 1, 1, 4, dtype=torch.bool)
    skips = mask_head.skips(pyramid)
    together = mask_head.pixels(memory, prompt, valid, skips)
    assert together.shape == (3, d, 12, 20)
    for index in range(3):
        pair = slice(index, index + 1)
        alone = mask_head.pixels(memory[pair], prompt[pair], valid[pair], skips)
        torch.testing.assert_close(together[pair], alone)
