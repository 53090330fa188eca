"""Other people's clients, each in an environment of its own, run as scripts against a server of ours."""

import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).parents[2] / ".venv-clients"


def run_script(environment: str, script: str, **names: str) -> Any:
    """Run a script in the environment of a client; the `result` it leaves comes back by way of JSON."""
    python = CLIENTS / environment / "bin" / "python"
    assert python.exists(), f"{python} is missing: `make test` installs it"
    lines = [f"{name} = {value!r}" for name, value in names.items()]
    source = "\n".join(["import json", *lines, textwrap.dedent(script), "print(json.dumps(result))"])
    done = subprocess.run(
        [python, "-c", source],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"HF_HUB_DISABLE_TELEMETRY": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
