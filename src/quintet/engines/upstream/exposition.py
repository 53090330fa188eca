"""A foreign server's Prometheus text with the model's name on every line, and nothing that could break ours. Pure."""

from __future__ import annotations

import re

MAX_LINES = 2000
MAX_LINE = 2000
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABELS = r'(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*",?)*'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABELS})\}})? ([0-9eE+.Naif-]+)(?: -?[0-9]+)?")
_META = re.compile(rf"# (?:TYPE|HELP) ({_NAME})(?: .*)?")
_OURS = "quintet_"
_MODEL = re.compile(r'(^|,)model="')


def labelled(text: str, model: str) -> str:
    """The lines that are metrics, each with the label `model`; a label of that name becomes `exported_model`."""
    lines = []
    for line in text.splitlines()[:MAX_LINES]:
        if len(line) > MAX_LINE:
            continue
        if (meta := _META.fullmatch(line)) and not meta[1].startswith(_OURS):
            lines.append(line)
        elif (sample := _SAMPLE.fullmatch(line.rstrip())) and not sample[1].startswith(_OURS):
            others = _MODEL.sub(r'\1exported_model="', (sample[2] or "").rstrip(","))
            labels = f'model="{_escaped(model)}"' + (f",{others}" if others else "")
            lines.append(f"{sample[1]}{{{labels}}} {sample[3]}")
    return "\n".join(lines) + "\n" if lines else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
