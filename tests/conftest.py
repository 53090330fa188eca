"""What all tests share: asyncio for anyio's plugin, and no way out of this machine."""

import os

import pytest

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
for _name in [name for name in os.environ if name.startswith("QUINTET_") or name.lower().endswith("_proxy")]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked anyio run on asyncio."""
    return "asyncio"
