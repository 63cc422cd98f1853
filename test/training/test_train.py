from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from activesam_ros.demo.drive.options import TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS
from activesam_ros.errors import CheckpointError, OutputError, UsageError
from activesam_ros.sam3.checkpoint import load_image_model, load_text_encoder
from activesam_ros.sam3.config import Sam3Config
from training import train
from training.batch import make_batch
from training.export import export
from training.frames import TrainingFrames, label_side, load_frames
from training.network import (
    DemoNetwork,
    encode_prompts,
    initialize,
    prompt_table,
    training_losses,
)
from training.options import BatchOptions, LossWeights, TrainingOptions
from training.prompts import ABSENT, TrainingPrompts
from training.run import CHECKPOINT_NAME, CURVE_NAME, Pace, TrainingRun

CPU = torch.device("cpu")
TINY = Sam3Config(
    resolution=84,
    pretrain_resolution=28,
    vision_width=32,
    vision_layers=2,
    vision_heads=2,
    vision_mlp_ratio=2.0,
    global_attention_blocks=(1,),
    window_size=2,
    text_width=16,
    text_heads=2,
    text_layers=1,
    context_length=6,
    d_model=16,
    ffn_dim=32,
    attention_heads=2,
    encoder_layers=1,
    decoder_layers=2,
    geometry_layers=1,
    num_queries=6,
)
BATCH = BatchOptions(images=2, prompts=6, present_prompts=2)
OPTIONS = TrainingOptions(
    steps=8,
    encoder_share=0.375,
    warmup_steps=2,
    learning_rate=2e-3,
    encoder_batch=dataclasses.replace(BATCH, full_resolution_share=0.5),
    batch=BATCH,
)


