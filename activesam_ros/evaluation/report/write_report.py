"""Write the report of an evaluation: one self-contained page, results.json and CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from activesam_ros.evaluation.datasets.bag_label_ids import uncounted_text
from activesam_ros.evaluation.datasets.stamp_join import JOINED_BY_ORDER
from activesam_ros.evaluation.report.bar_charts import (
    activity_strips,
    class_bars,
    css_color,
    labelled_nowhere,
    latency_histogram,
)
from activesam_ros.evaluation.report.csv_files import csv_files
from activesam_ros.evaluation.report.gallery import ShownFrame, shown_frame
from activesam_ros.evaluation.report.headline import METRIC_TEXTS, headline, lost_text, spread_text
from activesam_ros.evaluation.report.kept_pictures import KeptPictures, ranking_method
from activesam_ros.evaluation.report.line_charts import line_chart
from activesam_ros.evaluation.report.tables import (
    corruption_figures,
    matrices,
    stage_rows,
)
from activesam_ros.evaluation.scoring.frame_figures import FrameFigures, elapsed_s
from activesam_ros.evaluation.scoring.results import SHOWN_PAIRS, number, percent, write_results
from activesam_ros.output_files import write_whole
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.methods import Method

PAGE_NAME = "index.html"
FEW_CLASSES = 30

_TEMPLATES = Path(__file__).with_name("page")


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation.

    content: of results.json. frames: the figures of every frame by method, in order. pictures: of
    the frames to show.
    """

    content: Mapping[str, Any]
    vocabulary: Vocabulary
    frames: Mapping[str, Sequence[FrameFigures]]
    pictures: KeptPictures


def write_report(folder: Path, evaluated: Evaluated) -> Path:
    """Write the page, results.json and the CSV files into ``folder``; raises OutputError."""
    write_results(folder, evaluated.content)
    files = {
        **csv_files(evaluated.content, evaluated.frames, evaluated.vocabulary),
        PAGE_NAME: page(evaluated),
    }
    for name, text in files.items():
        write_whole(folder / name, text)
    return folder / PAGE_NAME


def page(evaluated: Evaluated) -> str:
    """The HTML of the report."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content, vocabulary = evaluated.content, evaluated.vocabulary
    gallery = _gallery(evaluated)
    shown = [frame for _, frames in gallery for frame in frames]
    colors = {entry.name: entry.color for entry in vocabulary.classes}
    return environment.get_template("page.html").render(
        style=(_TEMPLATES / "page.css").read_text("utf-8"),
        script=(_TEMPLATES / "page.js").read_text("utf-8"),
        title=_title(content),
        content=content,
        methods=list(content["methods"]),
        frame_count=len(next(iter(evaluated.frames.values()))),
        vocabulary_name=vocabulary.name,
        sections=_sections(content, bool(gallery)),
        tiles=_tiles(content, len(vocabulary.classes)),
        headline=headline(content),
        spread_text=spread_text(content),
        lost_text=lost_text(content),
        weights=_weights(content),
        stages=stage_rows(content),
        class_bars=class_bars(content, colors),
        labelled_nowhere=labelled_nowhere(content),
        few_classes=FEW_CLASSES,
        corruptions=corruption_figures(content),
        matrices=matrices(content),
        histogram=latency_histogram(evaluated.frames),
        latency=line_chart(evaluated.frames, lambda entry: entry.latency_ms, "ms"),
        active=line_chart(
            evaluated.frames,
            lambda entry: float(len(entry.active)),
            upper_of=lambda entry: None if entry.admitted is None else float(len(entry.admitted)),
        ),
        concepts=_concepts(content),
        strips=activity_strips(evaluated.frames, len(vocabulary.classes)),
        class_names=[entry.name for entry in vocabulary.classes],
        class_colors=[css_color(entry.color) for entry in vocabulary.classes],
        gallery=gallery,
        gallery_text=_gallery_text(evaluated),
        prediction_names=list(
            dict.fromkeys(layer.name for frame in shown for layer in frame.predictions)
        ),
        notes=_notes(content),
        percent=percent,
        shown_pairs=SHOWN_PAIRS,
    )


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure in large letters. about: what it is, in a longer sentence."""

    value: str
    unit: str
    text: str
    about: str = ""


def _title(content: Mapping[str, Any]) -> str:
    if "recording" in content:
        recording = content["recording"]
        return f"{Path(recording['path']).name}, {recording['image_topic']}"
    return str(content["dataset"].get("title") or content["dataset"]["name"])


