"""What a gateway loads before it is ready, and what it must never load."""

import subprocess
import sys

WORKERS_ONLY = ("diffusers", "numpy", "openvino", "PIL", "tokenizers", "torch", "transformers")


def test_the_gateway_loads_nothing_that_belongs_to_workers() -> None:
    code = (
        f"import sys, quintet.server.run; print([name for name in {WORKERS_ONLY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_check_would_notice() -> None:
    code = "import sys, quintet.engines.text.engine; print('openvino' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "True"
