"""The bar of a terminal, and the lines that stand for it elsewhere."""

from __future__ import annotations

import io

import pytest

from quintet.cli.progress import Bar
from quintet.core.events import Progress

STEPS = (
    Progress("look", 0, 1),
    Progress("download", 0, 2_000_000),
    Progress("download", 500_000, 2_000_000),
    Progress("download", 2_000_000, 2_000_000),
    Progress("convert", 1, 4),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_every_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("model") as bar:
        for step in STEPS:
            bar.report(step)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "model: asking the hub",
        "model: downloading 0 bytes of 2.0 MB",
        "model: converting 1/4",
    ]
    assert err == ""


def test_a_terminal_has_one_line_that_is_cleared_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    with Bar("model") as bar:
        for step in STEPS:
            bar.report(step)
    text = terminal.getvalue()
    assert "\n" not in text
    assert text.endswith("\r\x1b[K")
    assert f"[{'█' * 6}{' ' * 18}] downloading 500.0 kB of 2.0 MB" in text
    assert all(len(line) < 100 for line in text.split("\r\x1b[K"))
    assert capsys.readouterr().out == ""
