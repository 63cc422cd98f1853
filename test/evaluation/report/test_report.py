"""The files of a report, and its page in a real browser."""

from __future__ import annotations

import copy
import csv
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from activesam_ros.evaluation.corruption_results import LEADING, corruption_results
from activesam_ros.evaluation.corruptions.catalogue import Corrupter, Corruption, CorruptionPlan
from activesam_ros.evaluation.datasets.sample_source import Sample
from activesam_ros.evaluation.evaluator import Evaluator, Tallies
from activesam_ros.evaluation.report.bar_charts import labelled_nowhere
from activesam_ros.evaluation.report.csv_files import csv_files
from activesam_ros.evaluation.report.headline import HeadlineRow, headline, lost_text, spread_text
from activesam_ros.evaluation.report.tables import corruption_figures
from activesam_ros.evaluation.report.write_report import Evaluated, page, write_report
from activesam_ros.evaluation.scoring.metrics import IdMap
from activesam_ros.evaluation.scoring.results import document, machine, percent, summary_table
from activesam_ros.evaluation.scoring.tally import prediction_ids
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass, vocabulary_from_names
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Segmentation

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FRAMES = 24
EVIL = "<script>alert('x')</script> & \"tree\""
CPU = torch.device("cpu")
VOCABULARY = Vocabulary(
    "small & <b>bold</b>",
    (
        VocabularyClass(0, ("road",), (128, 64, 128)),
        VocabularyClass(1, (EVIL,), (107, 142, 35)),
        VocabularyClass(7, ("sky",), (70, 130, 180)),
        VocabularyClass(9, ("never seen",), (1, 2, 3)),
    ),
)
CHROMIUM_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SECTIONS = (
    "headline", "gallery", "classes", "corruptions", "latency", "active", "confusion", "settings",
)  # fmt: skip
CORRUPTIONS = CorruptionPlan((Corruption("jpeg_compression", 5), Corruption("contrast", 2)))


class Shifted:
    """Labels each pixel by the red level of the one ``by`` places to its right."""

    def __init__(self, by: int, active: tuple[int, ...], admitted: tuple[int, ...] = ()) -> None:
        self._by, self._active, self._admitted = by, active, admitted

    def segment(self, image: NDArray[np.uint8], /) -> Segmentation:
        labels = np.roll(image[..., 0], -self._by, axis=1)
        stages = {"encode": 1.0, "total": 2.0}
        return Segmentation(
            labels, (None,) * 4, self._active, (), stages, admitted_queries=self._admitted
        )


class Always:
    """Gives the same labels for every image."""

    def __init__(self, labels: NDArray[np.uint8]) -> None:
        self._labels = labels

    def segment(self, image: NDArray[np.uint8], /) -> Segmentation:
        return Segmentation(self._labels, (None,) * 4, (0, 1), (), {"total": 1.0})


def samples(labelled: bool) -> Iterator[Sample]:
    """Stripes of three classes that move; places 0 to FRAMES - 1, a quarter second apart."""
    for place in range(FRAMES):
        stripe = (np.arange(60) + place * place) // 10 % 3
        labels = np.tile(np.array([0, 1, 7], np.uint8)[stripe], (40, 1))
        image = np.repeat(labels[..., None], 3, axis=2)
        stamp_ns = 1_000_000_000 + place * 250_000_000
        yield Sample(image, labels if labelled else None, stamp_ns, place, "/camera")


