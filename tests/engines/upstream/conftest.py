"""llama.cpp's own server behind the engine, and a foreign server that says what a test tells it."""

import sys
from pathlib import Path

import pytest

from quintet.core.models import Model
from quintet.engines.upstream import open_engine
from tests.engines.upstream.foreign import Foreign
from tests.engines.upstream.tiny_gguf import write_gguf

SERVER = Path(__file__).with_name("llama_server.py")


@pytest.fixture(scope="package")
def gguf_file(tmp_path_factory):
    """The tiny model on disk."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


def llama_model(gguf_file, *settings, task="text", **options):
    """A catalog entry whose server is llama.cpp's."""
    command = " ".join([sys.executable, str(SERVER), str(gguf_file), "{port}", *settings])
    return Model(
        name="foreign",
        task=task,
        engine="upstream",
        context_length=8192,
        options={"command": command, "health_seconds": 0.2, **options},
    )


@pytest.fixture(scope="package")
def llama(gguf_file):
    """The engine over llama.cpp, started once."""
    engine = open_engine(llama_model(gguf_file))
    yield engine
    engine.close()


@pytest.fixture
def foreign():
    """A scripted server."""
    with Foreign() as server:
        yield server


@pytest.fixture
def engine(foreign):
    """The engine in front of it."""
    opened = foreign.open()
    yield opened
    opened.close()
