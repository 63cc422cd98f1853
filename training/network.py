"""The network in training: both encoders, prompts with context, and the losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from activesam_ros.demo.world.classes import CLASS_COUNT, ClassId
from activesam_ros.prompts.context import neighbor_embeddings, pooled_embeddings
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.decoder import DecoderOutput
from activesam_ros.sam3.model import ImageFeatures, Prompts, Sam3ImageModel
from activesam_ros.sam3.text_encoder import TextEncoder
from activesam_ros.sam3.vision_encoder import Pyramid
from training.batch import Batch, BatchTruth, ImageBatch
from training.losses import competition, dice, focal, generalized_iou, map_entropy
from training.matching import assign
from training.options import LossWeights
from training.prompts import TrainingPrompts

NEIGHBORS = 2
PROBED_LEVELS = Pyramid._fields
# Added to the share of a class in a batch, so that very rare classes do not weigh too much.
SMALLEST_WEIGHED_SHARE = 0.002
FOCAL_ALPHA = 0.5
FOCAL_GAMMA = 2.0


class DemoNetwork(nn.Module):
    """The image model and the text encoder of SAM 3, trained together.

    Only the training has probes: each classifies every cell of one pyramid level, so that the image
    encoder learns from all pixels, not only from those of prompted classes.
    """

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        self.image = Sam3ImageModel(config)
        self.text = TextEncoder(config)
        self.probes = nn.ModuleList(
            nn.Conv2d(config.d_model, CLASS_COUNT, 1) for _ in PROBED_LEVELS
        )

    def probe(self, pyramid: Pyramid, labels: Tensor) -> Tensor:
        """Mean cross-entropy of the probes; labels uint8 [B, M, M], 255 unlabelled."""
        weight = _class_weights(labels)
        entropy = weight.new_zeros(())
        for probe, level in zip(self.probes, PROBED_LEVELS, strict=True):
            features: Tensor = getattr(pyramid, level)
            logits = probe(features).float()
            wanted = F.interpolate(
                labels[:, None].float(), size=features.shape[-2:], mode="nearest-exact"
            )
            entropy = entropy + F.cross_entropy(
                logits, wanted[:, 0].long(), weight, ignore_index=ClassId.UNLABELLED
            )
        return entropy / len(PROBED_LEVELS)


def _class_weights(labels: Tensor) -> Tensor:
    """Float32 [19]: a class weighs about 1 / sqrt(its share of the batch)."""
    counts = labels.flatten().bincount(minlength=256)[:CLASS_COUNT]
    return (counts / labels.numel() + SMALLEST_WEIGHED_SHARE).rsqrt()


def initialize(network: DemoNetwork) -> None:
    """Set weights that keep the variance of their input, and zero biases.

    PyTorch's initial weights shrink the variance at every layer. The last layer of the box head
    stays zero, so that boxes start at their reference points.
    """
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            if not module.weight.any():
                continue
            # A transposed convolution with stride = size sums over its input channels only.
            is_transposed = isinstance(module, nn.ConvTranspose2d)
            inputs = module.weight.shape[0] if is_transposed else module.weight[0].numel()
            nn.init.normal_(module.weight, std=inputs**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """The training prompts on the device: tokens, int64 [N, L]; hypernyms, int64 [N, H, L]."""

    tokens: Tensor
    hypernyms: Tensor


def prompt_table(prompts: TrainingPrompts, device: torch.device) -> PromptTokens:
    """The token ids, without the columns that are padding in every row."""
    longest = max(
        int((rows > 0).sum(-1).max(initial=1)) for rows in (prompts.tokens, prompts.hypernyms)
    )
    return PromptTokens(
        torch.from_numpy(prompts.tokens[..., :longest]).to(device),
        torch.from_numpy(prompts.hypernyms[..., :longest]).to(device),
    )


def encode_prompts(text: TextEncoder, table: PromptTokens, batch: Batch) -> Prompts:
    """The K prompts of the batch: [text | neighbours | hypernyms], as in prompts/compile.py."""
    asked = batch.context.shape[0]
    rows = table.tokens[batch.vocabulary]
    pooled = pooled_embeddings(text.input_embeddings(rows), rows == 0)
    neighbors, lonely = neighbor_embeddings(pooled, NEIGHBORS)
    parents = table.hypernyms[batch.vocabulary[:asked]]
    hypernyms = pooled_embeddings(
        text.input_embeddings(parents.flatten(0, 1)), parents.flatten(0, 1) == 0
    ).view(asked, -1, pooled.shape[-1])
    context = text.project(torch.cat((neighbors[:asked], hypernyms), dim=1))
    missing = torch.cat((lonely[:asked], (parents == 0).all(-1)), dim=1) | ~batch.context
    return Prompts(
        torch.cat((text(rows[:asked]), context.masked_fill(missing[..., None], 0)), dim=1),
        torch.cat((rows[:asked] == 0, missing), dim=1),
    )


def network_input(batch: ImageBatch) -> Tensor:
    """The pixels with gain and offset, resized: float32 [B, 3, side, side] in -1..1."""
    pixels = batch.pixels.float() / 127.5 - 1
    pixels = (pixels * batch.gain + batch.offset).clamp(-1, 1)
    if pixels.shape[-1] == batch.side:
        return pixels
    size = (batch.side, batch.side)
    return F.interpolate(pixels, size=size, mode="bilinear", antialias=True)


def encoder_losses(
    network: DemoNetwork, batch: ImageBatch, weights: LossWeights
) -> dict[str, Tensor]:
    """The weighted loss of stage 1, which needs no prompts."""
    pyramid: Pyramid = network.image.vision_encoder(network_input(batch))
    return {"probes": weights.probes * network.probe(pyramid, batch.labels)}


def training_losses(
    network: DemoNetwork, table: PromptTokens, batch: Batch, weights: LossWeights
) -> dict[str, Tensor]:
    """The weighted losses of stage 2, whose sum is minimised.

    Presence is trained on every pair of image and prompt, the other heads only on pairs whose class
    is present, because presence alone decides about absent classes. Boxes, matches and presence are
    trained at every decoder layer.
    """
    truth = batch.truth
    prompts = encode_prompts(network.text, table, batch)
    model = network.image
    features = model.encode_image(network_input(batch))
    scene, valid = model.fuse(features, prompts)
    decoded: DecoderOutput = model.decoder(scene)
    layers = decoded.hidden.shape[0]
    presence = F.binary_cross_entropy_with_logits(
        decoded.presence_logits.float(),
        truth.presence.flatten().expand(layers, -1),
        weight=truth.presence_weight.flatten().expand(layers, -1),
    )
    probes = network.probe(features.pyramid, batch.labels)
    losses = {"presence": weights.presence * presence, "probes": weights.probes * probes}
    if len(truth.pairs) == 0:
        return losses
    there = truth.pairs
    scores = torch.stack(
        [
            model.scoring(hidden[there], scene.prompt[there], valid[there])
            for hidden in decoded.hidden
        ]
    ).float()
    boxes = torch.cat((decoded.reference_boxes[1:], decoded.boxes[None]))[:, there]
    queries = [match(*layer, truth) for layer in zip(scores, boxes, strict=True)]
    losses |= _object_losses(scores, boxes, queries, truth, weights)
    pixels = _pixel_embeddings(model, features, scene.memory, prompts, scene.prompt, valid, there)
    semantic = model.mask_head.semantic(pixels).float()
    losses |= _semantic_losses(semantic, truth, there // len(prompts), weights)
    if len(truth.owners):
        hidden = decoded.hidden[-1][there][truth.owners, queries[-1]]
        masks = _masks(*model.mask_head.instance_kernels(hidden), pixels, truth.owners)
        losses |= _mask_losses(masks.float(), truth, weights)
    return losses


def _masks(kernels: Tensor, offsets: Tensor, pixels: Tensor, owners: Tensor) -> Tensor:
    """Mask logits [O, g, g]; owners ascend. The loop over pairs avoids pixels [O, d, g, g]."""
    counts = torch.bincount(owners, minlength=len(pixels)).tolist()
    masks = [
        torch.einsum("od,dhw->ohw", part, seen)
        for part, seen in zip(kernels.split(counts), pixels.unbind(), strict=True)
    ]
    return torch.cat(masks) + offsets[:, None, None]


@torch.no_grad()
def match(scores: Tensor, boxes: Tensor, truth: BatchTruth) -> Tensor:
    """Match a different query [O] of its pair to each object, by score and box.

    scores: [P, Q], logits. boxes: [P, Q, 4].
    """
    if len(truth.owners) == 0:
        return truth.owners
    candidates = boxes[truth.owners]
    wanted = truth.boxes[:, None]
    cost = (
        -2 * scores[truth.owners].sigmoid()
        + 5 * (candidates - wanted).abs().sum(-1)
        - 2 * generalized_iou(candidates, wanted)
    )
    counts = torch.bincount(truth.owners, minlength=len(truth.pairs)).tolist()
    columns = [
        torch.from_numpy(assign(part.numpy()))
        for part in cost.double().cpu().split(counts)
        if len(part)
    ]
    return torch.cat(columns).to(scores.device)


def _object_losses(
    scores: Tensor, boxes: Tensor, queries: list[Tensor], truth: BatchTruth, weights: LossWeights
) -> dict[str, Tensor]:
    """scores: [layers, P, Q]. boxes: [layers, P, Q, 4]. queries: the match [O] of each layer."""
    objects = max(len(truth.owners), 1)
    targets = torch.stack([_one_hot(scores[0], truth.owners, matched) for matched in queries])
    answers = torch.stack(
        [layer[truth.owners, matched] for layer, matched in zip(boxes, queries, strict=True)]
    )
    entropy = focal(scores, targets, alpha=FOCAL_ALPHA, gamma=FOCAL_GAMMA)
    distance = (answers - truth.boxes).abs()
    overlap = 1 - generalized_iou(answers, truth.boxes)
    share = 1 / (objects * len(scores))
    return {
        "match": weights.match * entropy.sum() * share,
        "box": weights.box * distance.sum() * share,
        "overlap": weights.overlap * overlap.sum() * share,
    }


def _one_hot(like: Tensor, owners: Tensor, queries: Tensor) -> Tensor:
    targets = torch.zeros_like(like)
    targets[owners, queries] = 1
    return targets


def _semantic_losses(
    logits: Tensor, truth: BatchTruth, images: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """logits: [P, g, g]. images: [P], ascending; the pairs of one image compete in its cells."""
    entropy = map_entropy(logits, truth.semantic, truth.valid).mean()
    overlap = dice(logits, truth.semantic, truth.valid).mean()
    counts = images.bincount().tolist()
    rivals = [
        competition(maps, shares, SMALLEST_WEIGHED_SHARE)
        for maps, shares in zip(logits.split(counts), truth.semantic.split(counts), strict=True)
        if len(maps) > 1
    ]
    rivalry = torch.stack(rivals).mean() if rivals else logits.new_zeros(())
    return {
        "semantic_entropy": weights.semantic_entropy * entropy,
        "semantic_dice": weights.semantic_dice * overlap,
        "competition": weights.competition * rivalry,
    }


def _mask_losses(logits: Tensor, truth: BatchTruth, weights: LossWeights) -> dict[str, Tensor]:
    valid = truth.valid[truth.owners]
    return {
        "mask_entropy": weights.mask_entropy * map_entropy(logits, truth.masks, valid).mean(),
        "mask_dice": weights.mask_dice * dice(logits, truth.masks, valid).mean(),
    }


def _pixel_embeddings(
    model: Sam3ImageModel,
    features: ImageFeatures,
    memory: Tensor,
    prompts: Prompts,
    prompt: Tensor,
    valid: Tensor,
    pairs: Tensor,
) -> Tensor:
    """Pixel embeddings [P, d, g, g] of the pairs whose class is present."""
    images = pairs // len(prompts)
    return model.mask_head.pixels(
        memory[pairs],
        prompt[pairs],
        valid[pairs][:, None, None],
        features.skips.of(images),
    )
