"""How long an installed model takes to load: ours against OpenVINO alone with its cache of compiled models."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import shapes
from bench.table import Table
from quintet.core.models import Model

FACTORY = "quintet.engines.text.engine:open_engine"


def load_ours(directory: Path) -> None:
    """What a worker does between its start and its first word to the gateway."""
    from quintet.runtime.worker import resolve_factory

    model = Model(name="bench", task="text", engine="text", path=str(directory), context_length=8192)
    resolve_factory(FACTORY)(model)


def load_openvino(directory: Path, cache: str) -> None:
    """The least that anybody does with the same files."""
    import openvino

    core = openvino.Core()
    core.set_property({"CACHE_DIR": cache})
    compiled = core.compile_model(core.read_model(directory / "openvino_model.xml"), "CPU")
    compiled.create_infer_request()


def measure(*words: str) -> float:
    """Seconds that a load takes in a process of its own, imports included, Python's own start not."""
    command = [sys.executable, "-m", "bench.load", *words]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main(rounds: int = 5) -> list[Table]:
    """Both in turns, in fresh processes."""
    directory = str(shapes.smollm2_135m())
    table = Table(
        "load",
        "Loading an installed IR of 135 M parameters, int8 (s, median of rounds; OpenVINO's cache of "
        "compiled models is warm)",
        ("ours, engine ready", "OpenVINO alone, compiled", "ours - 2 s, as a multiple", "asked"),
    )
    with tempfile.TemporaryDirectory() as cache:
        measure("openvino", directory, cache)  # fills the cache
        measure("ours", directory)
        pairs = [(measure("ours", directory), measure("openvino", directory, cache)) for _ in range(rounds)]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    excess = statistics.median(max(0.0, a - 2) / b for a, b in pairs)
    table.add(ours, theirs, excess, "≤ 1.2")
    return [table]


def child(arguments: list[str]) -> None:
    """One load, timed."""
    begin = time.perf_counter()
    if arguments[0] == "ours":
        load_ours(Path(arguments[1]))
    else:
        load_openvino(Path(arguments[1]), arguments[2])
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    child(sys.argv[1:])
