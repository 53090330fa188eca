"""Import once what the server imports, so that its bytecode is there and the first start is a quick one."""

from __future__ import annotations

import importlib
import sys

sys.dont_write_bytecode = False  # whatever the environment says: this is the installation
MODULES = (
    "quintet.cli.main",
    "quintet.server.run",
    "quintet.runtime.worker",
    "alembic.command",
    "httpx",
    "prompt_toolkit",
    "quintet.engines.text.engine",
)


def main() -> int:
    """Import every entry module; the exit status is 1 if one of them doesn't load."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"The installation is incomplete: {name} doesn't load ({error}).", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