def evaluated(
    labelled: bool, corrupted: bool = True, first: tuple[Method, Shifted] | None = None
) -> Evaluated:
    """first: takes the place of activesam."""
    method, segmenter = first or (Method.ACTIVESAM, Shifted(3, (0, 1)))
    segmenters = {method: segmenter, Method.FULL: Shifted(1, (0, 1, 2, 3))}
    ids = prediction_ids(VOCABULARY)
    evaluator = Evaluator(
        segmenters,
        VOCABULARY,
        ids if labelled else None,
        CPU,
        pictures=True,
        corrupter=Corrupter(CORRUPTIONS) if corrupted else None,
    )
    tallies: Tallies = evaluator.run(samples(labelled), lambda: None)
    # The page's width must not depend on how fast this computer is.
    for number, tally in enumerate(tallies.clean.values()):
        tally.figures = [
            dataclasses.replace(entry, latency_ms=80.0 + 40 * number + entry.place)
            for entry in tally.figures
        ]
    about = {
        "recording": {
            "path": "/data/drive <1>.mcap",
            "image_topic": "/camera",
            "notes": ["a file is missing"],
            "problems": {"/camera: 5 bytes": 2},
            "images_without_labels": 0,
            "label_names_not_in_vocabulary": ["dragon"],
            "uncounted_labels": {"dragon": 600},
            "label_pixels": FRAMES * 60 * 40 + 600,
        },
        "weights": {"path": "/w/model.safetensors", "fingerprint": "0123456789abcdef"},
        "settings": {method.value: {"max_active": 40} for method in segmenters},
        "published": {
            "activesam": {
                "miou": 0.697,
                "frames_per_second": 4.04,
                "mean_miou": 0.653,
                "times_segearth": [7.3, 12.2],
            }
        },
    }
    content = document(tallies.clean, machine(CPU, torch.float32), about)
    if corrupted:
        content["corruptions"] = corruption_results(tallies, CORRUPTIONS.seed)
    frames = {method.value: tally.figures for method, tally in tallies.clean.items()}
    assert tallies.pictures is not None
    return Evaluated(content, VOCABULARY, frames, tallies.pictures)


@pytest.fixture(scope="module")
def labelled() -> Evaluated:
    return evaluated(labelled=True)


@pytest.fixture(scope="module")
def unlabelled() -> Evaluated:
    return evaluated(labelled=False)


