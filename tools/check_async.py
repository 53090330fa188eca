"""Fail when an async generator is iterated without `aclosing`, so that nobody closes it on the way out.

`async for x in f():` leaves the generator to the garbage collector when the loop is left early. Write
`async with aclosing(f()) as xs:` and loop over `xs`. A call that returns a plain iterator, not a generator, may
be marked with a trailing `# no generator`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MARK = "# no generator"


def complaints(path: Path) -> Iterator[str]:
    """One line for every loop over a call that nobody closes."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source, str(path))):
        loops = [node] if isinstance(node, ast.AsyncFor | ast.comprehension) else []
        for loop in loops:
            is_async = isinstance(loop, ast.AsyncFor) or bool(loop.is_async)
            if is_async and isinstance(loop.iter, ast.Call) and MARK not in lines[loop.iter.lineno - 1]:
                yield f"{path}:{loop.iter.lineno}: iterate it under contextlib.aclosing, or mark it `{MARK}`"


def main() -> int:
    """Check the package; the exit status is 1 if any loop is unsafe."""
    found = [line for path in sorted(Path("src").rglob("*.py")) for line in complaints(path)]
    print("\n".join(found) or "async: every generator has somebody who closes it")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
