"""Loading: what wins over what, every fault at once, and no secret in any fault."""

import json
from pathlib import Path

import pytest

from reactor.settings import SettingsError, load_settings, settings_fields

pytestmark = pytest.mark.unit

KEYS = [
    "eb0cf2a891382677f03c1b080ec270c693dda7a4c3ee4bcac259ad47c5fe0743",
    "ec69e25c0f2d79e252c1fe0eb8ae07c3a3d8ff7bd616d736f2ded2e9167488b2",
]
PRIVATE = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
TOML = f"""
[mongo]
uri = "mongodb://user:hunter2@localhost:27017/?replicaSet=rs"

[ethereum]
rpc_urls = ["https://rpc.example/v3/0123456789abcdef0123"]
chain_id = 1
wrapped_pocket_address = "0x67F4C72a50f8Df6487720261E188F2abE83F57D7"
mint_controller_address = "0x0d006D9e862B362180eb602e5973Fd1fdb6f78dd"
start_block = 18275606
burn_fee = 10000
validator_addresses = ["0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"]

[pocket]
rpc_urls = ["http://127.0.0.1:8081"]
chain_id = "mainnet"
start_height = 100
multisig_public_keys = {json.dumps(KEYS)}
vault_address = "2EB054616797DE8565506333AFB334655E7774ED"
tx_fee = 10000
max_mint = 1000000000

[state]
directory = "state"
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def do(text=TOML, *changes):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "validator.toml"
        path.write_text(text)
        return path

    return do


def faults(path, environ=None):
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ or {})
    found = {fault.field or fault.env: fault for fault in caught.value.faults}
    for fault in caught.value.faults:
        assert fault.remedy
        assert str(fault) in str(caught.value)
    return found


def test_a_file_alone_is_enough(write, tmp_path):
    settings = load_settings(write(), {})
    assert settings.ethereum.wrapped_pocket_address == "0x67f4c72a50f8df6487720261e188f2abe83f57d7"
    assert settings.pocket.vault_address == "2eb054616797de8565506333afb334655e7774ed"
    assert settings.pocket.multisig_public_keys == tuple(KEYS)
    assert settings.mongo.collections.mint == "mint"
    assert settings.ethereum.finality == "finalized"
    assert settings.state.directory == tmp_path / "state"
    assert settings.ethereum.key is None


def test_the_environment_alone_is_enough(write):
    file = load_settings(write(), {})
    environ = {
        "MONGODB_URI": "mongodb://localhost",
        "REACTOR_ETHEREUM__RPC_URLS": "http://a:1, http://b:2",
        "REACTOR_ETHEREUM__CHAIN_ID": "1",
        "REACTOR_ETHEREUM__WRAPPED_POCKET_ADDRESS": file.ethereum.wrapped_pocket_address,
        "REACTOR_ETHEREUM__MINT_CONTROLLER_ADDRESS": file.ethereum.mint_controller_address,
        "REACTOR_ETHEREUM__START_BLOCK": "18275606",
        "REACTOR_ETHEREUM__BURN_FEE": '[{"from_block": 1, "amount": "10000"}]',
        "REACTOR_ETHEREUM__VALIDATOR_ADDRESSES": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "REACTOR_POCKET__RPC_URLS": '["http://c:3"]',
        "REACTOR_POCKET__CHAIN_ID": "mainnet",
        "REACTOR_POCKET__START_HEIGHT": "100",
        "REACTOR_POCKET__MULTISIG_PUBLIC_KEYS": "\n".join(KEYS),
        "REACTOR_POCKET__VAULT_ADDRESS": file.pocket.vault_address,
        "REACTOR_POCKET__TX_FEE": "10000",
        "REACTOR_POCKET__MAX_MINT": "1000000000",
        "REACTOR_STATE__DIRECTORY": "state",
        "REACTOR_MONGO__COLLECTIONS__MINT": "mints",
        "REACTOR_LOG__LEVEL": "debug",
        "REACTOR_ENGINE__SWEEP_INTERVAL_S": "0.5",
        "REACTOR_DEV_ANYTHING": "for tools",
        "UNRELATED": "x",
    }
    settings = load_settings(None, environ)
    assert settings.ethereum.rpc_urls == ("http://a:1", "http://b:2")
    assert settings.pocket.rpc_urls == ("http://c:3",)
    assert settings.mongo.uri.get_secret_value() == "mongodb://localhost"
    assert settings.mongo.collections.mint == "mints"
    assert settings.log.level == "DEBUG"
    assert settings.engine.sweep_interval_s == 0.5
    assert settings.state.directory == Path("state")
    assert settings.identity_hash() == file.identity_hash()


def test_the_environment_wins_value_by_value_and_empty_is_not_set(write):
    environ = {"REACTOR_ETHEREUM__CHAIN_ID": "5", "REACTOR_POCKET__CHAIN_ID": " ", "MONGODB_URI": ""}
    settings = load_settings(write(), environ)
    assert settings.ethereum.chain_id == 5
    assert settings.pocket.chain_id == "mainnet"
    assert "hunter2" in settings.mongo.uri.get_secret_value()


@pytest.mark.parametrize(
    ("environ", "uri"),
    [
        ({"MONGODB_URI": "mongodb://short"}, "mongodb://short"),
        ({"REACTOR_MONGO__URI": "mongodb://long", "MONGODB_URI": "mongodb://short"}, "mongodb://long"),
    ],
)
def test_both_names_of_the_mongo_uri(write, environ, uri):
    assert load_settings(write(), environ).mongo.uri.get_secret_value() == uri


def test_which_file_is_read(write, tmp_path):
    path = write()
    assert load_settings(None, {"REACTOR_CONFIG": str(path)}).ethereum.chain_id == 1
    assert "ethereum" in faults(None, {})
    path.rename(tmp_path / "reactor.toml")
    assert load_settings(None, {}).ethereum.chain_id == 1
    assert "cannot be read" in faults(None, {"REACTOR_CONFIG": str(path)})["REACTOR_CONFIG"].problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[mongo\n", "not TOML"),
        (b"\xff\xff", "not UTF-8"),
        (b"\xff\xfea", "not UTF-16"),
        ("[mongo]".encode("utf-16-le"), "holds NUL characters"),
        pytest.param(b"#" * 2_000_000, "too large", id="large"),
        pytest.param(b"a = " + b"[" * 5000, "as TOML: it is nested too deep", id="deep"),
        pytest.param(b"a = " + b"9" * 5000, "as TOML: value error", id="digits"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_fault(tmp_path, content, problem):
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    found = faults(path)
    assert list(found) == ["--config"]
    assert problem in found["--config"].problem
    assert list(faults(None, {"REACTOR_CONFIG": str(path)})) == ["REACTOR_CONFIG"]


def test_paths_that_nobody_has(write, tmp_path):
    path = write(TOML, ('directory = "state"', 'directory = "~nobody-of-that-name/state"'))
    assert "state.directory" in faults(path, {})
    environ = {"REACTOR_MONGO__URI_FILE": "~nobody-of-that-name/x", "REACTOR_STATE__DIRECTORY": "~nobody-of-that-name"}
    found = faults(write(), environ)
    assert "cannot be read" in found["mongo.uri"].problem
    assert "no user" in found["state.directory"].problem
    assert "state.directory" not in faults(write(), {"REACTOR_MONGO__URI_FILE": str(tmp_path)})
    secret = write(TOML, ("[ethereum]\n", '[ethereum]\nkey_file = "~nobody-of-that-name/x"\nkey_passphrase_file = "a\\u0000b"\n'))
    found = faults(secret)
    assert "cannot be read" in found["ethereum.key_file"].problem
    assert "NUL" in found["ethereum.key_passphrase_file"].problem
    found = faults(Path("a\0b"))
    assert "cannot be read" in found["--config"].problem


def test_lists_without_end_in_the_environment_are_a_fault(write):
    found = faults(write(), {"REACTOR_ETHEREUM__CHAIN_ID": "[" * 5000, "REACTOR_POCKET__RPC_URLS": "[" * 5000})
    assert set(found) == {"ethereum.chain_id", "pocket.rpc_urls"}


def test_a_file_that_cannot_be_read_hides_no_fault_of_the_environment(tmp_path):
    found = faults(tmp_path / "none.toml", {"REACTOR_LOG__FORMAT": "xml", "REACTOR_TYPO": "x"})
    assert set(found) == {"--config", "log.format", "REACTOR_TYPO"}


def test_nothing_at_all_lists_every_required_section():
    found = faults(Path("/dev/null"))
    assert set(found) == {"mongo", "ethereum", "pocket", "state"}
    assert "wrapped_pocket_address" in found["ethereum"].remedy


def test_every_fault_is_listed_at_once_with_both_names(write):
    path = write(
        TOML,
        ("chain_id = 1\n", "chain_id = 0\n"),
        ("start_block = 18275606", "start_block = 0"),
        ("start_height = 100\n", ""),
        ("F57D7", "F57D8"),
        ("tx_fee = 10000", "tx_fe = 10000"),
        ('directory = "state"', "directory = 5"),
    )
    environ = {"REACTOR_MONGO__TIMEOUT_MS": "soon", "REACTOR_ETHERUM__CHAIN_ID": "1"}
    found = faults(path, environ)
    assert set(found) == {
        "ethereum.chain_id",
        "ethereum.start_block",
        "ethereum.wrapped_pocket_address",
        "pocket.start_height",
        "pocket.tx_fe",
        "pocket.tx_fee",
        "state.directory",
        "mongo.timeout_ms",
        "REACTOR_ETHERUM__CHAIN_ID",
    }
    assert found["pocket.tx_fe"].remedy == "Did you mean tx_fee?"
    assert found["REACTOR_ETHERUM__CHAIN_ID"].remedy == "Did you mean REACTOR_ETHEREUM__CHAIN_ID?"
    assert found["ethereum.start_block"].env == "REACTOR_ETHEREUM__START_BLOCK"
    assert "older events would be skipped" in found["ethereum.start_block"].remedy
    assert found["mongo.timeout_ms"].env == "REACTOR_MONGO__TIMEOUT_MS"


@pytest.mark.parametrize(
    ("change", "field", "hint"),
    [
        (("[state]", "[stat]"), "stat", "state"),
        (("[state]", "[completely_else]"), "completely_else", "Remove it"),
        (("[state]\n", '[state]\ndirectori = "x"\n'), "state.directori", "directory"),
        (("[mongo]\n", '[mongo]\ncollections = {mints = "x"}\n'), "mongo.collections.mints", "mint"),
    ],
)
def test_an_unknown_name_in_the_file_is_refused_with_the_nearest(write, change, field, hint):
    found = faults(write(TOML, change))
    assert found[field].problem == "is not a setting"
    assert hint in found[field].remedy


def test_a_section_that_is_none_is_named(write):
    found = faults(write(TOML, ('[state]\ndirectory = "state"', "")), {})
    assert set(found) == {"state"}
    text = 'state = "x"\n' + TOML.replace('[state]\ndirectory = "state"', "")
    assert "[state]" in faults(write(text))["state"].remedy


def test_a_secret_may_come_from_a_file(write, tmp_path):
    (tmp_path / "uri").write_text("mongodb://from-file\n")
    (tmp_path / "pass").write_text(" spaces count \n")
    (tmp_path / "urls").write_text("http://a:1\nhttp://b:2\n")
    environ = {
        "MONGODB_URI_FILE": str(tmp_path / "uri"),
        "REACTOR_POCKET__KEY_PASSPHRASE_FILE": str(tmp_path / "pass"),
        "REACTOR_ETHEREUM__RPC_URLS_FILE": str(tmp_path / "urls"),
    }
    settings = load_settings(write(), environ)
    assert settings.mongo.uri.get_secret_value() == "mongodb://from-file"
    assert settings.pocket.key_passphrase.get_secret_value() == " spaces count "
    assert settings.ethereum.rpc_urls == ("http://a:1", "http://b:2")


def test_the_file_may_name_secret_files_beside_itself(write, tmp_path):
    (tmp_path / "pass").write_text("from a file")
    path = write(TOML, ("[pocket]\n", '[pocket]\nkey = "keystore:///k"\nkey_passphrase_file = "pass"\n'))
    settings = load_settings(path, {})
    assert settings.pocket.key_passphrase.get_secret_value() == "from a file"
    assert load_settings(path, {"REACTOR_POCKET__KEY_PASSPHRASE": "over"}).pocket.key_passphrase.get_secret_value() == "over"


def test_faults_of_secret_files(write, tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xff")
    path = write(
        TOML,
        ("[pocket]\n", '[pocket]\nkey_passphrase_file = 5\nkey_file = "missing"\n'),
        ("[ethereum]\n", '[ethereum]\nkey_passphrase = "a"\nkey_passphrase_file = "empty"\n'),
    )
    environ = {
        "REACTOR_MONGO__URI_FILE": str(tmp_path / "empty"),
        "REACTOR_ETHEREUM__KEY_FILE": str(tmp_path / "binary"),
        "REACTOR_LOG__LEVEL_FILE": "x",
    }
    found = faults(path, environ)
    assert set(found) == {
        "pocket.key_passphrase_file",
        "pocket.key_file",
        "ethereum.key_passphrase_file",
        "mongo.uri",
        "ethereum.key",
        "REACTOR_LOG__LEVEL_FILE",
    }
    both = {"REACTOR_MONGO__URI": "mongodb://a", "REACTOR_MONGO__URI_FILE": str(tmp_path / "empty")}
    assert "stands beside" in faults(write(), both)["mongo.uri"].problem


def test_no_fault_shows_a_secret(write):
    path = write(
        TOML,
        ("mongodb://user:hunter2@", "postgres://user:hunter2@"),
        ("https://rpc.example", "wss://rpc.example"),
        ("[pocket]\n", f'[pocket]\nkey = "{PRIVATE}"\n'),
        (KEYS[0], PRIVATE + PRIVATE),
    )
    environ = {
        "REACTOR_ETHEREUM__KEY": f"env://{PRIVATE}",
        "REACTOR_POCKET__KEY_PASSPHRAS": PRIVATE,
        "REACTOR_ETHEREUM__KEY_PASSPHRASE": "x",
    }
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ)
    shown = str(caught.value) + repr(caught.value) + repr(caught.value.faults)
    assert {fault.field or fault.env for fault in caught.value.faults} == {
        "mongo.uri",
        "ethereum.rpc_urls[1]",
        "ethereum.key",
        "pocket.key",
        "pocket.multisig_public_keys[1]",
        "REACTOR_POCKET__KEY_PASSPHRAS",
    }
    for secret in ("hunter2", PRIVATE, PRIVATE[:16], "0123456789abcdef0123"):
        assert secret not in shown
    assert caught.value.__suppress_context__


def test_a_variable_that_a_key_names_may_begin_like_ours(write):
    environ = {"REACTOR_ETHEREUM__KEY": "env://REACTOR_ETH_KEY", "REACTOR_ETH_KEY": PRIVATE}
    assert load_settings(write(), environ).ethereum.key == "env://REACTOR_ETH_KEY"
    assert "REACTOR_ETH_KEY" in faults(write(), {"REACTOR_ETH_KEY": PRIVATE})
    path = write(TOML, ("[pocket]\n", '[pocket]\nkey = "env://REACTOR_P"\n'))
    assert load_settings(path, {"REACTOR_P": PRIVATE}).pocket.key == "env://REACTOR_P"


def test_the_list_of_settings_is_whole_and_described():
    listed = {field.path: field for field in settings_fields()}
    assert listed["ethereum.start_block"].required
    assert listed["mongo.collections.heartbeat"].env == "REACTOR_MONGO__COLLECTIONS__HEARTBEAT"
    assert listed["log.level"].default == "INFO"
    assert {path for path, field in listed.items() if field.secret} == {
        "mongo.uri",
        "ethereum.rpc_urls",
        "ethereum.key",
        "ethereum.key_passphrase",
        "pocket.rpc_urls",
        "pocket.key",
        "pocket.key_passphrase",
    }
    assert all(field.description for field in listed.values())


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        ("[limits.mint]\nsingle_transfer = 0", "limits.mint.single_transfer", "greater than or equal to 1"),
        ("[limits.mint]\nwindow_amount = 1.5", "limits.mint.window_amount", "whole number"),
        ("[limits.payout]\nwindow_s = 0", "limits.payout.window_s", "greater than or equal to 1"),
        ("[limits.payout]\ndelay_s = 60", "limits.payout", "delays nothing"),
        ("[limits.mint]\nsingle_transfer = 11\nwindow_amount = 10", "limits.mint", "more than fits the window"),
        ("[limits.burn]\nwindow_s = 60", "limits.burn", "is not a setting"),
        ("[limits.mint]\nwindow = 60", "limits.mint.window", "is not a setting"),
    ],
)
def test_limits_that_make_no_sense_are_refused(write, text, field, problem):
    found = faults(write(TOML + text))
    assert list(found) == [field]
    assert problem in str(found[field])


def test_limits_are_off_by_default_and_set_per_direction(write):
    assert load_settings(write(), {}).limits.mint.single_transfer is None
    text = TOML + "[limits.payout]\nsingle_transfer = 10\nwindow_amount = 10\nwindow_s = 3600\ndelay_s = 60"
    limits = load_settings(write(text), {"REACTOR_LIMITS__MINT__WINDOW_AMOUNT": "5"}).limits
    assert (limits.payout.single_transfer, limits.payout.window_s, limits.payout.delay_s) == (10, 3600, 60)
    assert (limits.mint.window_amount, limits.mint.single_transfer) == (5, None)


WRITTEN_BY_EDITORS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-sig", "utf-16-be-sig", "utf-32"]
"""Encodings as editors save text; `…-sig`: with a byte order mark."""


def saved(text, encoding):
    return ("\ufeff" + text).encode(encoding.removesuffix("-sig")) if encoding.startswith("utf-16-") else text.encode(encoding)


@pytest.mark.parametrize("ends", ["", "\n", "\r\n", "\r\n\r\n"])
@pytest.mark.parametrize("encoding", WRITTEN_BY_EDITORS)
def test_secret_files_are_read_as_editors_save_them(write, tmp_path, encoding, ends):
    texts = {"uri": "mongodb://user:pä55@h", "pass": "über", "urls": "http://a:1\r\nhttp://b:2"}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(saved(text + ends, encoding))
    environ = {
        "MONGODB_URI_FILE": "uri",
        "REACTOR_ETHEREUM__KEY_PASSPHRASE_FILE": "pass",
        "REACTOR_POCKET__RPC_URLS_FILE": "urls",
    }
    settings = load_settings(write(), {name: str(tmp_path / file) for name, file in environ.items()})
    assert settings.mongo.uri.get_secret_value() == texts["uri"]
    assert settings.ethereum.key_passphrase.get_secret_value() == texts["pass"]
    assert settings.pocket.rpc_urls == ("http://a:1", "http://b:2")


@pytest.mark.parametrize("encoding", WRITTEN_BY_EDITORS)
def test_a_configuration_file_is_read_as_editors_save_it(tmp_path, encoding):
    path = tmp_path / "reactor.toml"
    path.write_bytes(saved(TOML.replace("\n", "\r\n"), encoding))
    (tmp_path / "plain.toml").write_text(TOML)
    assert load_settings(path, {}) == load_settings(tmp_path / "plain.toml", {})


def test_a_variable_may_begin_with_the_mark_of_the_file_it_was_filled_from(write):
    settings = load_settings(write(), {"MONGODB_URI": "\ufeffmongodb://h", "REACTOR_LOG__LEVEL": "\ufeff"})
    assert (settings.mongo.uri.get_secret_value(), settings.log.level) == ("mongodb://h", "INFO")


SECTIONS = ["mongo", "ethereum", "pocket", "state", "log", "engine", "limits", "validator", "mongo-db-0"]


def service_links(section, address="10.0.0.7", port="27017", protocol="tcp"):
    """What Kubernetes gives for a service `reactor-<section>` with one named port."""
    name = f"REACTOR_{section.upper().replace('-', '_')}"
    host = f"[{address}]" if ":" in address else address
    one = f"{name}_PORT_{port}_{protocol.upper()}"
    return {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": port,
        f"{name}_SERVICE_PORT_MONGO_TLS": port,
        f"{name}_PORT": f"{protocol}://{host}:{port}",
        one: f"{protocol}://{host}:{port}",
        f"{one}_PROTO": protocol,
        f"{one}_PORT": port,
        f"{one}_ADDR": address,
    }


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize(("address", "protocol"), [("10.0.0.7", "tcp"), ("fd00::7", "tcp"), ("10.0.0.7", "udp")])
def test_service_links_of_kubernetes_are_no_settings(write, section, address, protocol):
    links = service_links(section, address, protocol=protocol)
    links |= {name.replace(f"_{section.upper().replace('-', '_')}_", "_", 1): value for name, value in links.items()}
    assert load_settings(write(), links) == load_settings(write(), {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REACTOR_MONGO_URI", "tcp://10.0.0.7:27017"),
        ("REACTOR_MONGO_PORT", "27017"),
        ("REACTOR_MONGO_PORT", "mongodb://10.0.0.7:27017"),
        ("REACTOR_MONGO_PORT", "tcp://10.0.0.7:99999"),
        ("REACTOR_MONGO_PORT", "tcp://10.0.0.700:1"),
        ("REACTOR_MONGO_SERVICE_HOST", "db.example"),
        ("REACTOR_MONGO_SERVICE_PORT", "tcp"),
        ("REACTOR_MONGO_PORT_27017_TCP", "tcp://10.0.0.7:27018"),
        ("REACTOR_MONGO_PORT_27017_TCP_PROTO", "udp"),
        ("REACTOR_MONGO_PORT_27017_TCP_PORT", "27018"),
        ("REACTOR_MONGO_PORT_27017_TCP_ADDR", "localhost"),
        ("REACTOR_MONGO_PORT_27017_TCP_HOST", "10.0.0.7"),
        ("REACTOR_MONGO__PORT", "tcp://10.0.0.7:27017"),
        ("REACTOR_MONGO__SERVICE_HOST", "10.0.0.7"),
        ("reactor_mongo_port", "tcp://10.0.0.7:27017"),
        ("REACTOR_ETHEREUM_CHAIN_ID", "1"),
    ],
)
def test_what_only_resembles_a_service_link_is_refused_as_before(write, name, value):
    assert faults(write(), {name: value})[name].problem == "is not a setting"