@pytest.fixture(scope="module")
def folder(labelled: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "new"
    write_report(path, labelled)
    return path


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_files_of_a_report(folder: Path, labelled: Evaluated) -> None:
    names = {"index.html", "results.json", "methods.csv", "classes.csv", "frames.csv"}
    names.add("corruptions.csv")
    assert {path.name for path in folder.iterdir()} == names
    assert json.loads((folder / "results.json").read_text()) == labelled.content
    assert (folder / "index.html").stat().st_size < 300_000


def rows_of(content: dict[str, Any]) -> dict[str, HeadlineRow]:
    return {row.title: row for row in headline(content)}


def test_the_best_are_marked_only_beyond_the_frames_spread(labelled: Evaluated) -> None:
    content = copy.deepcopy(dict(labelled.content))
    metric = content["spread"]["differences"]["frames_per_second"]
    metric["best"], values = "full", {"difference": -0.5, "low": -0.9, "high": 0.1}
    metric["others"] = {"activesam": values}
    row = rows_of(content)["Frames per second"]
    assert (row.best, row.differences) == ((False, False), (("-0.50", "(-0.90 to +0.10)"), ()))
    values["high"] = -0.1
    assert rows_of(content)["Frames per second"].best == (False, True)
    # Of three, those that cannot be told from the best are marked with it.
    content["methods"]["sam3"] = content["methods"]["full"]
    metric["others"]["sam3"] = {"difference": -0.1, "low": -0.3, "high": 0.2}
    assert rows_of(content)["Frames per second"].best == (False, True, True)
    content["spread"] = None
    row = rows_of(content)["Frames per second"]
    assert (row.best, row.differences) == ((False,) * 3, ((),) * 3)
    assert "too few frames" in spread_text(content)


def test_predicting_less_is_not_rewarded() -> None:
    """The pruned method predicts two classes that are there; full also one that is not there."""
    truth = np.repeat(np.array([[0, 0, 1, 1, 7, 7]], np.uint8), 6, axis=0)
    truth[0] = 255  # not labelled
    predicted = {Method.ACTIVESAM: truth.copy(), Method.FULL: truth.copy()}
    predicted[Method.ACTIVESAM][:, 4:] = 0  # sky is lost
    predicted[Method.FULL][1, 0] = 9  # never labelled
    for labels in predicted.values():
        labels[0] = 0
    evaluator = Evaluator(
        {method: Always(labels) for method, labels in predicted.items()},
        VOCABULARY,
        IdMap.of({0: 0, 1: 1, 7: 2, 9: 3}, 4, (255,)),
        CPU,
    )
    image = np.zeros((6, 6, 3), np.uint8)
    frames = [Sample(image, truth, None, place, str(place)) for place in range(12)]
    content = document(
        evaluator.run(frames, lambda: None).clean, machine(CPU, torch.float32), {"settings": {}}
    )
    rows = rows_of(content)
    assert next(iter(rows)) == "Mean IoU of labelled classes"
    assert rows["Mean IoU of labelled classes"].cells == ("50.0", "96.7")
    assert rows["Mean IoU of labelled classes"].best == (False, True)
    assert rows["Mean IoU of labelled classes"].differences[0] == (
        "-46.7", "(-46.7 to -46.7)",
    )  # fmt: skip
    assert rows["Mean IoU, all classes"].cells == ("50.0", "72.5")
    assert rows["Mean IoU, all classes"].best == (False, False)
    assert rows["Classes lost by pruning"].cells == ("1", "-")
    pruned = content["methods"]["activesam"]
    assert labelled_nowhere(content) == {"full": ("never seen",)}
    assert pruned["lost_classes"] == {"sky": {"iou": 0.0, "iou_of_full": 1.0}}
    assert lost_text(content) == [
        "Lost by activesam, with the IoU of full and its own in %: sky (100.0 to 0.0)."
    ]
    assert content["methods"]["full"]["classes_lost_by_pruning"] is None
    assert [line.split()[2:5] for line in summary_table(content).splitlines()[1:]] == [
        ["50.0", "1", "50.0"],
        ["96.7", "-", "72.5"],
    ]


def test_every_figure_is_defined_and_the_weights_are_named(labelled: Evaluated) -> None:
    rows = headline(labelled.content)
    assert all(row.definition.endswith(".") for row in rows)
    text = page(labelled)
    assert "weights model.safetensors (0123456789ab)" in text
    assert text.count("<dt>") == len([row for row in rows if not row.published])


def test_the_csv_files_hold_what_results_json_holds(folder: Path, labelled: Evaluated) -> None:
    methods = labelled.content["methods"]
    rows = table((folder / "methods.csv").read_text())
    assert [row["method"] for row in rows] == ["activesam", "full"]
    assert float(rows[0]["miou"]) == methods["activesam"]["miou"]
    assert float(rows[1]["latency_ms.p95"]) == methods["full"]["latency_ms"]["p95"]
    classes = table((folder / "classes.csv").read_text())
    assert [row["class"] for row in classes[:4]] == ["road", EVIL, "sky", "never seen"]
    assert float(classes[2]["iou"]) == methods["activesam"]["per_class_iou"]["sky"]
    assert classes[3]["iou"] == ""
    assert sum(int(row["labelled_pixels"]) for row in classes[:4]) == FRAMES * 60 * 40
    frames = table((folder / "frames.csv").read_text())
    assert len(frames) == 2 * FRAMES
    assert frames[1]["stamp_ns"] == "1250000000"
    assert frames[0]["active"] == f"road; {EVIL}"
    assert (frames[0]["flicker"], frames[0]["encode_ms"]) == ("", "1.0")
    mean = np.mean([float(row["latency_ms"]) for row in frames[:FRAMES]])
    assert mean == pytest.approx(1e3 / methods["activesam"]["frames_per_second"])


def test_a_name_that_looks_like_a_formula_is_text_and_numbers_stay() -> None:
    names = ["=1+1", "+x", "-x", "@SUM(A1)", "\tx", "road"]
    content = {
        "methods": {
            "full": {
                "per_class_iou": dict.fromkeys(names, -0.5),
                "confusion_matrix": {"classes": names, "counts": [[1] * 6] * 6},
            }
        }
    }
    made = csv_files(content, {}, vocabulary_from_names(["road"]))
    rows = table(made["classes.csv"])
    assert [row["class"] for row in rows] == [*(f"'{name}" for name in names[:5]), "road"]
    assert {row["iou"] for row in rows} == {"-0.5"}


def test_corruptions_have_a_csv_file_and_means(folder: Path, labelled: Evaluated) -> None:
    corruptions = labelled.content["corruptions"]
    rows = table((folder / "corruptions.csv").read_text())
    assert [(row["method"], row["corruption"], row["severity"]) for row in rows[:4]] == [
        ("activesam", "jpeg_compression", "5"),
        ("activesam", "contrast", "2"),
        ("activesam", "mean", ""),
        ("full", "jpeg_compression", "5"),
    ]
    run, mean = corruptions["runs"]["contrast:2"]["methods"], corruptions["mean"]
    clean = labelled.content["methods"]["activesam"]
    assert float(rows[1]["miou"]) == run["activesam"]["miou"]
    assert float(rows[1]["miou_drop"]) == clean["miou"] - run["activesam"]["miou"] > 0
    drops = [float(row[f"{LEADING}_drop"]) for row in rows[:3]]
    assert drops[1] == clean[LEADING] - run["activesam"][LEADING] > 0
    assert drops[2] == mean["activesam"][f"{LEADING}_drop"]
    assert float(rows[1]["agreement_with_clean"]) == run["activesam"]["agreement_with_clean"] < 1
    assert float(rows[5]["pixel_accuracy_drop"]) == mean["full"]["pixel_accuracy_drop"]


def test_without_corruptions_nothing_is_said_of_them(tmp_path: Path) -> None:
    clean = evaluated(labelled=True, corrupted=False)
    write_report(tmp_path, clean)
    assert not (tmp_path / "corruptions.csv").exists()
    assert "corruption" not in page(clean).lower()


def test_without_ground_truth_corruptions_are_held_against_clean_labels(
    unlabelled: Evaluated,
) -> None:
    figures = corruption_figures(unlabelled.content)
    assert figures is not None
    assert figures.title.startswith("Pixels with the label of the clean image")
    mean = unlabelled.content["corruptions"]["mean"]["full"]["agreement_with_clean"]
    assert figures.rows[-1] == ("mean", (figures.rows[-1][1][0], (percent(mean), "")))
    assert [name for name, _ in figures.rows] == ["jpeg_compression:5", "contrast:2", "mean"]


def test_a_page_without_ground_truth_ranks_by_agreement(unlabelled: Evaluated) -> None:
    text = page(unlabelled)
    assert "share of pixels where activesam agrees with full" in text
    assert 'id="confusion"' not in text
    assert 'id="classes"' not in text
    assert "boundary between prediction and full" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium on the PATH; install it to test pages, as .ci/run does")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        yield running
        running.close()


def test_screening_shows_what_was_admitted_and_what_survived(tmp_path: Path) -> None:
    screening = (Method.ACTIVESAM2, Shifted(3, (0, 1), admitted=(0, 1, 3)))
    result = evaluated(labelled=False, corrupted=False, first=screening)
    changes = {"frames": 3, "share": 0.04, "pairs": [{"from": "road", "to": EVIL, "share": 0.03}]}
    result.content["methods"]["activesam2"]["concept_changes"] = changes
    write_report(tmp_path, result)
    text = (tmp_path / "index.html").read_text()
    assert text.count('class="line upper m0"') == 1
    assert 'class="line upper m1"' not in text
    assert "the preview of activesam2 admitted" in text
    # Of the strip's rows only that of the class which is screened out in every frame is low.
    assert re.findall(r'class="rejected" d="([^"]*)"', text) == ["M0.00 0H100.00V100H0.00z"]
    assert text.index('title="road"') < text.index('title="never seen"')
    rows = {row.title: row.cells for row in headline(result.content)}
    assert rows["Admitted classes"] == ("3.0", "-")
    assert rows["Classes screened out"] == ("1.0", "-")
    assert rows["Active classes"] == ("2.0", "4.0")
    assert "give 4.0 % of the pixels another class" in text
    assert "<td>road</td><td>&lt;script&gt;" in text
    with (tmp_path / "frames.csv").open(newline="") as file:
        frames = list(csv.DictReader(file))
    counts = ("active_classes", "admitted_classes", "screened_out_classes", "screened_out")
    for row in frames:
        expected = {
            "activesam2": ["2", "3", "1", "never seen"],
            "full": ["4", "", "", ""],
        }[row["method"]]
        assert [row[name] for name in counts] == expected
    head, first, _ = summary_table(result.content).splitlines()
    assert head.split()[head.split().index("active") + 1] == "admitted"
    assert first.split()[-3] == "3.0"


def test_without_screening_there_is_one_line_a_method(unlabelled: Evaluated) -> None:
    text = page(unlabelled)
    assert 'class="line upper' not in text
    assert 'class="rejected"' not in text
    assert 'id="concepts"' not in text
    assert "admitted" not in summary_table(unlabelled.content)


class Visit:
    """The report in a browser, with the page's requests and errors."""

    def __init__(self, browser: Browser, path: Path, width: int, scheme: Any) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme
        )
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(path.as_uri())


