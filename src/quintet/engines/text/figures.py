"""What the engine has done since it was loaded, as Prometheus text."""

from __future__ import annotations

from quintet.engines.text.scheduler import Scheduler
from quintet.engines.text.vision.sight import Sight


def show_figures(model: str, scheduler: Scheduler, sight: Sight | None) -> str:
    """Counters labelled with the model's name, which a catalog has checked to need no escapes."""
    counted = [
        ("prompt_tokens_read", "Prompt tokens the model has read.", scheduler.prefilled_tokens),
        ("prompt_tokens_reused", "Prompt tokens found in the prefix cache.", scheduler.reused_tokens),
        ("preemptions", "Sequences that gave their memory up to others.", scheduler.preemptions),
    ]
    if sight is not None:
        counted += [
            ("pictures_encoded", "Pictures the vision encoder has looked at.", sight.encoded),
            ("pictures_reused", "Pictures whose embeddings were known.", sight.reused),
        ]
    lines: list[str] = []
    for name, meaning, value in counted:
        metric = f"quintet_engine_{name}_total"
        lines += [
            f"# HELP {metric} {meaning}",
            f"# TYPE {metric} counter",
            f'{metric}{{model="{model}"}} {value}',
        ]
    return "\n".join(lines) + "\n"
