"""Nothing that a worker imports reports to its makers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import quintet.engines.text.executor, threading
from openvino.tools.ovc import telemetry_utils
assert threading.enumerate() == [threading.main_thread()], "something waits in the background"
assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
"""


def test_openvino_does_not_phone_home(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "CI"}
    subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**clean, "HOME": str(tmp_path)}, check=True, timeout=120
    )
    assert not (tmp_path / "intel").exists()