def _tiles(content: Mapping[str, Any], classes: int) -> list[Tile]:
    """The main figures of the first method; its speed is compared with full if that ran."""
    name, entry = next(iter(content["methods"].items()))
    full = content["methods"].get(Method.FULL.value) if name != Method.FULL.value else None
    tiles: list[Tile] = []
    labelled, lost = entry["miou_of_labelled_classes"], entry["lost_classes"]
    if labelled is not None:
        text = f"mean IoU of {name} over labelled classes"
        if full and full["miou_of_labelled_classes"] is not None:
            text += f", {percent(full['miou_of_labelled_classes'])} with full"
        tiles.append(Tile(percent(labelled), "%", text, METRIC_TEXTS["miou_of_labelled_classes"]))
    if lost is not None:
        text = f"{'class' if len(lost) == 1 else 'classes'} lost by pruning"
        tiles.append(Tile(str(len(lost)), "", text, METRIC_TEXTS["classes_lost_by_pruning"]))
    if entry["agreement_with_full"] is not None and name != Method.FULL.value:
        tiles.append(
            Tile(
                percent(entry["agreement_with_full"]),
                "%",
                f"of pixels equal to unpruned labels, over {entry['agreement_frames']} frames",
                METRIC_TEXTS["agreement_with_full"],
            )
        )
    if entry["frames_per_second"]:
        text = "frames per second"
        if full and full["frames_per_second"]:
            ratio = entry["frames_per_second"] / full["frames_per_second"]
            text += f", {ratio:.1f} × full"
        about = METRIC_TEXTS["frames_per_second"]
        tiles.append(Tile(number(entry["frames_per_second"], 2), "", text, about))
    text = f"of {classes} classes decoded per frame"
    about = METRIC_TEXTS["active_classes_mean"]
    tiles.append(Tile(number(entry["active_classes_mean"], 1), "", text, about))
    return tiles


def _weights(content: Mapping[str, Any]) -> str:
    """The name of the weights file and the beginning of its fingerprint."""
    weights = content.get("weights")
    return f"{Path(weights['path']).name} ({weights['fingerprint'][:12]})" if weights else "unknown"


def _sections(content: Mapping[str, Any], has_gallery: bool) -> list[tuple[str, str]]:
    """Anchors and names of the page's sections."""
    labelled = any(entry["confusion_matrix"] for entry in content["methods"].values())
    all_sections = (
        ("headline", "Methods", True),
        ("gallery", "Frames", has_gallery),
        ("classes", "Classes", labelled),
        ("corruptions", "Corruptions", "corruptions" in content),
        ("latency", "Latency", True),
        ("active", "Active set", True),
        ("concepts", "Signatures", bool(_concepts(content))),
        ("confusion", "Confusion", labelled),
        ("settings", "Settings", True),
    )
    return [(anchor, text) for anchor, text, there in all_sections if there]


def _concepts(content: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What signatures change, of each method that has them."""
    changes = ((name, entry["concept_changes"]) for name, entry in content["methods"].items())
    return [(name, entry) for name, entry in changes if entry is not None]


def _gallery_text(evaluated: Evaluated) -> str:
    method = ranking_method([Method(name) for name in evaluated.frames]).value
    figures = evaluated.frames[method]
    if any(entry.miou is not None for entry in figures):
        by = f"mean IoU of {method} over the classes in the frame"
    elif any(entry.agreement_with_full is not None for entry in figures):
        by = f"the share of pixels where {method} agrees with full; there is no ground truth"
    else:
        return "At even distances over the run. The slider moves the boundary."
    return f"Ranked by {by}. The sliders move the boundaries."


def _gallery(evaluated: Evaluated) -> list[tuple[str, list[ShownFrame]]]:
    by_place = {
        name: {entry.place: entry for entry in group} for name, group in evaluated.frames.items()
    }
    first = next(iter(evaluated.frames.values()))
    second_of = dict(zip((entry.place for entry in first), elapsed_s(first) or (), strict=False))
    return [
        (
            group.title,
            [
                shown_frame(
                    place,
                    evaluated.pictures.pictures[place],
                    {name: figures[place] for name, figures in by_place.items()},
                    second_of.get(place),
                )
                for place in group.places
            ],
        )
        for group in evaluated.pictures.groups()
    ]


def _notes(content: Mapping[str, Any]) -> list[str]:
    """Problems of the input, from results.json."""
    recording, dataset = content.get("recording", {}), content.get("dataset", {})
    notes = [dataset["images_used"]] if "images_used" in dataset else []
    notes += [f"{note}." for note in recording.get("notes", [])]
    notes += [f"{times} × {problem}" for problem, times in recording.get("problems", {}).items()]
    if recording.get("images_without_labels"):
        notes.append(
            f"{recording['images_without_labels']} images have no labels of the same stamp."
        )
    if recording.get("labels_joined_by") == "order":
        notes.append(JOINED_BY_ORDER)
    uncounted = uncounted_text(recording)
    return [*notes, uncounted] if uncounted else notes
