"""`config check`: all start conditions that need no network, each with its remedy; the same ones stop `check` and `run`."""

import itertools
import json

import pytest

from reactor.chains.pocket import vault_address
from reactor.cli.main import main
from reactor.keys import create_key
from reactor.preflight import failures
from reactor.preflight.checks import preflight
from reactor.preflight.offline import check_vault
from reactor.preflight.vault_order import fitting_order
from reactor.settings import load_settings
from tests.unit.cli_unit_helpers import KEYS, NOBODY, PASSWORD, TOML, VAULT, write_config
from tests.unit.test_keys_uri import BAD_KEYS

pytestmark = pytest.mark.unit

MANY = [f"{number:064x}" for number in (3, 1, 8, 2, 12, 5, 11, 4, 9, 7, 10, 6)]
SCRYPT_N = 2**4


def checked(folder, capsys, text=TOML, code=0):
    """What `config check` says to machines; for people it has to say as much."""
    path = write_config(folder, text)
    assert main(["config", "check", "--json", "-c", str(path)]) == code
    said = json.loads(capsys.readouterr().out)
    assert main(["config", "check", "-c", str(path)]) == code
    shown = capsys.readouterr()
    for fault in said["faults"] + said.get("notes", []):
        assert fault["field"] in shown.out + shown.err
        assert fault["problem"] in shown.out + shown.err
        assert fault["remedy"]
    assert said["ok"] is (code == 0)
    assert PASSWORD not in json.dumps(said) + shown.out + shown.err
    return said


def with_keys(keys, vault=VAULT):
    return TOML.replace(json.dumps(KEYS), json.dumps(keys)).replace(VAULT, vault)


def test_a_sound_configuration_has_nothing_to_say(tmp_path, capsys):
    said = checked(tmp_path, capsys)
    assert (said["faults"], said["notes"]) == ([], [])


@pytest.mark.parametrize("keys", [list(order) for order in itertools.permutations(KEYS)][1:])
def test_keys_in_another_order_than_the_vaults_are_refused_with_the_order_that_fits(tmp_path, capsys, keys):
    (fault,) = checked(tmp_path, capsys, with_keys(keys), code=2)["faults"]
    assert fault["field"] == "pocket.multisig_public_keys"
    assert vault_address(keys) in fault["problem"]
    places = [int(place) for place in fault["remedy"].rpartition("entries ")[2].split(", ")]
    assert [keys[place - 1] for place in places] == KEYS


def test_keys_of_another_vault_are_refused_as_such(tmp_path, capsys):
    (fault,) = checked(tmp_path, capsys, with_keys([*KEYS[:2], "ee" * 32]), code=2)["faults"]
    assert "no order of these keys makes that vault" in fault["remedy"]


def test_of_many_keys_the_orders_that_mistakes_make_are_tried():
    vault = vault_address(MANY)
    mistakes = [
        MANY[::-1],
        MANY[5:] + MANY[:5],
        [MANY[7], *MANY[1:7], MANY[0], *MANY[8:]],
        [*MANY[1:9], MANY[0], *MANY[9:]],
    ]
    for keys in mistakes:
        order = fitting_order(keys, vault)
        assert order is not None
        assert [keys[place] for place in order] == MANY
    for order in (sorted(MANY), sorted(MANY, reverse=True)):
        assert [MANY[place] for place in fitting_order(MANY, vault_address(order))] == order
    shuffled = [MANY[place] for place in (3, 1, 4, 0, 5, 9, 2, 6, 11, 10, 8, 7)]
    assert fitting_order(shuffled, vault) is None


async def test_where_no_order_was_found_among_many_keys_none_is_claimed(tmp_path):
    settings = load_settings(write_config(tmp_path, with_keys(MANY, "ab" * 20)), {})
    (result,) = await check_vault(settings)
    assert not result.ok
    assert "no order" not in result.remedy
    assert "pocket.vault_address" in result.remedy


@pytest.mark.parametrize(
    ("options", "level", "words"),
    [
        ("&minPoolSize=5", "info", "minPoolSize is not heeded"),
        ("&compressors=zip", "warning", "compressors: entry 1"),
        ("&directConnection=true", "warning", "another member becomes the primary"),
    ],
)
def test_what_is_done_with_an_option_of_the_database_is_told(tmp_path, capsys, options, level, words):
    (note,) = checked(tmp_path, capsys, TOML.replace("replicaSet=rs0", f"replicaSet=rs0{options}"))["notes"]
    assert (note["field"], note["level"]) == ("mongo.uri", level)
    assert words in note["problem"]