@pytest.fixture(scope="module")
def visit(browser: Browser, folder: Path) -> Visit:
    return Visit(browser, folder / "index.html", 1280, "light")


def test_nothing_is_requested_and_nothing_goes_wrong(visit: Visit) -> None:
    outside = [url for url in visit.requests if not url.startswith("data:")]
    assert len(outside) == 1
    assert outside[0].startswith("file:")
    broken = visit.page.evaluate(
        "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
    )
    assert broken == 0
    assert visit.complaints == []


def test_every_section_is_there_with_the_true_figures(visit: Visit, labelled: Evaluated) -> None:
    assert visit.page.title() == "drive <1>.mcap, /camera · ActiveSAM evaluation"
    for section in SECTIONS:
        assert visit.page.locator(f"section#{section} h2").is_visible(), section
    activesam, full = (labelled.content["methods"][name] for name in ("activesam", "full"))
    rows = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts()
        for row in visit.page.locator("#headline tbody tr").all()
    }
    leading = [entry["miou_of_labelled_classes"] for entry in (activesam, full)]
    shown = [text.split("\n")[0] for text in rows["Mean IoU of labelled classes %"]]
    assert shown == [percent(value) for value in leading]
    difference = labelled.content["spread"]["differences"]["miou_of_labelled_classes"]
    low = difference["others"]["activesam"]["low"] * 100
    assert f"({low:+.1f} to " in rows["Mean IoU of labelled classes %"][0]
    assert rows["Mean IoU, all classes %"] == [percent(activesam["miou"]), percent(full["miou"])]
    assert rows["published %"] == ["69.7", "-"]
    assert rows["published, mean of eight benchmarks %"] == ["65.3", "-"]
    assert rows["published, times segearth"] == ["7.3-12.2", "-"]
    assert rows["Agreement with full %"][1] == "100.0"
    assert rows["Active classes"] == ["2.0", "4.0"]
    assert visit.page.locator("#headline strong").first.inner_text() == percent(leading[1])
    meanings = visit.page.locator("#headline .definitions")
    assert not meanings.locator("dd").first.is_visible()
    meanings.locator("summary").click()
    assert "labelled somewhere" in meanings.locator("dd").first.inner_text()
    cells = visit.page.locator("#corruptions tbody tr").nth(2).locator("td").all_inner_texts()
    methods = labelled.content["corruptions"]["runs"]["contrast:2"]["methods"]
    assert cells == [
        f"{percent(methods[name][LEADING])} {(methods[name][LEADING] - clean[LEADING]) * 100:+.1f}"
        for name, clean in labelled.content["methods"].items()
    ]
    bars = visit.page.locator("#classes tbody tr")
    assert bars.count() == 4  # the class that is never seen has no IoU
    assert bars.last.inner_text().split("\t")[0] == "dragon"
    assert bars.last.locator(".none").all_inner_texts() == ["does not count"] * 2
    sky = bars.filter(has_text="sky")
    assert sky.locator(".value").all_inner_texts() == [
        percent(entry["per_class_iou"]["sky"]) for entry in (activesam, full)
    ]
    width, room = sky.locator(".track").first.evaluate(
        "track => [track.firstElementChild, track].map(e => e.getBoundingClientRect().width)"
    )
    assert width / room == pytest.approx(activesam["per_class_iou"]["sky"], abs=0.01)
    counts = np.array(activesam["confusion_matrix"]["counts"])
    shown = visit.page.locator("#confusion .panel").first.locator("td.right").all_inner_texts()
    shares = np.sort(np.diag(counts)[:3] / counts.sum(axis=1)[:3])
    assert sorted(float(text) for text in shown) == pytest.approx(shares * 100, abs=0.51)


