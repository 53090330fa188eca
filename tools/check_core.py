"""Fail when quintet.core imports anything but the standard library and itself."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

CORE = Path("src/quintet/core")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that is imported anywhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def is_allowed(module: str) -> bool:
    """Whether core may import this module."""
    return module.split(".")[0] in sys.stdlib_module_names or f"{module}.".startswith("quintet.core.")


def main() -> int:
    """Check every file of core; the exit status is 1 if one reaches out."""
    found = [
        f"{path}:{line}: core imports {module}; only the standard library is allowed"
        for path in sorted(CORE.rglob("*.py"))
        for line, module in imported(ast.parse(path.read_text(encoding="utf-8"), str(path)))
        if not is_allowed(module)
    ]
    print("\n".join(found) or "core: standard library only")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
