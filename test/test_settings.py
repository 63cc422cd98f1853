"""The table of settings: ranges, texts, all or nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.errors import SettingsError
from activesam_ros.segmentation.methods import METHODS, Method
from activesam_ros.setting_table import Setting
from activesam_ros.settings import SETTINGS, Settings, setting_named

NUMBERS = [setting for setting in SETTINGS if setting.kind in ("int", "float")]


def test_the_table_and_the_dataclass_are_one() -> None:
    assert [setting.name for setting in SETTINGS] == [
        field.name for field in dataclasses.fields(Settings)
    ]
    for setting in SETTINGS:
        assert getattr(Settings(), setting.name) == setting.default
        assert setting.description.endswith(".")


def test_published_defaults() -> None:
    settings = Settings()
    assert (settings.max_active, settings.quantile_alpha) == (-1, 0.2)
    assert (settings.confidence_threshold, settings.mabc_exponent) == (0.3, 1.25)
    assert (settings.neighbor_tokens, settings.hypernym_tokens) == (2, 2)
    limits = {method: METHODS[method].resolved(settings).max_active for method in Method}
    assert limits == dict.fromkeys(Method, 0) | {Method.ACTIVESAM: 40}
    assert METHODS[Method.ACTIVESAM].resolved(Settings(max_active=7)).max_active == 7


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
@given(data=st.data())
def test_numbers_stay_in_their_range(setting: Setting, data: st.DataObject) -> None:
    value = data.draw(st.integers() | st.floats(allow_nan=True, allow_infinity=True))
    assert setting.minimum is not None
    assert setting.maximum is not None
    whole = setting.kind == "float" or float(value).is_integer()
    if setting.minimum <= value <= setting.maximum and whole:
        assert getattr(Settings().replace({setting.name: value}), setting.name) == value
    else:
        with pytest.raises(SettingsError, match=setting.name):
            Settings().replace({setting.name: value})


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_bounds_are_allowed_and_named(setting: Setting) -> None:
    assert setting.maximum is not None
    for bound in (setting.minimum, setting.maximum):
        assert setting.parse(str(int(bound) if setting.kind == "int" else bound)) == bound  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=f"to {setting.maximum:.12g}"):
        setting.parse(str(int(setting.maximum) + 1))


def test_assignments_read_like_a_command_line() -> None:
    settings = Settings().assign(
        ["quantile_alpha=0.5", "bucket_size = 8", "pinned=car, person", "bucket_size=4"]
    )
    assert (settings.quantile_alpha, settings.bucket_size) == (0.5, 4)
    assert settings.pinned == ("car", "person")
    assert Settings().assign(["pinned="]).pinned == ()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("bucket_size", "has no '='"),
        (
            "bucket=3",
            r"no setting 'bucket'. Did you mean bucket_size\? The settings are resolution",
        ),
        ("bucket_size=many", "not an integer; give an integer from 1 to 1024 queries or auto"),
        ("max_active=auto", "not an integer"),
        ("bucket_size=2.5", "not an integer"),
        ("quantile_alpha=1.5", "out of range; give a number from 0 to 1"),
        ("quantile_alpha=nan", "out of range"),
        ("stripe_order=sorted", "'sorted' is unknown; give one of content, static"),
    ],
)
def test_bad_assignments_name_value_and_bound(assignment: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings().assign([assignment])


@pytest.mark.parametrize("value", ["car", ("car", 3), 5, None])
def test_pinned_wants_a_list_of_names(value: object) -> None:
    with pytest.raises(SettingsError, match="not a list of names"):
        Settings().replace({"pinned": value})


@pytest.mark.parametrize("value", ["Content", "", 5, None, ("content",)])
def test_a_choice_wants_one_of_its_texts(value: object) -> None:
    assert Settings().assign(["stripe_order= static"]).stripe_order == "static"
    with pytest.raises(SettingsError, match=r"stripe_order=.* give one of content, static"):
        Settings().replace({"stripe_order": value})


def test_a_word_may_stand_for_a_number() -> None:
    assert Settings().bucket_size == "auto"
    assert Settings().assign(["bucket_size=7"]).bucket_size == 7
    assert Settings().assign(["bucket_size=7", "bucket_size= auto"]).bucket_size == "auto"
    with pytest.raises(SettingsError, match="bucket_size='Auto' is not an integer"):
        Settings().replace({"bucket_size": "Auto"})


def test_a_large_bound_is_written_out_and_no_integer_is_too_large_to_be_refused() -> None:
    row = Setting("memory", "int", 1, "Memory.", minimum=1, maximum=1_048_576, unit="MiB")
    assert row.bounds == "1 to 1048576 MiB"
    with pytest.raises(SettingsError, match="out of range; give an integer from 1 to 1048576 MiB"):
        row.check(10**400)


def test_nothing_changes_when_one_value_is_bad() -> None:
    before = Settings(bucket_size=8)
    with pytest.raises(SettingsError):
        before.replace({"bucket_size": 16, "quantile_alpha": 2.0})
    assert before.bucket_size == 8


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SettingsError, match="no setting 'alpha'"):
        setting_named("alpha")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (lambda: Settings().assign(["preview_source=shared"]), "shared"),
        (lambda: Settings().assign(["preview_source=own"]), "separate"),
        (lambda: Settings.from_mapping({"preview_source": "own"}), "separate"),
        (lambda: Settings(preview_encoding="own"), "separate"),
    ],
)
def test_old_names_and_values_work_and_log_a_line(
    settings: Callable[[], Settings], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings().preview_encoding == expected
    assert "deprecated" in caplog.text
    assert "preview_encoding" in caplog.text


def test_current_names_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert Settings().assign(["preview_encoding=separate"]) == Settings()
    assert not caplog.records


def test_the_old_and_the_new_name_exclude_each_other() -> None:
    values = {"preview_source": "own", "preview_encoding": "separate"}
    with pytest.raises(SettingsError, match="preview_source is the old name of preview_encoding"):
        Settings.from_mapping(values)
