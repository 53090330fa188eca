"""R-00, R-17, R-25, R-27, R-28, R-29: no second way out, and none that a caller can set."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import quintet
from quintet.core.errors import InvalidRequest
from quintet.dialects.pictures import MAX_PICTURES
from quintet.engines.upstream.flags import ARGUMENTS, ENVIRONMENT, read_arguments
from tests.dialects.wire import OPERATIONS

ROOT = Path(quintet.__file__).parent
ALLOWED = {
    "media/fetch.py": "the one function that opens a caller's link; certificates",
    "media/exchange.py": "its HTTP, on a connection that is open already",
    "media/resolver.py": "its name lookups",
    "engines/upstream/client.py": "servers that the operator names in the catalog",
    "engines/upstream/failures.py": "the errors of that client",
    "weights/hub.py": "the model hub that the operator chose, in a child process of its own",
    "cli/remote.py": "the command line's way to its own server",
    "cli/checks.py": "`connect` to the SQLite file",
    "store/database.py": "`connect` to the operator's database",
    "store/keycache.py": "`connect` to the operator's database",
}
CLIENTS = frozenset(
    (
        *("aiohttp", "boto3", "botocore", "certifi", "curl_cffi", "fsspec", "ftplib", "grpc", "h11", "h2"),
        *(
            "http.client",
            "httpcore",
            "httplib2",
            "httpx",
            "huggingface_hub",
            "imageio",
            "niquests",
            "paramiko",
        ),
        *("poplib", "pycurl", "requests", "s3fs", "smtplib", "socketserver", "telnetlib", "tornado", "trio"),
        *("urllib.request", "urllib3", "webbrowser", "websocket", "websockets", "wget", "xmlrpc"),
    )
)
CALLS = frozenset(
    (
        *(
            "connect",
            "connect_ex",
            "connect_tcp",
            "create_connection",
            "getaddrinfo",
            "gethostbyname",
            "gethostbyname_ex",
        ),
        *(
            "load_audio",
            "load_image",
            "load_video",
            "open_connection",
            "sock_connect",
            "urlopen",
            "urlretrieve",
        ),
        *("HTTPConnection", "HTTPSConnection", "getnameinfo", "create_datagram_endpoint", "sock_sendto"),
    )
)

WORDS = re.compile(r"\b(?:" + "|".join({name.partition(".")[0] for name in CLIENTS} | CALLS) + r")\b")
"""Modules without any of these need no parsing."""


def ways_out(source: str) -> set[str]:
    """What a module imports or names that can open a connection to somewhere else."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {name for name in names if any(f"{name}.".startswith(f"{client}.") for client in CLIENTS)}
        last = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        found |= {last} & CALLS
        if isinstance(node, ast.alias) and node.name.rpartition(".")[2] in CALLS:
            found.add(node.name)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found |= {word.value for word in node.args if isinstance(word, ast.Constant)} & CLIENTS
    return found


def test_r00_no_other_module_can_open_a_connection():
    found = {
        path.relative_to(ROOT).as_posix(): names
        for path in sorted(ROOT.rglob("*.py"))
        if WORDS.search(text := path.read_text("utf-8")) and (names := ways_out(text))
    }
    strangers = {name: names for name, names in found.items() if name not in ALLOWED}
    assert not strangers, "callers' links are opened by quintet.media.fetch alone"
    assert found.keys() == ALLOWED.keys(), "and the list is as short as it can be"


@pytest.mark.parametrize(
    "source",
    [
        *(
            "import requests",
            "from httpx import get",
            "import urllib.request as u",
            "from urllib import request",
        ),
        *(
            "import http.client",
            "from http import client",
            "asyncio.open_connection(a, 1)",
            "import aiohttp.web",
        ),
        *(
            "socket.create_connection(x)",
            "from diffusers.utils import load_image",
            "importlib.import_module('httpx')",
        ),
        *("from asyncio import open_connection as go", "loop.sock_connect(s, a)"),
    ],
)
def test_r00_the_gate_sees_what_it_must(source):
    assert ways_out(source)


def test_a_gateway_that_fetches_nothing_holds_no_http_client():
    script = (
        "import sys, quintet.media.fetch as f; f.Fetcher();"
        "print([m for m in ('h11', 'httpx', 'httpcore', 'certifi', 'PIL', 'numpy', 'idna') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_r25_nobody_can_switch_an_engines_own_fetching_on():
    names = [*ARGUMENTS, *ENVIRONMENT]
    assert not [name for name in names if "domain" in name or "redirect" in name or "allowed" in name.lower()]
    for text in ("allowed-media-domains=a.example", "allowed-local-media-path=/", "media-io-kwargs={}"):
        with pytest.raises(InvalidRequest):
            read_arguments(text)


def test_r17_a_request_holds_few_links():
    assert MAX_PICTURES == 8


def test_r29_no_field_of_a_body_names_a_place_to_send_something_to():
    for operation in OPERATIONS:
        fields = (
            set(operation.schema.model_json_schema().get("properties", {})) if operation.schema else set()
        )
        assert not [
            name
            for name in fields
            if any(word in name for word in ("url", "webhook", "endpoint", "callback"))
        ]
