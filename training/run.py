"""The run: optimiser, schedule, averaged weights, checkpoints and the log of the losses."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from activesam_ros.errors import CheckpointError, UsageError
from activesam_ros.output_files import make_folder, whole_file, write_whole
from activesam_ros.sam3.checkpoint import load_image_model, load_text_encoder
from activesam_ros.sam3.config import Sam3Config
from training.batch import Batch, ImageBatch, StepBatches
from training.frames import TrainingFrames
from training.network import (
    DemoNetwork,
    PromptTokens,
    encoder_losses,
    initialize,
    prompt_table,
    training_losses,
)
from training.options import TrainingOptions
from training.prompts import TrainingPrompts

CHECKPOINT_NAME = "checkpoint.pt"
CURVE_NAME = "curve.jsonl"
LOG_EVERY = 20


@dataclass(frozen=True)
class Pace:
    """How a run proceeds.

    workers: number of extra processes that make batches. pause_at: the step to stop before, with a
    checkpoint that the same command resumes.
    """

    checkpoint_every: int = 200
    workers: int = 0
    pause_at: int | None = None


class TrainingRun:
    """A training run in a folder, at some step. It resumes the checkpoint in the folder."""

    def __init__(
        self,
        folder: Path,
        config: Sam3Config,
        options: TrainingOptions,
        device: torch.device,
        start: Path | None = None,
    ) -> None:
        """Begin with the exported weights ``start`` or with random ones, or resume.

        Raises UsageError if the folder holds a run with other options, CheckpointError if ``start``
        does not hold weights of ``config``.
        """
        self.folder, self.config, self.options, self.device = folder, config, options, device
        # Initialised on the CPU, so that the weights do not depend on the device.
        torch.manual_seed(options.seed)
        self.network = DemoNetwork(config)
        initialize(self.network)
        if start is not None:
            _fill(self.network, start, config)
        self.network.to(device)
        self.average = {
            name: parameter.detach().clone() for name, parameter in self.network.named_parameters()
        }
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.network, options.weight_decay),
            lr=options.learning_rate,
            betas=(0.9, 0.98),
        )
        self.step = 0
        make_folder(folder)
        if self.checkpoint.is_file():
            self._restore()

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_NAME

    def train(self, frames: TrainingFrames, prompts: TrainingPrompts, pace: Pace) -> None:
        """Train to the last step or to the pause, and write a checkpoint at the end."""
        last = min(self.options.steps, pace.pause_at or self.options.steps)
        table = prompt_table(prompts, self.device)
        sums: dict[str, Tensor] = {}
        summed = 0
        started, first = time.monotonic(), self.step
        self._forget_curve_after(self.step)
        for batch in self._batches(frames, prompts, last, pace.workers):
            losses = self._take_step(batch, table)
            for name, loss in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + loss.detach()
            summed += 1
            if self.step % LOG_EVERY == 0 or self.step in (self.options.encoder_steps, last):
                seconds = (time.monotonic() - started) / (self.step - first)
                self._log({name: value.item() / summed for name, value in sums.items()}, seconds)
                sums, summed = {}, 0
            if self.step % pace.checkpoint_every == 0:
                self.save()
        self.save()

    def save(self) -> None:
        """Write the checkpoint; if interrupted, the previous one stays. Raises OutputError."""
        state = Checkpoint(
            step=self.step,
            told=self._told(),
            network=self.network.state_dict(),
            average=self.average,
            optimizer=self.optimizer.state_dict(),
        )
        content = io.BytesIO()  # torch.save reports a full disk as an internal error
        torch.save(vars(state), content)
        with whole_file(self.checkpoint) as stream:
            stream.write(content.getbuffer())

    def _take_step(self, batch: ImageBatch, table: PromptTokens) -> dict[str, Tensor]:
        options = self.options
        rate, encoder_rate = options.rate(self.step), options.image_encoder_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = encoder_rate if group["is_image_encoder"] else rate
        moved = batch.to(self.device)
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"
        ):
            losses = (
                training_losses(self.network, table, moved, options.weights)
                if isinstance(moved, Batch)
                else encoder_losses(self.network, moved, options.weights)
            )
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), options.gradient_norm)
        self.optimizer.step()
        self.step += 1
        # The average forgets the first weights faster.
        decay = min(options.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                self.average[name].lerp_(parameter, 1 - decay)
        return losses

    def _batches(
        self, frames: TrainingFrames, prompts: TrainingPrompts, last: int, workers: int
    ) -> Iterable[ImageBatch]:
        """The batches of the remaining steps, made in advance by ``workers`` processes."""
        steps = StepBatches(frames, prompts, self.config, self.options, self.step, last)
        loader: DataLoader[ImageBatch] = DataLoader(steps, batch_size=None, num_workers=workers)
        return loader

    def _log(self, means: dict[str, float], seconds: float) -> None:
        losses = {name: round(value, 5) for name, value in means.items()}
        line = {"step": self.step, "loss": round(sum(losses.values()), 5), **losses}
        line["seconds_per_step"] = round(seconds, 4)
        with (self.folder / CURVE_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        left = seconds * (self.options.steps - self.step) / 60
        print(f"step {self.step}: loss {line['loss']:.3f}, {left:.1f} min left", flush=True)

    def _forget_curve_after(self, step: int) -> None:
        """Drop the log lines after ``step``, which an interrupted run left behind."""
        curve = self.folder / CURVE_NAME
        if not curve.is_file():
            return
        lines = [line for line in curve.read_text(encoding="utf-8").splitlines() if line]
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        write_whole(curve, "".join(f"{line}\n" for line in kept))

    def _told(self) -> str:
        options = dataclasses.asdict(self.options)
        del options["steps"]  # a resumed run may be longer or shorter
        return json.dumps([dataclasses.asdict(self.config), options])

    def _restore(self) -> None:
        state = read_checkpoint(self.checkpoint)
        if state.told != self._told():
            raise UsageError(
                f"{self.folder} holds a run with other options; only --steps may change. Give the "
                "same options again, or another --output folder."
            )
        self.network.load_state_dict(state.network)
        for name, value in state.average.items():
            self.average[name].copy_(value)
        self.optimizer.load_state_dict(state.optimizer)
        self.step = state.step
        print(f"resuming at step {self.step} of {self.options.steps}", flush=True)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run. told: JSON of the network's configuration and the run's options."""

    step: int
    told: str
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any]


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint of a run, on the CPU; raises CheckpointError if it cannot be read."""
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint {path}; train first.") from None
    except (OSError, RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"{path} is no checkpoint of a training run ({reason}); delete it to start again."
        ) from None


def _fill(network: DemoNetwork, weights: Path, config: Sam3Config) -> None:
    """Copy exported weights into ``network``; the probes, which are not exported, do not change."""
    cpu = torch.device("cpu")
    image = load_image_model(weights, config, cpu, torch.float32)
    text = load_text_encoder(weights, config, cpu, torch.float32)
    with torch.no_grad():
        for part, loaded in ((network.image, image), (network.text, text)):
            values = dict(loaded.named_parameters())
            for name, parameter in part.named_parameters():
                parameter.copy_(values[name])


def _parameter_groups(network: DemoNetwork, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: the image encoder has its own rate, and only matrices decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        is_table = "embed" in name and "mlp" not in name
        decays = parameter.ndim >= 2 and not is_table
        is_image_encoder = name.startswith("image.vision_encoder.")
        groups.setdefault((is_image_encoder, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": weight_decay if decays else 0.0,
            "is_image_encoder": is_image_encoder,
        }
        for (is_image_encoder, decays), parameters in groups.items()
    ]