@pytest.fixture
def frames() -> TrainingFrames:
    """Two frames: a road below the sky with two cars, and the same without cars."""
    side = label_side(TINY)
    labels = np.full((2, side, side), 10, np.uint8)
    labels[:, side // 2 :] = 0
    instances = np.zeros_like(labels)
    for number, left in ((1, 4), (2, 28)):
        labels[0, 26:38, left : left + 12] = 13
        instances[0, 26:38, left : left + 12] = number
    colors = np.zeros((256, 3), np.uint8)
    colors[[0, 10, 13]] = (90, 90, 90), (120, 170, 240), (200, 30, 30)
    rows = np.arange(TINY.resolution) * side // TINY.resolution
    pixels = colors[labels[:, rows[:, None], rows]].transpose(0, 3, 1, 2)
    return TrainingFrames(np.ascontiguousarray(pixels), labels, instances)


@pytest.fixture
def prompts() -> TrainingPrompts:
    """Every class by one bundled name and one synonym, and ten absent names; some hypernyms."""
    count = 48
    tokens = np.zeros((count, TINY.context_length), np.int64)
    tokens[:, 0], tokens[:, 1], tokens[:, 2] = 49406, np.arange(1000, 1000 + count), 49407
    class_ids = np.array([*range(19), *range(19), *([ABSENT] * 10)])
    hypernyms = np.zeros((count, 2, TINY.context_length), np.int64)
    hypernyms[::2, 0] = tokens[::-2]
    return TrainingPrompts(
        names=tuple(f"name {index}" for index in range(count)),
        tokens=tokens,
        class_ids=class_ids,
        bundled=np.arange(count) < 19,
        hypernyms=hypernyms,
    )


def test_seeds_of_training_validation_and_tests_are_disjoint() -> None:
    assert not set(TRAIN_SEEDS) & set(VALIDATION_SEEDS)
    assert not set(TRAIN_SEEDS) & set(TEST_SEEDS)
    assert not set(VALIDATION_SEEDS) & set(TEST_SEEDS)
    for recipe in (train.CPU_RECIPE, train.CUDA_RECIPE):
        assert recipe.drives <= len(TRAIN_SEEDS)


def test_a_step_decides_its_batch(frames: TrainingFrames, prompts: TrainingPrompts) -> None:
    first, same, other = (
        make_batch(step, frames, prompts, TINY, BATCH, seed=3) for step in (5, 5, 6)
    )
    assert torch.equal(first.pixels, same.pixels)
    assert torch.equal(first.vocabulary, same.vocabulary)
    assert torch.equal(first.gain, same.gain)
    assert not torch.equal(first.gain, other.gain)


def test_both_resolutions_are_seen(frames: TrainingFrames, prompts: TrainingPrompts) -> None:
    batches = [make_batch(step, frames, prompts, TINY, BATCH, seed=0) for step in range(20)]
    assert {batch.side for batch in batches} == {84, 56}


def test_training_lowers_the_loss(frames: TrainingFrames, prompts: TrainingPrompts) -> None:
    torch.manual_seed(0)
    network = DemoNetwork(TINY)
    table = prompt_table(prompts, CPU)
    batch = make_batch(0, frames, prompts, TINY, BATCH, seed=0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    totals = []
    for _ in range(25):
        losses = training_losses(network, table, batch, LossWeights())
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.75 * totals[0]


def test_weights_keep_the_variance_of_what_passes() -> None:
    torch.manual_seed(0)
    network = DemoNetwork(TINY)
    initialize(network)
    pyramid = network.image.vision_encoder(torch.randn(4, 3, 84, 84))
    assert all(0.2 < level.std() < 3 for level in pyramid)
    state = network.state_dict()
    assert not state["image.decoder.bbox_embed.layers.2.weight"].any()


def test_the_first_stage_trains_the_image_encoder_alone(
    tmp_path: Path, frames: TrainingFrames, prompts: TrainingPrompts
) -> None:
    run = TrainingRun(tmp_path, TINY, OPTIONS, CPU)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.train(frames, prompts, Pace(pause_at=OPTIONS.encoder_steps))
    changed = {
        name for name, value in run.network.state_dict().items() if not value.equal(before[name])
    }
    assert {name for name in changed if not name.startswith("probes.")} == {
        name for name in before if name.startswith("image.vision_encoder.")
    }


def test_every_parameter_learns(frames: TrainingFrames, prompts: TrainingPrompts) -> None:
    network = DemoNetwork(TINY)
    batch = make_batch(0, frames, prompts, TINY, BATCH, seed=0)
    batch = dataclasses.replace(batch, context=torch.ones_like(batch.context))
    losses = training_losses(network, prompt_table(prompts, CPU), batch, LossWeights())
    torch.stack(list(losses.values())).sum().backward()
    # The box head starts at zero, so that the layers below it wait for its first step.
    waiting = ("bbox_embed.layers.0", "bbox_embed.layers.1")
    silent = [
        name
        for name, parameter in network.named_parameters()
        if (parameter.grad is None or not parameter.grad.abs().sum() > 0)
        and not any(part in name for part in waiting)
    ]
    assert silent == []


def test_dropped_context_is_padding(frames: TrainingFrames, prompts: TrainingPrompts) -> None:
    network = DemoNetwork(TINY)
    batch = make_batch(0, frames, prompts, TINY, BATCH, seed=0)
    asked, length = len(batch.context), 3
    for kept in (True, False):
        context = torch.full_like(batch.context, kept)
        encoded = encode_prompts(
            network.text,
            prompt_table(prompts, CPU),
            dataclasses.replace(batch, context=context),
        )
        assert encoded.tokens.shape == (asked, length + 4, TINY.d_model)
        assert not encoded.padding[:, :length].any()
        assert encoded.padding[:, length : length + 2].all().item() is not kept


def test_a_run_that_goes_on_equals_one_that_was_not_interrupted(
    tmp_path: Path, frames: TrainingFrames, prompts: TrainingPrompts
) -> None:
    whole = TrainingRun(tmp_path / "whole", TINY, OPTIONS, CPU)
    whole.train(frames, prompts, Pace())
    for pause_at, workers in ((5, 0), (None, 1)):
        parts = TrainingRun(tmp_path / "parts", TINY, OPTIONS, CPU)
        parts.train(frames, prompts, Pace(workers=workers, pause_at=pause_at))
    assert parts.step == whole.step == OPTIONS.steps
    for name, value in whole.average.items():
        torch.testing.assert_close(parts.average[name], value, rtol=0, atol=0)
    first, *_, last = map(json.loads, (tmp_path / "parts" / CURVE_NAME).read_text().splitlines())
    assert first["step"] == OPTIONS.encoder_steps
    assert set(first) == {"step", "loss", "probes", "seconds_per_step"}
    assert last["step"] == OPTIONS.steps
    assert last["loss"] > 0


def test_a_run_begins_with_the_weights_it_is_given(tmp_path: Path) -> None:
    trained = TrainingRun(tmp_path / "run", TINY, dataclasses.replace(OPTIONS, seed=5), CPU)
    trained.save()
    weights = export(trained.checkpoint, tmp_path / "out")
    begun = TrainingRun(tmp_path / "next", TINY, OPTIONS, CPU, start=weights)
    assert len(begun.average) == len(trained.average)
    for name, value in begun.average.items():
        if not name.startswith("probes."):
            assert torch.equal(value, trained.average[name].half().float()), name


def test_a_run_does_not_begin_with_weights_of_another_network(tmp_path: Path) -> None:
    trained = TrainingRun(tmp_path / "run", TINY, OPTIONS, CPU)
    trained.save()
    weights = export(trained.checkpoint, tmp_path / "out")
    with pytest.raises(CheckpointError):
        TrainingRun(
            tmp_path / "next", dataclasses.replace(TINY, d_model=32), OPTIONS, CPU, start=weights
        )


def test_a_run_may_be_made_longer_and_nothing_else(tmp_path: Path) -> None:
    TrainingRun(tmp_path, TINY, OPTIONS, CPU).save()
    TrainingRun(tmp_path, TINY, dataclasses.replace(OPTIONS, steps=9), CPU)
    with pytest.raises(UsageError, match="holds a run with other options"):
        TrainingRun(tmp_path, TINY, dataclasses.replace(OPTIONS, seed=1), CPU)


def test_what_is_exported_is_loaded(tmp_path: Path) -> None:
    run = TrainingRun(tmp_path / "run", TINY, OPTIONS, CPU)
    run.save()
    weights = export(run.checkpoint, tmp_path / "out")
    config = Sam3Config.from_json(tmp_path / "out" / "config.json")
    assert config == TINY
    image = load_image_model(weights, config, CPU, torch.float32)
    text = load_text_encoder(weights, config, CPU, torch.float32)
    loaded = {f"image.{name}": value for name, value in image.named_parameters()}
    loaded |= {f"text.{name}": value for name, value in text.named_parameters()}
    assert loaded.keys() == {name for name in run.average if not name.startswith("probes.")}
    for name, value in loaded.items():
        torch.testing.assert_close(value, run.average[name].half().float(), rtol=0, atol=0)


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        export(tmp_path / CHECKPOINT_NAME, tmp_path)
    (tmp_path / CHECKPOINT_NAME).write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="delete it to start again"):
        export(tmp_path / CHECKPOINT_NAME, tmp_path)


def test_the_rate_warms_up_and_falls_in_each_stage() -> None:
    options = TrainingOptions(
        steps=150, encoder_share=1 / 3, warmup_steps=10, encoder_rate=2.0, learning_rate=1.0
    )
    rates = [options.rate(step) for step in range(150)]
    for stage, highest in ((rates[:50], 2.0), (rates[50:], 1.0)):
        assert stage[0] == pytest.approx(highest / 10)
        assert max(stage) == pytest.approx(highest)
        assert stage[10:] == sorted(stage[10:], reverse=True)
        assert stage[-1] < 0.03 * highest


def test_the_image_encoder_learns_slower_once_the_rest_learns(
    tmp_path: Path, frames: TrainingFrames, prompts: TrainingPrompts
) -> None:
    options = dataclasses.replace(OPTIONS, encoder_rate_share=0.0)
    run = TrainingRun(tmp_path, TINY, options, CPU)
    run.train(frames, prompts, Pace(pause_at=options.encoder_steps))
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.train(frames, prompts, Pace())
    changed = {
        name for name, value in run.network.state_dict().items() if not value.equal(before[name])
    }
    assert changed
    assert not any(name.startswith("image.vision_encoder.") for name in changed)
    assert options.image_encoder_rate(0) == options.rate(0)


def _arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(words)


def test_frames_are_rendered_once_trained_on_and_exported(tmp_path: Path) -> None:
    recipe = train.TrainingRecipe(
        drives=2,
        frames_per_drive=1,
        config=dataclasses.replace(TINY, context_length=32),
        options=dataclasses.replace(OPTIONS, steps=2),
    )
    data, output = tmp_path / "data", tmp_path / "run"
    paths, prompts = train.prepare(recipe, data, workers=1)
    assert set(prompts.class_ids) == {ABSENT, *range(19)}
    frames = load_frames(paths, recipe.config)
    assert len(frames) == 2
    assert frames.instances.max() > 0
    written = [path.stat().st_mtime_ns for path in paths]
    train.train(recipe, output, data, CPU, Pace())
    assert [path.stat().st_mtime_ns for path in paths] == written
    assert train.run(_arguments("--output", str(output), "--export-only")) == 0
    assert (output / "model.safetensors").is_file()


def test_arguments_change_the_recipe(tmp_path: Path) -> None:
    args = _arguments("--output", str(tmp_path), "--steps", "7", "--seed", "3", "--drives", "5")
    recipe = train.recipe_from(args, train.CPU_RECIPE)
    assert (recipe.drives, recipe.options.steps, recipe.options.seed) == (5, 7, 3)
    started = train.recipe_from(
        _arguments("--output", str(tmp_path), "--start", "model.safetensors"), train.CPU_RECIPE
    )
    assert started.options.encoder_rate == train.CPU_RECIPE.options.encoder_rate / 2
    plain = train.recipe_from(_arguments("--output", str(tmp_path)), train.CPU_RECIPE)
    assert plain == train.CPU_RECIPE


@pytest.mark.parametrize("module", ["training", "training.measure", "training.class_shares"])
def test_the_commands_run_from_the_root_of_the_repository(repository: Path, module: str) -> None:
    command = [sys.executable, "-m", module, "--help"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=repository)
    assert (found.returncode, found.stderr) == (0, "")
    assert "usage: " in found.stdout


def test_training_on_prepared_data_needs_torch_and_numpy_alone(repository: Path) -> None:
    others = ("cv2", "ftfy", "nltk", "regex", "rosbags", "safetensors", "yaml")
    script = f"import sys; sys.modules.update(dict.fromkeys({others})); "
    script += "import training.train"
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, capture_output=True, text=True, cwd=repository)
    assert found.returncode == 0, found.stderr


def test_options_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--steps 0 is too small"):
        train.run(_arguments("--output", str(tmp_path), "--steps", "0"))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_weights_that_no_training_there_made_are_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=f"has {name} but no checkpoint"):
        train.run(_arguments("--output", str(tmp_path), "--steps", "1"))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"
