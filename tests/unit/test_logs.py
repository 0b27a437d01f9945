"""The log: both forms, the bridge from the standard library, and that no secret gets through."""

import io
import json
import logging
import sys
import warnings

import pytest
from loguru import logger

from reactor import foreign, logs

pytestmark = pytest.mark.unit

PASSWORD = "pä$$ w0rd/1"
SECRET = "s3cr3t-token-1234567890"


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(foreign, "_secrets", foreign._Secrets())
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in logs._QUIET}
    yield
    root.handlers, root.level = handlers, level
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)
    logger.remove()
    logger.configure(patcher=lambda record: None, extra={})
    logger.add(sys.stderr)


def configured(form="human", level="INFO", secrets=(SECRET, PASSWORD)):
    stream = io.StringIO()
    logs.configure_logs(level, form, secrets=secrets, stream=stream)
    return stream


def fail_with(text):
    local_key = SECRET.upper()
    raise RuntimeError(text) if local_key else ValueError  # diagnose=True would print the value of local_key


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_message_is_written_with_level_and_extras(form):
    stream = configured(form)
    logger.bind(document="abc", height=7).warning("waits for {}", "height 9")
    line = stream.getvalue()
    assert line.count("\n") == 1
    for part in ("WARNING", "waits for height 9", "document", "abc", "7"):
        assert part in line


def test_json_lines_are_json_and_extras_stand_apart():
    stream = configured("json")
    logger.bind(message="not the message", height=7, ok=True, other=object).info('a "quoted"\nmessage {x}')
    entry = json.loads(stream.getvalue())
    assert entry["message"] == 'a "quoted"\nmessage {x}'
    assert entry["level"] == "INFO"
    assert entry["extra"]["message"] == "not the message"
    assert entry["extra"]["height"] == 7
    assert entry["extra"]["ok"] is True
    assert "T" in entry["time"]


def test_what_everybody_asks_for_are_fields_of_a_json_line():
    stream = configured("json")
    logs.name_lines(bridge="abc", validator="v-1")
    logger.bind(collection="mint", key="k", status="confirmed", reason=f"has {SECRET}", height=7).info("x")
    logger.info("y")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["bridge"], first["validator"], first["collection"], first["key"]) == ("abc", "v-1", "mint", "k")
    assert (first["status"], first["reason"], first["extra"]) == ("confirmed", f"has {foreign.MASK}", {"height": 7})
    assert {"bridge", "validator"} < set(second)
    assert "extra" not in second


def test_people_do_not_read_twice_what_the_message_says():
    stream = configured("human")
    logs.name_lines(bridge="abc", validator="v-1")
    logger.bind(**dict.fromkeys(logs.FIELDS, "field"), height=7).info("x")
    assert stream.getvalue().rstrip().endswith("x · height=7")


@pytest.mark.parametrize("form", ["human", "json"])
def test_the_level_holds(form):
    stream = configured(form, "WARNING")
    logger.info("quiet")
    logging.getLogger("some.library").info("quiet")
    assert stream.getvalue() == ""
    logger.error("loud")
    assert "loud" in stream.getvalue()


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="LOUD"):
        logs.configure_logs("LOUD", stream=io.StringIO())


@pytest.mark.parametrize("form", ["human", "json"])
@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        PASSWORD,
        "p%C3%A4%24%24%20w0rd%2F1",
        "p%C3%A4%24%24+w0rd%2F1",
        "p\\u00e4$$ w0rd/1",
    ],
)
def test_a_registered_secret_is_masked_in_every_spelling_and_place(form, text):
    stream = configured(form)
    logger.info(f"in the text {text}")
    logger.info("as an argument {}", text)
    logger.bind(extra=text, nested={"uri": text}).info("as an extra")
    logging.getLogger("library").warning("from a library %s", text)
    try:
        fail_with(f"in an exception {text}")
    except RuntimeError:
        logger.exception("failed")
        logging.getLogger("library").exception("failed too")
    shown = stream.getvalue()
    assert text not in shown
    assert SECRET not in shown
    assert shown.count(foreign.MASK) >= 6
    assert "in an exception" in shown
    assert "RuntimeError" in shown


@pytest.mark.parametrize("form", ["human", "json"])
def test_no_local_variable_is_shown_in_a_traceback(form):
    stream = configured(form, secrets=())
    try:
        fail_with("plain")
    except RuntimeError:
        logger.exception("failed")
    assert SECRET.upper() not in stream.getvalue()
    assert "fail_with" in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mongodb://user:pw@a:1,b:2/db?x=1", "mongodb://********@a:1,b:2/db?x=1"),
        ("mongodb+srv://user@cluster.example/db", "mongodb+srv://********@cluster.example/db"),
        ("see https://k3y:@rpc.example/v1 now", "see https://********@rpc.example/v1 now"),
        ("http://127.0.0.1:8545/path", "http://127.0.0.1:8545/path"),
        ("mail a@b.example, see https://c.example/@d", "mail a@b.example, see https://c.example/@d"),
        ("two http://a:b@c and ftp://d:e@f", "two http://********@c and ftp://********@f"),
    ],
)
def test_user_and_password_of_urls_are_masked_and_nothing_else(text, shown):
    assert foreign.redact(text) == shown


def test_short_and_blank_texts_are_not_registered():
    foreign.register_secrets("", "  ", "ab", "      ")
    assert foreign.redact("ab cd      ef") == "ab cd      ef"
    foreign.register_secrets("abcd")
    assert foreign.redact("ab abcd") == f"ab {foreign.MASK}"


def test_the_longer_of_two_secrets_is_masked_whole():
    foreign.register_secrets("hunter", "hunter-two-and-more")
    assert foreign.redact("hunter-two-and-more") == foreign.MASK


def test_a_sink_added_by_others_gets_masked_messages_too():
    configured()
    lines = []
    logger.add(lambda message: lines.append(str(message)), format="{message} {extra}")
    logger.bind(uri=SECRET).info(f"has {SECRET}")
    assert SECRET not in lines[0]
    assert lines[0].count(foreign.MASK) >= 2


@pytest.mark.parametrize("form", ["human", "json"])
def test_the_standard_library_is_bridged_under_its_own_name(form):
    stream = configured(form)
    logging.getLogger("pymongo.topology").warning("lost %s of %d with {braces}", "one", 3)
    logging.getLogger("custom").log(25, "between levels")
    line = stream.getvalue()
    assert "pymongo.topology" in line
    assert "lost one of 3 with {braces}" in line
    assert "between levels" in line


def test_chatty_libraries_stay_quiet_even_at_debug():
    stream = configured(level="DEBUG")
    for name in logs._QUIET:
        logging.getLogger(name).debug("a request with its authorization")
        logging.getLogger(name).info("an access line")
    assert stream.getvalue() == ""
    logging.getLogger("another").debug("shown")
    assert "shown" in stream.getvalue()


def test_configuring_twice_logs_once():
    configured()
    stream = configured()
    logger.info("first")
    logging.getLogger("library").warning("second")
    assert stream.getvalue().count("\n") == 2


def test_warnings_go_to_the_log():
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(f"old {SECRET}", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "py.warnings" in stream.getvalue()
    assert SECRET not in stream.getvalue()
