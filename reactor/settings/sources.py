"""From file and environment to one nested dictionary, with the faults that show before any value is read."""

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reactor.sentences import meaning
from reactor.settings.faults import Fault
from reactor.settings.fields import MONGODB_URI, PREFIX, FieldInfo, env_name, settings_fields
from reactor.settings.links import is_service_link
from reactor.textfile import BOM, NotTextError, decode_text

CONFIG_ENV = "REACTOR_CONFIG"
CONFIG_OPTION = "--config"
DEFAULT_FILE = "reactor.toml"
RESERVED_PREFIX = "REACTOR_DEV_"
"""Names that development tools may use beside the settings."""
MAX_FILE_BYTES = 1024 * 1024
_ENV_KEY = re.compile(r"env://([A-Za-z_][A-Za-z0-9_]*)")

Tree = dict[str, Any]


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Choose the configuration file: the one named, else `REACTOR_CONFIG`, else `reactor.toml` if it is there."""
    if path is not None:
        return path
    if named := environ.get(CONFIG_ENV, "").strip():
        return Path(named)
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None


def named_by(path: Path | None, environ: Mapping[str, str]) -> str:
    """What chose the file: the option, the variable, or neither, where `reactor.toml` was there."""
    if path is not None:
        return CONFIG_OPTION
    return CONFIG_ENV if environ.get(CONFIG_ENV, "").strip() else DEFAULT_FILE


def read_toml(path: Path, named: str = CONFIG_OPTION) -> tuple[Tree, list[Fault]]:
    """Read the file; a relative `state.directory` in it is meant from the file's own folder. `named`: what chose it."""
    raw, problem = _content(path)
    if problem:
        return {}, [Fault("", named, f"{path} {problem}", "Check the path of the file")]
    if len(raw) > MAX_FILE_BYTES:
        return {}, [Fault("", named, f"{path} is too large for a configuration", "Name the right file")]
    try:
        tree = tomllib.loads(decode_text(raw))
    except tomllib.TOMLDecodeError as error:
        # The parser's text names place and kind, and single characters, never a value.
        return {}, [Fault("", named, f"{path} is not TOML: {error}", "Correct that line")]
    except NotTextError as error:
        return {}, [Fault("", named, f"{path} {error}", "Save it as UTF-8")]
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, arrays in arrays without end: TOML's own error covers neither of them.
        return {}, [Fault("", named, f"{path} cannot be read as TOML: {meaning(error)}", "Name the right file")]
    state = tree.get("state")
    if isinstance(state, dict) and isinstance(directory := state.get("directory"), str) and directory.strip():
        place = expanded(directory.strip())
        # One whose `~` could not be resolved is left for its own check to refuse.
        state["directory"] = str(place if str(place).startswith("~") else path.absolute().parent / place)
    return tree, []


def resolve_files(tree: Tree, base: Path) -> list[Fault]:
    """Replace each `<secret>_file` of a TOML tree by what that file holds."""
    faults: list[Fault] = []
    for field in (field for field in settings_fields() if field.secret):
        *sections, name = field.path.split(".")
        section: Any = tree
        for part in sections:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or f"{name}_file" not in section:
            continue
        place = section.pop(f"{name}_file")
        label = f"{field.path}_file"
        if name in section:
            faults.append(Fault(label, "", f"stands beside {field.path}", "Give one of the two"))
        elif not isinstance(place, str) or not place.strip():
            faults.append(Fault(label, "", "is not a path", "Give the path of a file that holds the value"))
        else:
            text, fault = _read_secret(base / expanded(place.strip()), label, f"{field.env}_FILE")
            faults.extend([fault] if fault else [])
            section[name] = _listed(text) if field.is_list else text
    return faults


