"""A foreign server's Prometheus text with the model's name on every line, and nothing that could break ours. Pure.

One line that a scraper can't read costs it all of our metrics, so whatever isn't certainly right is left out.
"""

from __future__ import annotations

import math
import re

MAX_LINES = 2000
MAX_LINE = 2000
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_PAIR = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\[\\"n])*"'
_VALUE = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?|[+-]?Inf|NaN"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{((?:{_PAIR}(?:,{_PAIR})*,?)?)\}})? ({_VALUE})(?: -?[0-9]+)?")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (?:counter|gauge|histogram|summary|untyped)")
_HELP = re.compile(rf"# HELP ({_NAME})(?: (?:[^\\]|\\[\\n])*)?")
_OURS = "quintet_"
_LABEL = re.compile(rf"({_PAIR})")


def labelled(text: str, model: str) -> str:
    """The lines that are metrics, each with the label `model`; a label of that name becomes `exported_model`."""
    lines = []
    for line in map(str.rstrip, text.splitlines()[:MAX_LINES]):
        if len(line) > MAX_LINE or not line.isprintable():
            continue
        if (meta := _TYPE.fullmatch(line) or _HELP.fullmatch(line)) and not meta[1].startswith(_OURS):
            lines.append(line)
        elif (sample := _SAMPLE.fullmatch(line)) and not sample[1].startswith(_OURS):
            if math.isinf(float(sample[3])) and "Inf" not in sample[3]:
                continue  # too large a number is one that can't be read
            labels = _labels(model, sample[2] or "")
            if labels is not None:
                lines.append(f"{sample[1]}{{{labels}}} {sample[3]}")
    return "\n".join(lines) + "\n" if lines else ""


def _labels(model: str, others: str) -> str | None:
    """The labels of a sample with the model's name; None if one would be there twice."""
    pairs = [f'model="{_escaped(model)}"']
    for pair in _LABEL.findall(others):
        pairs.append(f"exported_{pair}" if pair.startswith('model="') else pair)
    names = {pair.partition("=")[0] for pair in pairs}
    return ",".join(pairs) if len(names) == len(pairs) else None


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
