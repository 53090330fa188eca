"""Stepping back works among all processes of the machine, whichever session they are of."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os
from quintet.core.priority import step_back
before = os.getpriority(os.PRIO_PROCESS, 0)
step_back(7)
print(os.getpriority(os.PRIO_PROCESS, 0) - before)
try:
    print(open("/proc/self/autogroup").read().split("nice")[1].strip())
except OSError:
    print("-")
"""


def step_back_in_a_session_of_its_own() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, start_new_session=True
    )
    return done.stdout.split()


def test_the_process_becomes_nicer():
    assert step_back_in_a_session_of_its_own()[0] == "7"


@pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel doesn't share processors out by session"
)
def test_its_session_does_too_for_many_at_once():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], start_new_session=True, stdout=subprocess.PIPE
    ) as other:
        assert step_back_in_a_session_of_its_own()[1] == "7"
        assert other.communicate()[0].split()[1] == b"7"
