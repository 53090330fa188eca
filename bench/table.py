"""A measured table: printed while it runs, and written into docs/performance.md at its marker."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


@dataclass
class Table:
    """Rows under a title; `name` is the marker in docs/performance.md."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """One more row, printed at once; numbers are rounded to what the measurement can tell."""
        row = tuple(_show(cell) for cell in cells)
        self.rows.append(row)
        print(
            f"{self.name}: " + " | ".join(f"{c}={v}" for c, v in zip(self.columns, row, strict=True)),
            flush=True,
        )

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [f"**{self.title}**", "", "| " + " | ".join(self.columns) + " |"]
        lines.append("|" + "---|" * len(self.columns))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join(lines)

    def publish(self) -> None:
        """Replace what stands between this table's markers."""
        page = PAGE.read_text("utf-8")
        begin, end = f"<!-- bench:{self.name} -->", f"<!-- /bench:{self.name} -->"
        if begin not in page:
            page += f"\n{begin}\n{end}\n"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
        page = pattern.sub(lambda _: f"{begin}\n{self.markdown()}\n{end}", page)
        PAGE.write_text(page, "utf-8")


def _show(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.2f}" if cell < 10 else f"{cell:.0f}"
    return str(cell)
