"""The log: loguru on standard error, for people or as JSON lines, and never a secret.

>>> configure_logs(level="INFO", format="json", secrets=settings.secrets())

SECURITY: TRUST.md, rule 7. Local variables never appear in tracebacks (`diagnose=False`), and every line is searched for
the registered secrets and for user and password in URLs after it has been composed, so that exceptions and the messages of
libraries are covered too. Keys are not registered here: no part of the program but the signers ever holds one.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from loguru import logger

from reactor.foreign import redact, register_secrets

if TYPE_CHECKING:
    from loguru import Message, Record

_HUMAN = "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> <level>{level: <7}</level> <cyan>{name}</cyan> {message}{extra[_shown]}"
FIELDS: Final = frozenset(
    {
        "bridge",
        "validator",
        "collection",
        "document_id",
        "key",
        "status",
        "reason",
        "outage",
        "outage_seconds",
        "failures",
        "healthy",
        "cannot",
        "signs",
        "code",
    }
)
"""What JSON lines carry as fields of their own (README). For people it is left out: the message says it in words."""
_QUIET = {
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
    "boto3": logging.WARNING,
    # Its debug log prints requests with their authorization.
    "botocore": logging.WARNING,
    # Its debug log prints commands with the documents in them.
    "pymongo": logging.WARNING,
    # It tells each retry; what failed is told once, with the endpoint's name, and counted.
    "stamina": logging.ERROR,
    "urllib3": logging.WARNING,
    "web3": logging.WARNING,
    "websockets": logging.WARNING,
}

LogFormat = Literal["human", "json"]


def configure_logs(
    level: str = "INFO",
    format: LogFormat = "human",  # noqa: A002 - as it is called in the settings
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send loguru's and the standard library's logs to one place. May be called again; the last call counts.

    Args:
        level: least level that is shown: TRACE, DEBUG, INFO, WARNING, ERROR.
        format: `human` (coloured on a terminal) or `json` (one object per line).
        secrets: texts to mask, besides those registered before.
        stream: where to; standard error by default.

    Raises:
        ValueError: an unknown level.
    """
    register_secrets(*secrets)
    target = sys.stderr if stream is None else stream
    number = logger.level(level).no

    def write(message: "Message") -> None:
        target.write(_json_line(message.record) if format == "json" else redact(str(message)))
        target.flush()

    logger.configure(patcher=_redact_record)
    logger.remove()
    logger.add(
        write,
        level=number,
        format=_HUMAN if format == "human" else "{message}",
        colorize=format == "human" and target.isatty() and not os.environ.get("NO_COLOR"),
        backtrace=False,
        diagnose=False,
    )
    _bridge_standard_logging(number)


def name_lines(**fields: str) -> None:
    """Let every JSON line of this process carry these fields from now on: `bridge`, `validator`."""
    logger.configure(extra=fields)


def _redact_record(record: "Record") -> None:
    """Mask message and extras, so that sinks added by others (tests, tools) get no secret either."""
    record["message"] = redact(record["message"])
    extra = record["extra"]
    for name, value in extra.items():
        if isinstance(value, str):
            extra[name] = redact(value)
    shown = " ".join(f"{name}={value}" for name, value in extra.items() if not name.startswith("_") and name not in FIELDS)
    extra["_shown"] = f" · {redact(shown)}" if shown else ""


def _json_line(record: "Record") -> str:
    entry: dict[str, Any] = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        "logger": record["name"],
        "message": record["message"],
    }
    plain = {name: _plain(value) for name, value in record["extra"].items() if not name.startswith("_")}
    entry |= {name: value for name, value in plain.items() if name in FIELDS}
    # Apart, so that no caller's name can stand in for the message or the level.
    if extra := {name: value for name, value in plain.items() if name not in FIELDS}:
        entry["extra"] = extra
    exception = record["exception"]
    if exception is not None and exception.value is not None:
        text = "".join(traceback.format_exception(exception.type, exception.value, exception.traceback))
        entry["exception"] = redact(text)
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | type(None)) else redact(str(value))


class _Bridge(logging.Handler):
    """Hands a record of the standard library to loguru, under the name of its own logger."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        text = record.getMessage()

        def rename(into: "Record") -> None:
            into["name"] = record.name
            into["function"] = record.funcName
            into["line"] = record.lineno

        logger.patch(rename).opt(exception=record.exc_info).log(level, "{}", text)


def _bridge_standard_logging(level: int) -> None:
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Bridge)]
    root.addHandler(_Bridge())
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, least))
    # Warnings of the interpreter come by the same way.
    logging.captureWarnings(True)
