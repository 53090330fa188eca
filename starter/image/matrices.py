"""Muon for networks of convolutions: every kernel is a matrix when it is flattened; AdamW moves what is left."""

from collections.abc import Iterable

import torch

from starter.chat.optimizer import Muon


class Optimizers:
    """Muon for what has two dimensions or more, AdamW for the rest; one learning rate's factor for both."""

    def __init__(
        self,
        named: Iterable[tuple[str, torch.nn.Parameter]],
        matrix_lr: float,
        other_lr: float,
        others: tuple[str, ...],
    ) -> None:
        """Names that begin with one of `others` are left to AdamW."""
        self._flat: list[tuple[torch.nn.Parameter, torch.nn.Parameter]] = []
        rest = []
        for name, parameter in named:
            if parameter.ndim >= 2 and not name.startswith(others):
                # The flattened matrix shares its numbers with the kernel, which has to be contiguous for that.
                self._flat.append((torch.nn.Parameter(parameter.data.view(len(parameter), -1)), parameter))
            else:
                rest.append(parameter)
        matrices = [flat for flat, _ in self._flat]
        adam = torch.optim.AdamW(rest, lr=other_lr, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
        self.all: list[tuple[torch.optim.Optimizer, float]] = [
            *((Muon(matrices[half::2], lr=matrix_lr, weight_decay=0.02), matrix_lr) for half in (0, 1)),
            (adam, other_lr),
        ]

    def prepare(self, factor: float) -> None:
        """Hands gradients over and sets the learning rates, before the optimisers step."""
        for flat, parameter in self._flat:
            flat.grad = None if parameter.grad is None else parameter.grad.reshape(len(parameter), -1)
        for optimizer, rate in self.all:
            optimizer.param_groups[0]["lr"] = rate * factor

    def state(self) -> list[dict[str, object]]:
        """What a checkpoint keeps."""
        return [optimizer.state_dict() for optimizer, _ in self.all]

    def load_state(self, saved: list[dict[str, object]]) -> None:
        """Goes on from a checkpoint."""
        for (optimizer, _), state in zip(self.all, saved, strict=True):
            optimizer.load_state_dict(state)