def test_names_of_the_user_are_text(visit: Visit) -> None:
    assert visit.page.locator("#classes th", has_text=EVIL).count() == 1
    assert visit.page.locator("script").count() == 1
    assert "small & <b>bold</b>" in visit.page.locator(".facts").inner_text()


def test_the_charts_show_every_frame(visit: Visit) -> None:
    line = visit.page.locator("#latency .plot.tall path.line").first.get_attribute("d")
    assert line is not None
    assert line.count("L") == FRAMES - 1
    strips = visit.page.locator("#active .strip").first.locator("path")
    assert [path.get_attribute("d") for path in strips.all()] == [
        "M0.00 0H100.00V100H0.00z"
    ] * 2  # fmt: skip
    assert "Every class in every frame" in visit.page.locator("#active").inner_text()
    bars = visit.page.locator("#latency .histograms path").first.get_attribute("d")
    assert bars
    labels = visit.page.locator("#latency svg").evaluate_all(
        "all => all.map(e => e.getAttribute('aria-label'))"
    )
    assert all(labels)


def clip(visit: Visit, layer: str) -> str:
    found = visit.page.locator(f".frame >> nth=0 >> .layer.{layer}:visible").first
    return str(found.evaluate("layer => getComputedStyle(layer).clipPath"))


def test_the_sliders_move_the_boundaries_by_key_and_by_mouse(visit: Visit) -> None:
    from playwright.sync_api import expect

    figure = visit.page.locator(".frame").first
    first, second = figure.locator("input.a"), figure.locator("input.b")
    assert first.get_attribute("aria-label") is not None
    before = clip(visit, "prediction")
    first.focus()
    for _ in range(5):
        visit.page.keyboard.press("ArrowLeft")
    assert first.input_value() == "29"
    assert clip(visit, "prediction") != before
    first.press("End")  # pushes the other one along
    assert (first.input_value(), second.input_value()) == ("100", "100")
    assert "100%" in clip(visit, "answer")
    # Pictures that are still to be decoded would move what is below them.
    visit.page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    figure.locator(".compare").scroll_into_view_if_needed()
    box = figure.locator(".compare").bounding_box()
    assert box is not None
    row = box["y"] + 0.62 * box["height"]
    visit.page.mouse.move(box["x"] + box["width"] - 4, row)  # on the thumb
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 0.5 * box["width"], row, steps=4)
    visit.page.mouse.up()
    # A browser handles moves when it draws its next picture.
    expect(second).to_have_value(re.compile("^(4[89]|5[012])$"))
    assert int(first.input_value()) == int(second.input_value())


