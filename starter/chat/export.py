"""Exports trained weights to the folder that Quintet ships: an OpenVINO model, its configuration and its tokeniser."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from starter.chat.chatml import END, END_OF_TEXT, PAD
from starter.chat.tokeniser import save_tokeniser

SHIPPED = (
    "openvino_model.xml", "openvino_model.bin", "config.json", "generation_config.json",
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
)  # fmt: skip
"""Every file of the shipped folder."""


def export_model(trained: Path, shipped: Path, weight_format: str = "int8") -> None:
    """Writes the shipped files for the weights in `trained`; what else lies in `shipped` is left alone."""
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "source", Path(scratch) / "target"
        tokeniser = write_source(trained, source)
        _convert(source, target, weight_format)
        save_tokeniser(tokeniser, target)
        shutil.copy(source / "generation_config.json", target / "generation_config.json")
        shipped.mkdir(parents=True, exist_ok=True)
        for name in SHIPPED:
            shutil.copyfile(target / name, shipped / name)


def write_source(trained: Path, source: Path) -> Tokenizer:
    """Makes the folder `source` that a conversion starts from: weights, configuration and tokeniser, which it returns."""
    tokeniser = Tokenizer.from_file(str(trained / "tokenizer.json"))
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(trained / name, source / name)
    save_tokeniser(tokeniser, source)
    write_json(source / "generation_config.json", _generation(tokeniser))
    return tokeniser


def _convert(source: Path, target: Path, weight_format: str) -> None:
    tool = Path(sys.executable).with_name("optimum-cli")
    task = [
        "--task",
        "text-generation-with-past",
        "--weight-format",
        weight_format,
        "--disable-convert-tokenizer",
    ]
    subprocess.run([str(tool), "export", "openvino", "-m", str(source), *task, str(target)], check=True)


def _generation(tokeniser: Tokenizer) -> dict[str, object]:
    ends = [tokeniser.token_to_id(END), tokeniser.token_to_id(END_OF_TEXT)]
    return {
        "bos_token_id": tokeniser.token_to_id(END_OF_TEXT),
        "eos_token_id": ends,
        "pad_token_id": tokeniser.token_to_id(PAD),
        "do_sample": False,
    }


def write_json(file: Path, value: object) -> None:
    """Writes a file of a model's configuration."""
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def run(description: str | None, export: Callable[[Path, Path, str], None], option: str) -> None:
    """The command line of an export; `option` chooses what the weights are stored in."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("trained", type=Path)
    parser.add_argument("shipped", type=Path)
    parser.add_argument(option, choices=("int8", "fp16"), default="int8", dest="precision")
    options = parser.parse_args()
    export(options.trained, options.shipped, options.precision)


def main() -> None:
    """Exports one folder to another."""
    run(__doc__, export_model, "--weight-format")


if __name__ == "__main__":
    main()