def test_a_database_that_only_the_uri_names_is_told(tmp_path, capsys):
    (note,) = checked(tmp_path, capsys, TOML.replace(f"{NOBODY}/?replicaSet", f"{NOBODY}/wpokt?replicaSet"))["notes"]
    assert "mongo.database (bridge)" in note["problem"]
    assert not checked(tmp_path, capsys, TOML.replace(f"{NOBODY}/?replicaSet", f"{NOBODY}/bridge?replicaSet"))["notes"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("&tls=true&tlsCAFile=/nonexistent", "cannot be read"),
        ("&maxIdleTimeMS=x", "maxIdleTimeMS"),
        ("&loadBalanced=true", "loadBal"),
    ],
)
def test_a_database_that_no_client_could_be_made_for_is_a_fault(tmp_path, capsys, options, words):
    (fault,) = checked(tmp_path, capsys, TOML.replace("replicaSet=rs0", f"replicaSet=rs0{options}"), code=2)["faults"]
    assert fault["field"] == "mongo.uri"
    assert words in fault["problem"]


def keyed(section, uri, passphrase=None):
    line = f'key = "{uri}"\n' + (f'key_passphrase = "{passphrase}"\n' if passphrase else "")
    return TOML.replace(f"[{section}]\n", f"[{section}]\n{line}")


@pytest.mark.parametrize("section", ["ethereum", "pocket"])
@pytest.mark.parametrize("uri", BAD_KEYS)
def test_a_key_uri_that_leads_nowhere_is_a_fault(tmp_path, capsys, section, uri):
    (fault,) = checked(tmp_path, capsys, keyed(section, uri), code=2)["faults"]
    assert fault["field"] == f"{section}.key"


def test_a_key_that_does_not_open_yet_is_only_told(tmp_path, capsys):
    (note,) = checked(tmp_path, capsys, keyed("pocket", f"file://{tmp_path}/none"))["notes"]
    assert (note["field"], note["level"]) == ("pocket.key", "warning")
    assert "`reactor keys new`" in note["remedy"]


def test_a_key_that_is_not_the_vaults_is_a_fault(tmp_path, capsys):
    made = create_key("ed25519", tmp_path / "pocket", "keystore", passphrase="p" * 8, scrypt_n=SCRYPT_N)
    text = keyed("pocket", f"keystore://{tmp_path}/pocket", "p" * 8)
    (fault,) = checked(tmp_path, capsys, text, code=2)["faults"]
    assert fault["field"] == "pocket.key"
    assert made.description.public_key in fault["problem"]
    keys = [*KEYS[:2], made.description.public_key]
    assert checked(tmp_path, capsys, text.replace(json.dumps(KEYS), json.dumps(keys)).replace(VAULT, vault_address(keys)))["ok"]


def test_a_key_whose_address_nobody_is_told_of_is_a_warning(tmp_path, capsys):
    made = create_key("secp256k1", tmp_path / "ethereum", "file")
    text = keyed("ethereum", f"file://{tmp_path}/ethereum")
    (note,) = checked(tmp_path, capsys, text)["notes"]
    assert (note["field"], note["level"]) == ("ethereum.key", "warning")
    assert "ethereum.validator_addresses" in note["problem"]
    told = text.replace("validator_addresses = [", f'validator_addresses = ["{made.description.address}", ')
    assert checked(tmp_path, capsys, told)["notes"] == []


def test_faults_of_the_settings_come_before_any_that_need_them(tmp_path, capsys):
    faults = checked(tmp_path, capsys, with_keys(KEYS[::-1]).replace("start_block = 100", "start_block = 0"), code=2)["faults"]
    assert [fault["field"] for fault in faults] == ["ethereum.start_block"]


async def test_what_config_check_refuses_no_start_allows(tmp_path):
    text = with_keys(KEYS[::-1]).replace("replicaSet=rs0", "replicaSet=rs0&tls=true&tlsCAFile=/nonexistent")
    found = {
        one.name
        for one in failures(await preflight(load_settings(write_config(tmp_path, text), {}), observe=True, starting=True))
    }
    assert {"vault", "database URI"} <= found
