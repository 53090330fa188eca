"""Fail when a file holds more than 400 lines or a function more than 60, docstring not counted."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
FOLDERS = ("src", "tests", "starter", "tools", "bench")


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end of the body, without the docstring."""
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        docstring = node.body[0]
        total -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return total


def complaints(path: Path) -> Iterator[str]:
    """One line for everything in this file that is too long."""
    source = path.read_text(encoding="utf-8")
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{path}: {lines} lines, {MAX_FILE_LINES} are allowed: look for the second noun and give it a file"
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = function_lines(node)
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, {MAX_FUNCTION_LINES} are allowed"


def main() -> int:
    """Check every Python file of the repository; the exit status is 1 if anything is too long."""
    found = [
        line for folder in FOLDERS for path in sorted(Path(folder).rglob("*.py")) for line in complaints(path)
    ]
    print("\n".join(found) or "sizes: all files and functions are short enough")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
