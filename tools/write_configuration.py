"""Write docs/configuration.md from the settings themselves; `make docs` runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from quintet.config import FILE_NAME, HOME_VARIABLE, PREFIX, Section, Settings

TARGET = Path(__file__).parent.parent / "docs" / "configuration.md"
INTRODUCTION = f"""\
# Configuration

Quintet runs without any. Settings come from three places, the later ones win:

1. the defaults below,
2. `{FILE_NAME}` in the data directory (`${HOME_VARIABLE}`, default `~/.quintet`),
3. environment variables: `{PREFIX}` and the setting's name in capitals, with two underscores for the dot.
   Lists and tables are written as JSON: `{PREFIX}AUTH__TRUSTED_PROXIES='["10.0.0.0/8"]'`.

`quintet serve --host … --port … --home … --model …` stands above all three. A setting that doesn't exist is an
error that names it. `quintet doctor` reads the same settings and says what is wrong with them.

```toml
# ~/.quintet/{FILE_NAME}
port = 8080
aliases = {{ "my-assistant" = "starter-chat" }}

[auth]
trusted_proxies = ["127.0.0.1"]

[log]
format = "text"
```

`quintet chat` and `quintet models` read `QUINTET_URL` and `QUINTET_API_KEY` as well.

<!-- Written by tools/write_configuration.py from src/quintet/config.py; a test keeps the two equal. -->
"""


def render() -> str:
    """The whole page."""
    page = INTRODUCTION + "\n## Server\n\n" + "".join(_table(Settings, ""))
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            page += f"\n## [{name}]\n\n{section.__doc__}\n\n" + "".join(_table(section, f"{name}."))
    return page


def _table(section: type[Section], prefix: str) -> Iterator[str]:
    yield "| setting | default | meaning |\n|---|---|---|\n"
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            continue
        meaning = " ".join((field.description or "").split())
        yield f"| `{prefix}{name}` | {_default(field)} | {meaning} |\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    return "" if value is None else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(f"wrote {TARGET}")
