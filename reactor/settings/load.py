"""Load the settings, or say everything that is wrong with them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reactor.settings.faults import Fault, SettingsError
from reactor.settings.fields import env_name, settings_fields
from reactor.settings.model import Settings
from reactor.settings.sources import find_file, merge, named_by, nearest, read_environment, read_toml, resolve_files


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Load and check the settings.

    Args:
        path: the TOML file; none means `REACTOR_CONFIG`, else `reactor.toml` if there is one, else no file.
        environ: the environment, which wins over the file.

    Raises:
        SettingsError: with every fault, each naming field, environment variable and remedy.
    """
    file = find_file(path, environ)
    tree, faults = read_toml(file, named_by(path, environ)) if file is not None else ({}, [])
    if file is not None and not faults:
        faults += resolve_files(tree, file.absolute().parent)
    from_environment, more = read_environment(environ, tree)
    faults += more
    source = str(file) if file is not None else "environment only"
    unreadable = file is not None and not tree and bool(faults)
    try:
        settings = Settings.model_validate(merge(tree, from_environment))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        # A file that cannot be read makes everything missing; only what is wrong besides is worth saying.
        shown = [detail for detail in details if not (unreadable and detail["type"] == "missing")]
        raise SettingsError(_merge_faults(faults, [_fault(detail) for detail in shown]), source) from None
    if faults:
        raise SettingsError(faults, source)
    return settings


def _merge_faults(first: Sequence[Fault], then: Sequence[Fault]) -> list[Fault]:
    """Join the faults; a field whose source is at fault is not blamed for its value as well."""
    blamed = {fault.field for fault in first} | {fault.field.removesuffix("_file") for fault in first}
    return [*first, *(fault for fault in then if fault.field.partition("[")[0] not in blamed or not fault.field)]


def _fault(detail: ErrorDetails) -> Fault:
    names = [part for part in detail["loc"] if isinstance(part, str)]
    places = [part for part in detail["loc"] if isinstance(part, int)]
    path = ".".join(names)
    env = env_name(path) if any(field.path == path for field in settings_fields()) else ""
    where = path + "".join(f"[{place + 1}]" for place in places)
    kind = detail["type"]
    context: dict[str, Any] = detail.get("ctx", {})
    if "remedy" in context:
        return Fault(where, env, detail["msg"], str(context["remedy"]))
    if kind == "extra_forbidden":
        return Fault(where, "", "is not a setting", nearest(names[-1], _known(names[:-1])))
    if kind == "missing":
        return Fault(where, env, "is missing", _missing_remedy(path))
    if kind == "model_type":
        return Fault(where, "", "is not a section", f"Write it as a table: [{path}]")
    if kind in {"greater_than_equal", "greater_than"} and names[-1] in {"start_block", "start_height"}:
        return Fault(where, env, "is 0", "Give the first height of the bridge; without it older events would be skipped")
    return Fault(where, env, _lowered(detail["msg"]), _default_remedy(path))


def _known(sections: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for section in sections:
        annotation = model.model_fields[section].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _missing_remedy(path: str) -> str:
    inside = [field for field in settings_fields() if field.path.startswith(f"{path}.") and field.required]
    if inside:
        return "Add the section [" + path + "] with " + ", ".join(f.path.removeprefix(f"{path}.") for f in inside)
    return _default_remedy(path)


def _default_remedy(path: str) -> str:
    for field in settings_fields():
        if field.path == path:
            return f"Set it: {field.description}"
    return "See the table of settings in the README"


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
