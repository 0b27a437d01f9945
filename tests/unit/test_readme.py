"""The README's table of settings is the code's."""

from pathlib import Path

import pytest

from reactor.settings import settings_fields

pytestmark = pytest.mark.unit

README = Path(__file__).parents[2] / "README.md"


def row(field) -> str:
    default = "**required**" if field.required else (f"`{field.default}`" if field.default else "")
    file = " (or `…_FILE`)" if field.secret else ""
    return f"| `{field.path}` | `{field.env}`{file} | {default} | {field.description} |"


def test_the_table_of_settings_is_complete_and_right() -> None:
    table = README.read_text().partition("<!-- settings:")[2].partition("<!-- /settings -->")[0]
    shown = [line for line in table.splitlines() if line.startswith("| `")]
    assert shown == [row(field) for field in settings_fields()]
