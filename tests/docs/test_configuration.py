"""docs/configuration.md says what src/quintet/config.py does."""

import tomllib
from pathlib import Path

from quintet.config import Settings
from tools.write_configuration import TARGET, render


def test_the_page_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == render(), "run: make docs"


def test_every_setting_has_a_meaning() -> None:
    rows = [line for line in render().splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    assert all(row.split("|")[3].strip() for row in rows)


def test_the_example_is_accepted() -> None:
    example = render().partition("```toml\n")[2].partition("```")[0]
    Settings.model_validate({**tomllib.loads(example), "home": Path("/tmp")})