def test_another_method_can_be_chosen(visit: Visit) -> None:
    shown = visit.page.locator(".frame >> nth=0 >> .layer.prediction:visible")
    assert shown.get_attribute("data-method") == "activesam"
    visit.page.locator("input[name=prediction]").first.focus()
    visit.page.keyboard.press("ArrowRight")
    assert shown.get_attribute("data-method") == "full"
    visit.page.locator("#confusion .tabs > input").first.focus()
    visit.page.keyboard.press("ArrowRight")
    panels = visit.page.locator("#confusion .panel").all()
    assert [panel.is_visible() for panel in panels] == [False, True]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_a_phone_and_in_the_dark(
    browser: Browser, folder: Path, scheme: str
) -> None:
    visit = Visit(browser, folder / "index.html", 360, scheme)
    width = visit.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    seen = "table => table.scrollWidth <= table.parentElement.clientWidth"
    assert visit.page.locator("#headline table").evaluate(seen)  # two methods without scrolling
    contrasts = visit.page.evaluate(
        """() => {
          const light = (text) => {
            const [r, g, b] = text.match(/[0-9.]+/g).map((v) => {
              v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
          const ground = (e) => { for (; e; e = e.parentElement) {
            const color = getComputedStyle(e).backgroundColor;
            if (!color.startsWith("rgba(0, 0, 0, 0")) return color; } };
          const kinds = "h1, h2, p, th, td, summary, .tiles span, .axis span";
          return [...document.querySelectorAll(kinds)]
            .filter((e) => e.textContent.trim() && !e.closest(".matrix"))
            .map((e) => [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => a - b))
            .map(([low, high]) => (high + 0.05) / (low + 0.05)); }"""
    )
    assert len(contrasts) > 50
    assert min(contrasts) >= 4.5
    paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(part) for part in paper.removeprefix("rgb(").rstrip(")").split(",")]
    assert (max(levels) < 60) == (scheme == "dark")
    assert visit.complaints == []
    visit.context.close()


def test_the_printed_page_shows_the_layers_side_by_side(browser: Browser, folder: Path) -> None:
    visit = Visit(browser, folder / "index.html", 1000, "light")
    visit.page.emulate_media(media="print")
    layers = visit.page.locator(".frame >> nth=0 >> .layer:visible").all()
    lefts = [box["x"] for layer in layers if (box := layer.bounding_box())]
    assert len(lefts) == 3
    assert lefts == sorted(set(lefts))
    assert not visit.page.locator(".frame input").first.is_visible()
    visit.context.close()
