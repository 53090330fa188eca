"""A server process of its own for a benchmark, with its own home and models."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY = "Quintet is ready at "


@dataclass(frozen=True)
class House:
    """A running server."""

    port: int
    pid: int
    ready_seconds: float
    home: Path

    def resident_mb(self) -> float:
        """Resident memory of the gateway process, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def peak_mb(self) -> float:
        """Largest resident memory the gateway process has had so far, in MB."""
        return _peak_mb(self.pid)

    def decoders_peak_mb(self) -> list[float]:
        """The same of each of its processes that decode pictures."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [
            _peak_mb(int(child))
            for child in children
            if b"quintet.media" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]

    def cpu_seconds(self) -> float:
        """CPU time the gateway process has used, children not counted."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@contextmanager
def running(models: str, default_model: str, **settings: object) -> Iterator[House]:
    """Start `quintet serve` with these catalog tables; yields when it says it is ready."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "models").mkdir()
        (Path(home) / "models" / "bench.toml").write_text(models)
        known = {"default_model": default_model, "port": 0, "log__level": "warning"} | settings
        environ = {f"QUINTET_{name.upper()}": str(value) for name, value in known.items()}
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "quintet", "serve"],
            env=os.environ | environ | {"QUINTET_HOME": home},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if line.startswith(READY)), "")
            if not line:
                raise RuntimeError("the server did not start; run `quintet serve` by hand to see why")
            port = int(line.strip().rsplit(":", 1)[1])
            yield House(port, process.pid, time.perf_counter() - begin, Path(home))
        finally:
            process.terminate()
            process.wait(60)
