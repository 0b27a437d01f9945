"""Every command where something that it needs is not there: the code that it ends with, what is missing, what to do."""

import pytest
from cli_unit_helpers import NOBODY, PASSWORD, settings_in, write_config

from reactor.cli.main import main
from tests.unit.test_cli_arguments import commands

pytestmark = [
    pytest.mark.unit,
    # A connection that is being made when its client is closed is left to the collector by asyncio.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

DATABASE = "mongo.uri: no primary can be reached"
JOURNAL = "there is no signing journal at"
LEDGER = "there is no ledger in"

NOTHING: dict[str, tuple[list[str], int, str]] = {
    "run": (["--observe"], 3, "not started: journal, database"),
    "check": ([], 1, "no primary can be reached"),
    "init-db": ([], 1, DATABASE),
    "status": ([], 1, DATABASE),
    "health": ([], 1, "no validator has ever run on"),
    "tail": ([], 1, DATABASE),
    "explain": (["9" * 64], 1, "nothing can be told of"),
    "supply": ([], 1, LEDGER),
    "pause": (["mint"], 1, JOURNAL),
    "resume": (["mint"], 1, JOURNAL),
    "hold": (["signing"], 1, JOURNAL),
    "release": (["signing"], 1, JOURNAL),
    "retry": (["disputed"], 1, LEDGER),
    "rescan": (["--chain", "pocket", "--from", "1", "--to", "2"], 1, LEDGER),
    "journal new": ([], 1, f"{NOBODY}: connection refused"),
    "journal show": ([], 1, JOURNAL),
    "journal export": ([], 1, JOURNAL),
    "journal allow-older": ([], 1, JOURNAL),
    "config show": ([], 0, ""),
    "config check": ([], 0, ""),
    "keys show": ([], 0, "none is configured"),
    "keys new": (["ethereum", "{folder}/no/such/folder/key", "--kind", "file"], 1, "no/such/folder"),
    "version": ([], 0, "bridge-reactor"),
}
"""With neither database nor nodes nor state: arguments, exit code, what is said."""
WITHOUT_CONFIGURATION = {"keys new", "version"}


def test_every_command_is_in_the_table() -> None:
    assert set(NOTHING) == set(commands())


@pytest.mark.parametrize("command", NOTHING)
def test_without_database_nodes_and_state_it_says_what_is_missing_and_what_to_do(command, tmp_path, capsys):
    given, code, says = NOTHING[command]
    arguments = [*command.split(), *(one.replace("{folder}", str(tmp_path)) for one in given)]
    if command not in WITHOUT_CONFIGURATION:
        arguments += ["--config", str(write_config(tmp_path))]
    assert main(arguments) == code
    said = capsys.readouterr()
    assert says in said.out + said.err
    assert "Traceback" not in said.err
    assert PASSWORD not in said.out + said.err
    if code and command != "check":
        assert "remedy: " in said.err
    assert not settings_in(tmp_path).state.directory.exists(), "a question leaves nothing behind"


def required() -> list[tuple[str, str]]:
    """Each argument that a command cannot do without."""
    return [(name, str(one.name)) for name, command in commands().items() for one in command.params if one.required]


def test_there_are_such() -> None:
    assert {name for name, _ in required()} >= {"explain", "pause", "hold", "release", "retry", "rescan", "keys new"}


@pytest.mark.parametrize("command", sorted({name for name, _ in required()}))
def test_a_missing_argument_is_wrong_usage_and_is_named(command, capsys):
    assert main(command.split()) == 2
    said = capsys.readouterr().err
    assert next(name for one, name in required() if one == command) in said
    assert "Usage: " in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["statsu"], "No such command 'statsu'"),
        (["journal", "nwe"], "No such command 'nwe'"),
        (["status", "more"], "unexpected extra argument"),
        (["tail", "--limit"], "'--limit' requires an argument"),
        (["check", "--confg", "x"], "No such option: --confg"),
    ],
)
def test_what_is_misspelt_is_wrong_usage_and_is_named(arguments, says, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("content", "says"), [(None, "Is a directory"), (b"\xff\xfe\x00", "Save it as UTF-8"), (b"", "ethereum: is missing")]
)
@pytest.mark.parametrize("command", ["run", "status", "hold signing", "config check"])
def test_a_configuration_that_is_none_is_2(command, content, says, tmp_path, capsys):
    path = tmp_path / "reactor.toml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert main([*command.split(), "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert str(path) in said
    assert "remedy: " in said


@pytest.mark.parametrize("place", ["state", "state/below"])
def test_a_file_where_the_state_is_to_lie_is_a_wrong_configuration(place, tmp_path, capsys):
    text = write_config(tmp_path).read_text().replace('directory = "state"', f'directory = "{place}"')
    path = write_config(tmp_path, text)
    assert main(["config", "check", "--config", str(path)]) == 0, "that nothing stands there yet is no fault"
    (tmp_path / "state").write_text("x")
    capsys.readouterr()
    for command in (["config", "check"], ["run", "--observe"]):
        assert main([*command, "--config", str(path)]) == 2
        said = capsys.readouterr().err
        assert "state.directory" in said
        assert "is no directory" in said
