"""Each setting by itself: what cannot be its value is refused under its own name, with its variable and what to do."""

import json
import tomllib

import pytest

from reactor.settings import SettingsError, load_settings, settings_fields
from tests.unit.cli_unit_helpers import TOML

pytestmark = pytest.mark.unit

FIELDS = {field.path: field for field in settings_fields()}
ANY_TEXT = {"ethereum.key_passphrase", "pocket.key_passphrase", "state.directory"}
"""Every text but an empty one is a value."""


def tree_with(path, value):
    tree = tomllib.loads(TOML)
    *sections, name = path.split(".")
    part = tree
    for section in sections:
        part = part.setdefault(section, {})
    part[name] = value
    return tree


def faults(tmp_path, path, value, environ=None):
    file = tmp_path / "reactor.toml"
    file.write_text(toml(tree_with(path, value)) if environ is None else TOML)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, environ or {})
    return caught.value.faults


def toml(tree, prefix=""):
    """TOML of plain values; a table is written by its name, whatever else as JSON, which TOML reads alike."""
    plain = "".join(f"{key} = {json.dumps(value)}\n" for key, value in tree.items() if not isinstance(value, dict))
    inner = "".join(
        f"[{prefix}{key}]\n{toml(value, f'{prefix}{key}.')}" for key, value in tree.items() if isinstance(value, dict)
    )
    return plain + inner


def must_name(fault, path):
    assert fault.field.partition("[")[0] == path
    assert fault.env in {FIELDS[path].env, ""}
    assert fault.problem
    assert fault.remedy
    assert str(fault).startswith(fault.field)
    assert "input_value" not in str(fault), "a library's own words are no answer for a person"


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("value", [[[1]], True, ""], ids=["list", "true", "empty"])
def test_what_no_setting_can_be_is_refused_under_its_name(tmp_path, path, value):
    (fault,) = faults(tmp_path, path, value)
    must_name(fault, path)


@pytest.mark.parametrize("path", sorted(set(FIELDS) - ANY_TEXT))
def test_a_text_of_the_environment_that_means_nothing_is_refused_under_both_names(tmp_path, path):
    (fault,) = faults(tmp_path, path, None, {FIELDS[path].env: "\u2603nonsense"})
    must_name(fault, path)
    if not FIELDS[path].is_list:
        assert fault.env == FIELDS[path].env


@pytest.mark.parametrize("path", sorted(path for path, field in FIELDS.items() if field.required))
def test_a_required_setting_that_is_absent_is_named(tmp_path, path):
    tree = tomllib.loads(TOML)
    section, name = path.split(".")
    del tree[section][name]
    file = tmp_path / "reactor.toml"
    file.write_text(toml(tree))
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    (fault,) = caught.value.faults
    if len(tree[section]) > 0:
        must_name(fault, path)
        assert fault.problem == "is missing"


def test_the_table_is_of_all_settings_and_its_base_is_sound(tmp_path):
    file = tmp_path / "reactor.toml"
    file.write_text(toml(tomllib.loads(TOML)))
    assert load_settings(file, {})
    assert len(FIELDS) > 50
