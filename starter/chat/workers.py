"""Spreads one step over the processor's cores: every thread takes the next small batch when it has done its last.

Threads that wait for each other inside every operation stand still when another program takes one core; these do not.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

import torch
from transformers import LlamaForCausalLM

from starter.chat.batches import Batch

T = TypeVar("T")


class Workers:
    """Threads with one replica of the model each; replicas share the weights and keep their own gradients."""

    def __init__(
        self, model: torch.nn.Module, count: int, loss: Callable[[Any, Any], torch.Tensor] | None = None
    ) -> None:
        """Without a `loss` (the sum over a batch) the model is a language model that learns `Batch`es."""
        self._model, self._loss = model, loss or _loss
        self._replicas = [model] + [_replica(model) for _ in range(count - 1)]
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))

    def backward(self, batches: Sequence[Any], total: float | None = None) -> float:
        """Leaves in the model the gradient of the mean loss, and returns that loss.

        The mean is over `total`, or over the weighted tokens of language `Batch`es.
        """
        if total is None:
            total = sum(float(batch.weights[:, 1:].sum()) for batch in batches)
        shared, lock = iter(batches), threading.Lock()
        work = partial(_work, shared=shared, lock=lock, total=total, loss_of=self._loss)
        losses = self.run([partial(work, replica) for replica in self._replicas])
        for replica in self._replicas[1:]:
            for own, other in zip(self._model.parameters(), replica.parameters(), strict=True):
                if other.grad is not None:
                    own.grad = other.grad if own.grad is None else own.grad.add_(other.grad)
                    other.grad = None
        return sum(losses)

    @property
    def replicas(self) -> Sequence[Any]:
        """The model itself and its copies, whose weights are shared."""
        return self._replicas

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """Runs the tasks on the threads and returns their results in order."""
        return [future.result() for future in [self._pool.submit(task) for task in tasks]]


def _replica(model: torch.nn.Module) -> torch.nn.Module:
    copy = deepcopy(model)
    for own, shared in zip(copy.parameters(), model.parameters(), strict=True):
        own.data = shared.data
    return copy


def _work(
    model: torch.nn.Module,
    shared: Iterator[Any],
    lock: threading.Lock,
    total: float,
    loss_of: Callable[[Any, Any], torch.Tensor],
) -> float:
    done = 0.0
    while True:
        with lock:
            batch = next(shared, None)
        if batch is None:
            return done
        loss = loss_of(model, batch) / total
        loss.backward()
        done += loss.item()


def _loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    device = model.device
    ids, weights = batch.ids.to(device), batch.weights[:, 1:].flatten().to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        logits = model.lm_head(hidden.flatten(0, 1))
    losses = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:].flatten(), reduction="none")
    return (losses * weights).sum()