def read_environment(environ: Mapping[str, str], base: Tree) -> tuple[Tree, list[Fault]]:
    """Collect the settings of the environment; empty variables count as not set.

    Args:
        environ: the whole environment; what Kubernetes puts there of its services is passed over.
        base: what the file said (for the names that its `env://` keys use).
    """
    # A variable that was filled from a file may begin with the file's byte order mark.
    unmarked = {name: value.removeprefix(BOM) for name, value in environ.items()}
    given = {name: value for name, value in unmarked.items() if value.strip() and not is_service_link(name, value)}
    _take_mongodb_uri(given)
    tree: Tree = {}
    faults: list[Fault] = []
    known = {CONFIG_ENV}
    for field in settings_fields():
        known |= {field.env, f"{field.env}_FILE"} if field.secret else {field.env}
        text, fault = _value(field, given)
        if fault:
            faults.append(fault)
        if text is not None:
            _put(tree, field.path, _parse(field, text))
    known |= _names_of_keys(tree) | _names_of_keys(base)
    faults.extend(_unknown_names(given, known))
    return tree, faults


def expanded(place: str) -> Path:
    """Resolve the `~` of a path; it stays as it stands where there is no such user."""
    try:
        return Path(place).expanduser()
    except RuntimeError:
        return Path(place)


def merge(below: Tree, above: Tree) -> Tree:
    """Lay one tree over another; the upper one wins value by value."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = merge(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def nearest(name: str, known: Sequence[str]) -> str:
    """Give the remedy for an unknown name: the nearest known one, if any is near."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {close[0]}?" if close else "Remove it"


def _take_mongodb_uri(given: dict[str, str]) -> None:
    """Let `MONGODB_URI` (and its file) stand for the long name, which wins where both are given."""
    own = env_name("mongo.uri")
    short = {suffix: given.pop(f"{MONGODB_URI}{suffix}", None) for suffix in ("", "_FILE")}
    if own in given or f"{own}_FILE" in given:
        return
    given.update({own + suffix: value for suffix, value in short.items() if value is not None})


def _value(field: FieldInfo, given: Mapping[str, str]) -> tuple[str | None, Fault | None]:
    by_file = f"{field.env}_FILE"
    if not field.secret or by_file not in given:
        return given.get(field.env), None
    if field.env in given:
        return given[field.env], Fault(field.path, by_file, f"stands beside {field.env}", "Give one of the two")
    return _read_secret(Path(given[by_file].strip()), field.path, by_file)


def _read_secret(path: Path, label: str, env: str) -> tuple[str, Fault | None]:
    """Read a secret's file; on a fault the value is a placeholder, so that it does not count as missing too."""
    raw, problem = _content(path)
    if problem:
        return "", Fault(label, env, f"{path} {problem}", "Check the path and its permissions")
    try:
        text = decode_text(raw).strip("\r\n")
    except NotTextError as error:
        return "", Fault(label, env, f"{path} {error}", "Write the value as UTF-8 text")
    if not text.strip():
        return "", Fault(label, env, f"{path} is empty", "Write the value into it")
    return text, None


def _content(path: Path) -> tuple[bytes, str]:
    """What a file holds (one byte more than is allowed, at most), and why it cannot be read, if it cannot."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1), ""
    except OSError as error:
        return b"", f"cannot be read ({error.strerror})"
    except ValueError:
        return b"", "cannot be read: its path holds a NUL, which no path does"


def _parse(field: FieldInfo, text: str) -> object:
    if field.is_list:
        return _listed(text)
    if text.lstrip().startswith("[") and not field.secret:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text  # the field's own check says what it wants
    return text


def _listed(text: str) -> object:
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return [part for part in re.split(r"[\s,]+", text) if part]


def _put(tree: Tree, path: str, value: object) -> None:
    *sections, name = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[name] = value


def _names_of_keys(tree: Tree) -> set[str]:
    """Give the variables that `env://` keys name: they may begin like ours."""
    names = set()
    for section in ("ethereum", "pocket"):
        part = tree.get(section)
        key = part.get("key") if isinstance(part, dict) else None
        if isinstance(key, str) and (match := _ENV_KEY.fullmatch(key.strip())):
            names.add(match.group(1))
    return names


def _unknown_names(given: Mapping[str, str], known: set[str]) -> list[Fault]:
    ours = (n for n in sorted(given) if n.upper().startswith(PREFIX) and not n.startswith(RESERVED_PREFIX))
    ordered = sorted(known)
    return [Fault("", name, "is not a setting", nearest(name.upper(), ordered)) for name in ours if name not in known]
