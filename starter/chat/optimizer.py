"""Muon for the matrices (https://kellerjordan.github.io/posts/muon/), scaled so that AdamW's learning rates fit."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5
_RMS_OF_ADAMW = 0.2


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Momentum whose update is orthogonalised; matrices of equal shape are handled in one batch."""

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
    ) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Moves every matrix once."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[torch.nn.Parameter]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape[tuple(matrix.shape)].append(matrix)
            for shape, matrices in by_shape.items():
                self._move(group, shape, matrices)

    def _move(
        self, group: dict[str, float], shape: tuple[int, ...], matrices: list[torch.nn.Parameter]
    ) -> None:
        updates = []
        for matrix in matrices:
            assert matrix.grad is not None
            momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
            momentum.lerp_(matrix.grad, 1 - group["momentum"])
            updates.append(matrix.grad.lerp(momentum, group["momentum"]))
        directions = orthogonalised(torch.stack(updates))
        scale = _RMS_OF_ADAMW * max(shape) ** 0.5 * group["lr"]
        for matrix, direction in zip(matrices, directions, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(direction, alpha=-scale)


def orthogonalised(batch: torch.Tensor) -> torch.Tensor:
    """The nearest orthogonal matrices of a batch [n, rows, columns], by Newton-Schulz iterations in bfloat16."""
    a, b, c = _NEWTON_SCHULZ
    x = batch.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT.contiguous()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.mT if tall else x).float()
