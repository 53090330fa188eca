"""Who runs in the next step. Pure: lists and numbers in, a batch out; no clock, no tensors, no requests.

Every step serves all running sequences that decode with one token each, and spends the rest of the token
budget on prompts, in chunks. Between owners it is fair by counted tokens: whoever got least is admitted first
and loses last (the virtual token counter of Sheng et al., "Fairness in Serving Large Language Models",
OSDI 2024; a generated token counts 2, a prompt token 1). Within one owner: first come, first served.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from quintet.engines.text.blocks import BlockPool, chain
from quintet.engines.text.sequence import Sequence

GENERATED_WEIGHT = 2
PROMPT_WEIGHT = 1


@dataclass(slots=True)
class Batch:
    """The work of one step: for every sequence, how many of its pending tokens the model reads now."""

    chunks: list[tuple[Sequence, int]] = field(default_factory=list)
    preempted: list[Sequence] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens the model reads in this step."""
        return sum(count for _, count in self.chunks)


class Scheduler:
    """Waiting and running sequences, the blocks they hold, and what each owner has had so far."""

    def __init__(self, pool: BlockPool, *, max_batch_tokens: int, max_sequences: int) -> None:
        """A step reads at most `max_batch_tokens` tokens of at most `max_sequences` sequences."""
        self.pool = pool
        self.max_batch_tokens = max_batch_tokens
        self.max_sequences = max_sequences
        self.running: list[Sequence] = []
        self.waiting: dict[str, deque[Sequence]] = {}
        self.served: dict[str, float] = {}
        """Weighted tokens per owner; only owners with work have an entry."""
        self.prefilled_tokens = 0
        """Prompt tokens read by the model since the start (reused ones are not)."""
        self.reused_tokens = 0
        self.preemptions = 0

    @property
    def busy(self) -> bool:
        """Whether any sequence runs or waits."""
        return bool(self.running or self.waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence behind its owner's others."""
        self._enter(sequence.owner)
        self.waiting.setdefault(sequence.owner, deque()).append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a finished or cancelled sequence and release its blocks."""
        if sequence.admitted:
            self.running.remove(sequence)
            self._release(sequence)
        else:
            queue = self.waiting[sequence.owner]
            queue.remove(sequence)
            if not queue:
                del self.waiting[sequence.owner]
        self._leave(sequence.owner)

    def plan(self) -> Batch:
        """Choose the next step's work and reserve its blocks."""
        batch = Batch()
        budget = self.max_batch_tokens
        for sequence in list(self.running):
            if sequence.admitted and sequence.pending == 1 and budget and self._reserve(sequence, 1, batch):
                batch.chunks.append((sequence, 1))
                budget -= 1
        for sequence in list(self.running):
            if sequence.admitted and sequence.pending > 1 and budget:
                count = min(sequence.pending, budget)
                if self._reserve(sequence, count, batch):
                    batch.chunks.append((sequence, count))
                    budget -= count
        while budget and len(self.running) < self.max_sequences and not batch.preempted:
            admitted = self._admit(budget)
            if admitted is None:
                break
            batch.chunks.append(admitted)
            budget -= admitted[1]
        if batch.preempted:
            batch.chunks = [chunk for chunk in batch.chunks if chunk[0].admitted]
        for sequence, count in batch.chunks:
            self._count(sequence, count)
        return batch

    def advance(self, batch: Batch) -> None:
        """The model has read the batch: note what is in the cache now, and make full blocks findable."""
        size = self.pool.block_size
        for sequence, count in batch.chunks:
            before = sequence.computed // size
            sequence.computed += count
            full = sequence.computed // size
            if full > before:
                chain(sequence.owner, sequence.tokens[: full * size], size, sequence.digests)
                for index in range(before, full):
                    self.pool.name(sequence.blocks[index], sequence.digests[index])

    def _admit(self, budget: int) -> tuple[Sequence, int] | None:
        """Start the next waiting sequence, if its first chunk has room."""
        for owner in sorted(self.waiting, key=lambda name: self.served[name]):
            queue = self.waiting[owner]
            sequence = next((one for one in queue if not one.waits), None)
            if sequence is None:
                continue
            self._reuse_prefix(sequence)
            count = min(sequence.pending, budget)
            # The reserve keeps room for the decoding sequences, so that admission does not preempt them at once.
            reserve = len(self.running)
            if self._missing(sequence, count) + reserve > self.pool.available and self.running:
                self._release(sequence)
                return None
            queue.remove(sequence)
            if not queue:
                del self.waiting[owner]
            self._grow(sequence, count)
            sequence.admitted = True
            self.running.append(sequence)
            self.reused_tokens += sequence.computed
            return sequence, count
        return None

    def _reuse_prefix(self, sequence: Sequence) -> None:
        """Hold the blocks of the longest known prefix; at least one token stays to be read."""
        if sequence.wants_prompt_rows:
            return
        size = self.pool.block_size
        chain(sequence.owner, sequence.tokens, size, sequence.digests)
        for digest in sequence.digests[: (len(sequence.tokens) - 1) // size]:
            block = self.pool.find(digest)
            if block is None:
                break
            self.pool.hold(block)
            sequence.blocks.append(block)
        sequence.computed = len(sequence.blocks) * size
        if len(sequence.tokens) == sequence.prompt_length:
            sequence.cached = sequence.computed

    def _reserve(self, sequence: Sequence, count: int, batch: Batch) -> bool:
        """Make room for `count` more tokens, preempting others if it must; False if the sequence itself had to go."""
        while self._missing(sequence, count) > self.pool.available:
            victim = self._victim()
            self._preempt(victim)
            batch.preempted.append(victim)
            if victim is sequence:
                return False
        self._grow(sequence, count)
        return True

    def _victim(self) -> Sequence:
        """The youngest sequence of the owner that has had most."""
        return max(self.running, key=lambda one: (self.served[one.owner], one.arrival))

    def _preempt(self, sequence: Sequence) -> None:
        """Take a sequence's blocks away; it starts over from its tokens when there is room again."""
        self.running.remove(sequence)
        self._release(sequence)
        sequence.admitted = False
        self.waiting.setdefault(sequence.owner, deque()).appendleft(sequence)
        self.preemptions += 1

    def _missing(self, sequence: Sequence, count: int) -> int:
        size = self.pool.block_size
        return (sequence.computed + count + size - 1) // size - len(sequence.blocks)

    def _grow(self, sequence: Sequence, count: int) -> None:
        for _ in range(self._missing(sequence, count)):
            sequence.blocks.append(self.pool.take())

    def _release(self, sequence: Sequence) -> None:
        # The tail goes first, so that the start of a prefix, which more prompts share, is evicted last.
        for block in reversed(sequence.blocks):
            self.pool.release(block)
        del sequence.blocks[:]
        sequence.computed = 0

    def _count(self, sequence: Sequence, count: int) -> None:
        prompt = max(0, min(count, sequence.prompt_length - sequence.computed))
        self.prefilled_tokens += prompt
        self.served[sequence.owner] += prompt * PROMPT_WEIGHT + (count - prompt) * GENERATED_WEIGHT

    def _enter(self, owner: str) -> None:
        """A newcomer starts level with the least served, so that idle time is not credit."""
        if owner not in self.served:
            self.served[owner] = min(self.served.values(), default=0.0)

    def _leave(self, owner: str) -> None:
        if owner not in self.waiting and all(sequence.owner != owner for sequence in self.running):
            del self.served[owner]


