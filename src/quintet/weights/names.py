"""Which files belong to a model at all, by name: what is downloaded, and what the gate lets lie there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from quintet.weights.refusal import GateRefused

MIB = 1024**2


class Kind(StrEnum):
    """What a file is by its name; the gate then checks that its content is just that."""

    SAFETENSORS = "safetensors"
    IR_NETWORK = "OpenVINO network"
    IR_WEIGHTS = "OpenVINO weights"
    CTRANSLATE2 = "CTranslate2 weights"
    JSON = "JSON"
    TEXT = "text"
    SENTENCEPIECE = "sentencepiece vocabulary"


_FOLDER = r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,63}/)*"
_STEM = r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,150}"
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(_FOLDER + name))
    for kind, name in (
        (Kind.SAFETENSORS, _STEM + r"\.safetensors"),
        (Kind.IR_NETWORK, r"openvino_[A-Za-z0-9._-]{1,120}\.xml"),
        (Kind.IR_WEIGHTS, r"openvino_[A-Za-z0-9._-]{1,120}\.bin"),
        (Kind.CTRANSLATE2, r"model\.bin"),
        (Kind.JSON, _STEM + r"\.json"),
        (Kind.SENTENCEPIECE, r"(?:tokenizer|spiece|sentencepiece(?:\.bpe)?)\.model"),
        (Kind.TEXT, _STEM + r"\.(?:txt|md|jinja)"),
        (
            Kind.TEXT,
            r"(?:README|LICEN[SC]E|NOTICE|COPYING|COPYRIGHT|USE_POLICY)(?:[_-][A-Za-z0-9_-]{1,40})?(?:\.rst)?",
        ),
        (Kind.TEXT, r"\.git(?:attributes|ignore)"),
    )
)
# What the hub's own client leaves beside the files it brought; nothing ever loads it.
_CLIENT_NOTES = re.compile(
    r"\.cache/huggingface/(?:\.gitignore|CACHEDIR\.TAG|download/[\w./+-]{1,300}\.(?:metadata|lock))"
)

_RUNS_CODE = (
    "Files of this kind can run code when they are loaded.",
    "Take the model from a source with safetensors or OpenVINO files.",
)
_IS_CODE = (
    "This is program code; Quintet runs no code that comes with a model.",
    "Remove it, or choose a model that needs no code of its own.",
)
_NO_FORMAT = (
    "Quintet's own engines do not read this format.",
    "Take the model from a source with safetensors or OpenVINO files, or serve it by another server as upstream.",
)
_PACKED = ("Archives are not unpacked.", "Unpack it outside of Quintet and remove it.")
_ENDINGS = (
    (_RUNS_CODE, "bin pt pth ckpt pkl pickle h5 hdf5 keras joblib npy npz nemo mar dill msgpack pb"),
    (_IS_CODE, "py pyc pyo pyd so dll dylib sh bash bat cmd ps1 exe js wasm jar ipynb"),
    (_NO_FORMAT, "gguf ggml onnx onnx_data tflite blob mlmodel engine plan"),
    (_PACKED, "zip tar gz tgz bz2 xz zst 7z rar whl"),
)
_BY_ENDING = {ending: why for why, endings in _ENDINGS for ending in endings.split()}
_UNKNOWN = ("This file is none that a model needs.", "Remove it from the model's directory.")


def kind_of(name: str) -> Kind:
    """What the file with this relative name must contain; raises GateRefused if it has no place in a model."""
    for kind, pattern in _KINDS:
        if pattern.fullmatch(name):
            return kind
    if _CLIENT_NOTES.fullmatch(name):
        return Kind.TEXT
    ending = name.rpartition("/")[2].lower().rpartition(".")[2]
    raise GateRefused(name, *_BY_ENDING.get(ending, _UNKNOWN))


def max_bytes(name: str, kind: Kind) -> int | None:
    """How large a file may be; None = no bound of its own."""
    plain = name.rpartition("/")[2]
    if kind is Kind.JSON:
        return 100 * MIB if plain in ("tokenizer.json", "tekken.json") else 10 * MIB
    if kind is Kind.TEXT:
        return MIB if plain.endswith(".jinja") else 64 * MIB
    return 100 * MIB if kind is Kind.SENTENCEPIECE else None


_ASIDE = re.compile(
    r"(?:\.|original/|onnx/|gguf/|coreml/|flax/|tf/|assets/|images/|examples/|figures/|checkpoint-|runs/|eval)"
)
"""Folders of a repository that hold the same model in another form, or no model."""
_NOT_LOADED = re.compile(
    r"(?:.*/)?(?:trainer_state|training_args|all_results|train_results|eval_results|tekken|params"
    r"|[\w.-]*\.(?:bin|ckpt|h5|msgpack|pt)\.index|onnx_[\w-]*|quantize_config_onnx)\.json"
    r"|(?:.*/)?requirements[\w.-]*\.txt"
)
_VARIANT_WORDS = ("fp16", "bf16", "fp32", "fp8", "int8", "ema", "non_ema")
"""Variants of the same weights, the best to take first where there is no plain one."""
_ENDING = re.compile(
    r"(?:\.(?P<variant>{0}))?(?:-\d+-of-\d+)?\.safetensors(?:\.index(?:\.(?P<of_index>{0}))?\.json)?$".format(
        "|".join(_VARIANT_WORDS)
    )
)
_INDEX = re.compile(r".*\.safetensors\.index(?:\.\w+)?\.json")
_LAYER = re.compile(r"\d+_[A-Za-z]+")
"""Folder of one layer of a sentence encoder."""


def wanted(names: Sequence[str], format: str) -> list[str]:
    """The files of a repository that a model in this format needs, in the given order; the rest stays there.

    `format` is one of core.models.SourceFormat. Where there are several variants of the weights the plain one is
    taken, else the first by name.
    """
    known = [name for name in names if _is_model_file(name)]
    kept = set(_WEIGHTS[format](known))
    folders = {"", "additional_chat_templates", *(_folder(name) for name in kept)}
    is_pipeline = "model_index.json" in known
    for name in known:
        folder = _folder(name)
        is_part = is_pipeline and "/" not in folder
        if (folder in folders or is_part or _LAYER.fullmatch(folder)) and _goes_along(name, kind_of(name)):
            kept.add(name)
    return [name for name in known if name in kept]


def is_index(name: str) -> bool:
    """Whether this file says which safetensors file has which tensor."""
    return _INDEX.fullmatch(name) is not None


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors") or is_index(name)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _goes_along(name: str, kind: Kind) -> bool:
    """Whether it comes with any weights: settings, vocabularies, templates, the licence."""
    if kind is Kind.JSON:
        return not is_index(name)
    if kind is Kind.TEXT:
        return (
            name.endswith(".jinja")
            or (name.endswith(".txt") and "requirements" not in name)
            or "/" not in name
        )
    return kind is Kind.SENTENCEPIECE


def _is_model_file(name: str) -> bool:
    if _ASIDE.match(name) or _NOT_LOADED.fullmatch(name):
        return False
    try:
        kind_of(name)
    except GateRefused:
        return False
    return True


def _of_kind(names: Sequence[str], *kinds: Kind) -> list[str]:
    return [name for name in names if kind_of(name) in kinds]


def _safetensors(names: Sequence[str]) -> list[str]:
    """Weights in the repository's root and, for sentence encoders, in the folders of their layers."""
    weights = [name for name in names if _is_weights(name) and not name.startswith("consolidated")]
    top = [name for name in weights if "/" not in name]
    main = [name for name in top if name.startswith("model")]
    layers = [name for name in weights if _LAYER.fullmatch(_folder(name))]
    return _without_variants((main or top) + layers if top else weights)


def _diffusers(names: Sequence[str]) -> list[str]:
    """Weights in the folders of the components; single files beside them in the root hold the same once more."""
    if "model_index.json" not in names:
        return _safetensors(names)
    return _without_variants([name for name in names if "/" in name and _is_weights(name)])


def _without_variants(weights: list[str]) -> list[str]:
    """Of the same weights stored several times the plain ones, else the first variant."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in weights:
        end = _ENDING.search(name)
        if end is not None:
            variant = end["variant"] or end["of_index"] or ""
            found.setdefault(name[: end.start()], {}).setdefault(variant, []).append(name)
    order = ("", *_VARIANT_WORDS)
    return [name for of_it in found.values() for name in of_it[min(of_it, key=order.index)]]


_WEIGHTS: dict[str, Any] = {
    "openvino": lambda names: _of_kind(names, Kind.IR_NETWORK, Kind.IR_WEIGHTS),
    "safetensors": _safetensors,
    "diffusers": _diffusers,
    "ctranslate2": lambda names: _of_kind(names, Kind.CTRANSLATE2),
}
