"""Opens the vision encoder of a model directory, if it has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quintet.core.errors import LoadFailed
from quintet.core.models import Model
from quintet.engines.text.executor import Executor
from quintet.engines.text.grafting import VISION_EMBEDDINGS
from quintet.engines.text.settings import Settings
from quintet.engines.text.vision import FAMILIES, open_family
from quintet.engines.text.vision.family import Family, Parts
from quintet.engines.text.vision.network import Network
from quintet.engines.text.vocabulary import Vocabulary


def open_eyes(
    model: Model, config: dict[str, Any], vocabulary: Vocabulary, settings: Settings
) -> Family | None:
    """The family of a model that sees, loaded; None for a model for text. Raises LoadFailed."""
    directory = Path(model.path)
    if not (directory / VISION_EMBEDDINGS).is_file():
        if model.can_see:
            raise LoadFailed(
                f"the model directory has no {VISION_EMBEDDINGS}, so the model can't see; pull or convert it again, or "
                'let its catalog entry say task = "text".'
            )
        return None

    def network(stem: str) -> Network:
        return Network(
            directory / f"{stem}.xml", device=settings.device, properties=settings.encoder_properties
        )

    def ids_of(text: str) -> list[int]:
        return vocabulary.encode(text, add_special_tokens=False)

    family = open_family(Parts(directory, config, ids_of, network))
    if family is None:
        raise LoadFailed(
            f"vision models of the kind {config.get('model_type')} can't be run; those that can are "
            f"{', '.join(FAMILIES)}."
        )
    return family


def check_fit(family: Family, executor: Executor) -> None:
    """Raise LoadFailed if the language model can't take this encoder's rows or positions."""
    if family.width != executor.width or family.axes not in (1, executor.axes):
        raise LoadFailed(
            "the vision encoder and the language model don't fit together; pull or convert the model again."
        )
