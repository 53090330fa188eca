"""What callers who are not the operator may set: everything else is refused, whatever it looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from quintet.core.errors import InvalidRequest
from quintet.engines.upstream.flags import (
    ARGUMENTS,
    ENVIRONMENT,
    MAX_CHARACTERS,
    read_arguments,
    read_environment,
)

GOOD = [
    ("max-model-len", "4096"),
    ("dtype", "bfloat16"),
    ("quantization", "awq"),
    ("gpu-memory-utilization", "0.9"),
    ("max-num-seqs", "64"),
    ("max-num-batched-tokens", "8192"),
    ("seed", "0"),
    ("tensor-parallel-size", "1"),
    ("limit-mm-per-prompt", '{"image": 4}'),
    ("limit-mm-per-prompt", '{"image": 4, "video": 0}'),
    ("kv-cache-dtype", "fp8"),
    ("tool-call-parser", "hermes"),
    ("reasoning-parser", "qwen3"),
    ("chat-template-content-format", "openai"),
]


def test_everything_on_the_list_has_a_good_value():
    for name, value in GOOD:
        assert read_arguments(f"{name}={value}") == (f"--{name}={value}",)
    assert {name for name, _ in GOOD} | {"enforce-eager", "enable-prefix-caching"} == set(ARGUMENTS)


def test_several_at_once_and_switches():
    text = 'max-model-len=4096,limit-mm-per-prompt={"image": 4, "video": 0}'
    assert read_arguments(f"{text},enforce-eager=true,enable-prefix-caching=false") == (
        "--max-model-len=4096",
        '--limit-mm-per-prompt={"image": 4, "video": 0}',
        "--enforce-eager",
        "--no-enable-prefix-caching",
    )
    assert read_arguments("") == read_arguments("  ") == ()


@pytest.mark.parametrize(
    "text",
    [
        "trust-remote-code=true",
        "host=0.0.0.0",
        "port=1",
        "chat-template=/etc/passwd",
        "tool-parser-plugin=/tmp/x.py",
        "middleware=os.system",
        "model=other",
        "max-model-len=0",
        "max-model-len=-5",
        "max-model-len=4096 --trust-remote-code",
        "max-model-len=\u0664",
        "max-model-len=1e3",
        "max-model-len=99999999999999999999",
        "gpu-memory-utilization=0.96",
        "gpu-memory-utilization=0.04",
        "gpu-memory-utilization=nan",
        "gpu-memory-utilization=.",
        "dtype=auto\n--host",
        "dtype=",
        "dtype",
        "=auto",
        "--dtype=auto",
        "dtype=auto,dtype=half",
        "tensor-parallel-size=2",
        "enforce-eager=yes",
        'limit-mm-per-prompt={"image": 4, "x": {}}',
        "tool-call-parser=/tmp/x.py",
        "seed=1," * 40 + "seed=1",
        "seed=" + "1" * MAX_CHARACTERS,
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(InvalidRequest) as refusal:
        read_arguments(text)
    assert refusal.value.param == "arguments"
    assert refusal.value.message.endswith(".")


def test_as_many_gpus_as_there_are():
    assert read_arguments("tensor-parallel-size=2", gpus=2) == ("--tensor-parallel-size=2",)
    with pytest.raises(InvalidRequest, match="at most 2"):
        read_arguments("tensor-parallel-size=3", gpus=2)


def test_environment():
    text = "OMP_NUM_THREADS=4,PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True,max_split_size_mb:128"
    assert read_environment(f"{text},TOKENIZERS_PARALLELISM=false") == {
        "OMP_NUM_THREADS": "4",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True,max_split_size_mb:128",
        "TOKENIZERS_PARALLELISM": "false",
    }
    assert read_environment("VLLM_ATTENTION_BACKEND=FLASHINFER,OV_PERFORMANCE_HINT=LATENCY")
    assert read_environment("") == {}


@pytest.mark.parametrize(
    "text",
    [
        "LD_PRELOAD=/tmp/x.so",
        "PATH=/tmp",
        "PYTHONPATH=/tmp",
        "HF_TOKEN=x",
        "OMP_NUM_THREADS=65",
        "OMP_NUM_THREADS=0",
        "OMP_NUM_THREADS=4,LD_PRELOAD=x",
        "PYTORCH_CUDA_ALLOC_CONF=backend:cudaMallocAsync",
        "VLLM_ATTENTION_BACKEND=MINE",
        "omp_num_threads=4",
    ],
)
def test_other_variables_are_refused(text):
    with pytest.raises(InvalidRequest) as refusal:
        read_environment(text)
    assert refusal.value.param == "environ"


@given(some.text(alphabet="abcdmox-=,_ A0.\n\0{}\":'", max_size=200))
def test_no_text_gets_through_unchecked(text):
    """Whatever comes out is a listed name with one equals sign, and no text that could be two words."""
    for read, names in ((read_arguments, ARGUMENTS), (read_environment, ENVIRONMENT)):
        try:
            found = read(text)
        except InvalidRequest:
            continue
        for word in found:
            name = word.removeprefix("--no-").removeprefix("--").partition("=")[0]
            assert name in names
            assert "\n" not in word
            assert "\0" not in word
