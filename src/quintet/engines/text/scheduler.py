"""Who runs in the next step. Pure: lists and numbers in, a batch out; no clock, no tensors, no requests.

Every step serves all running sequences that decode with one token each, and spends the rest of the token
budget on prompts, in chunks. Between owners it is fair by counted tokens: whoever got least reads first and loses
last (the virtual token counter of Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024; a generated
token counts 2, a prompt token 1, each once however often it is recomputed). Within one owner: first come, first
served, except that a sequence waits while another one reads a prefix that both share.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from quintet.engines.text.blocks import BlockPool
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
        # So that every running sequence gets its token in every step.
        self.max_sequences = min(max_sequences, max_batch_tokens)
        self.running: list[Sequence] = []
        self.waiting: dict[str, deque[Sequence]] = {}
        self.served: dict[str, float] = {}
        """Weighted tokens per owner; only owners with work have an entry."""
        self.prefilled_tokens = 0
        """Prompt tokens read by the model since the start (reused ones are not)."""
        self.reused_tokens = 0
        """Prompt tokens found in the cache since the start; again each time a sequence is admitted again."""
        self.preemptions = 0
        self._readers: dict[bytes, Sequence] = {}
        """Digest of a block that is not in the cache yet → the running sequence that is about to read it."""

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
            self._unqueue(sequence)
        self._leave(sequence.owner)

    def plan(self) -> Batch:
        """Choose the next step's work and reserve its blocks."""
        batch = Batch()
        for sequence in list(self.running):
            if sequence.admitted and sequence.pending == 1:
                self._schedule(sequence, 1, batch)
        self._read_prompts(batch)
        return batch

    def advance(self, batch: Batch) -> None:
        """The model has read the batch: note what is in the cache now, and make full blocks findable."""
        size = self.pool.block_size
        for sequence, count in batch.chunks:
            self.prefilled_tokens += max(0, min(count, sequence.prompt_length - sequence.computed))
            before = sequence.computed // size
            sequence.computed += count
            full = sequence.computed // size
            if full > before:
                sequence.chain(size, full * size)
                for index in range(before, full):
                    self.pool.name(sequence.blocks[index], sequence.digests[index])
                    self._readers.pop(sequence.digests[index], None)

    def _read_prompts(self, batch: Batch) -> None:
        """Spend what is left of the budget: again and again on the prompt of the owner who has had least."""
        has_room = not batch.preempted
        while (budget := self.max_batch_tokens - batch.tokens) > 0:
            planned = {sequence for sequence, _ in batch.chunks}
            begun = [one for one in self.running if one.pending > 1 and one not in planned]
            sequence = self._neediest([*begun, *(self._startable() if has_room else ())])
            if sequence is None:
                return
            if not sequence.admitted and not self._admit(sequence, batch):
                has_room = False
                continue
            before = self.preemptions
            self._schedule(sequence, min(sequence.pending, budget), batch)
            has_room = has_room and self.preemptions == before

    def _neediest(self, sequences: list[Sequence]) -> Sequence | None:
        """Whose turn it is: the owner with least served; of equals one with nothing running, a newcomer."""
        seated = {one.owner for one in self.running}
        return min(
            sequences,
            key=lambda one: (self.served[one.owner], one.owner in seated, not one.admitted, one.arrival),
            default=None,
        )

    def _startable(self) -> Iterator[Sequence]:
        """The next sequence of every owner that has one to admit."""
        for queue in self.waiting.values():
            sequence = next((one for one in queue if not self._waits(one)), None)
            if sequence is not None:
                yield sequence

    def _waits(self, sequence: Sequence) -> bool:
        """Whether a running sequence is about to read a prefix that this one can then reuse.

        No deadlock: a reader runs, and it stops being one when it has read, is preempted or is removed.
        """
        if not self._readers or sequence.wants_prompt_rows:
            return False
        if sequence.awaits not in self._readers:
            usable = reversed(self._usable_digests(sequence))
            sequence.awaits = next((digest for digest in usable if digest in self._readers), b"")
        return sequence.awaits != b""

    def _admit(self, sequence: Sequence, batch: Batch) -> bool:
        """Let a waiting sequence run, if it fits beside the others."""
        self._reuse_prefix(sequence)
        while not self._fits(sequence):
            victim = self._seat_for(sequence)
            if victim is None:
                self._release(sequence)
                return False
            self._preempt(victim, batch)
        self._unqueue(sequence)
        sequence.admitted = True
        self.running.append(sequence)
        self.reused_tokens += min(sequence.computed, sequence.prompt_length)
        if not sequence.counted:
            sequence.cached = sequence.computed
        sequence.chain(self.pool.block_size)
        for digest in sequence.digests[len(sequence.blocks) :]:
            if self.pool.find(digest) is None:
                self._readers.setdefault(digest, sequence)
        return True

    def _fits(self, sequence: Sequence) -> bool:
        """Whether there is room for all its tokens beside what the running ones still need.

        Anything less would be admitted to be preempted at once, over and over.
        """
        if not self.running:
            return True
        promised = sum(max(1, self._missing(one, one.pending)) for one in self.running)
        needed = self._missing(sequence, sequence.pending) + promised
        return len(self.running) < self.max_sequences and needed <= self.pool.available

    def _seat_for(self, sequence: Sequence) -> Sequence | None:
        """Who gives way to an owner with nothing running: the youngest of the owner with most running sequences."""
        seats = Counter(one.owner for one in self.running)
        owner = max(seats, key=lambda name: (seats[name], self.served[name]))
        if sequence.owner in seats or seats[owner] < 2:
            return None
        return max((one for one in self.running if one.owner == owner), key=lambda one: one.arrival)

    def _usable_digests(self, sequence: Sequence) -> list[bytes]:
        """Digests of the blocks that can be reused; at least one token stays to be read."""
        sequence.chain(self.pool.block_size)
        return sequence.digests[: (len(sequence.tokens) - 1) // self.pool.block_size]

    def _reuse_prefix(self, sequence: Sequence) -> None:
        """Hold the blocks of the longest known prefix."""
        if sequence.wants_prompt_rows:
            return
        for digest in self._usable_digests(sequence):
            block = self.pool.find(digest)
            if block is None:
                break
            self.pool.hold(block)
            sequence.blocks.append(block)
        sequence.computed = len(sequence.blocks) * self.pool.block_size

    def _schedule(self, sequence: Sequence, count: int, batch: Batch) -> None:
        """Put `count` tokens into the batch, preempting for room whoever must go, maybe the sequence itself."""
        while self._missing(sequence, count) > self.pool.available:
            victim = self._victim()
            self._preempt(victim, batch)
            if victim is sequence:
                return
        for _ in range(self._missing(sequence, count)):
            sequence.blocks.append(self.pool.take())
        batch.chunks.append((sequence, count))
        self._charge(sequence, count)

    def _victim(self) -> Sequence:
        """The youngest sequence of the owner that has had most."""
        return max(self.running, key=lambda one: (self.served[one.owner], one.arrival))

    def _preempt(self, sequence: Sequence, batch: Batch) -> None:
        """Take a sequence's blocks away; it starts over from its tokens when there is room again."""
        self.running.remove(sequence)
        self._release(sequence)
        sequence.admitted = False
        batch.chunks = [chunk for chunk in batch.chunks if chunk[0] is not sequence]
        self.waiting.setdefault(sequence.owner, deque()).appendleft(sequence)
        batch.preempted.append(sequence)
        self.preemptions += 1

    def _missing(self, sequence: Sequence, count: int) -> int:
        """Blocks that `count` more tokens need beyond those it has."""
        return -(-(sequence.computed + count) // self.pool.block_size) - len(sequence.blocks)

    def _release(self, sequence: Sequence) -> None:
        for digest in sequence.digests[sequence.computed // self.pool.block_size :]:
            if self._readers.get(digest) is sequence:
                del self._readers[digest]
        # The tail goes first, so that the start of a prefix, which more prompts share, is evicted last.
        for block in reversed(sequence.blocks):
            self.pool.release(block)
        del sequence.blocks[:]
        sequence.computed = 0

    def _charge(self, sequence: Sequence, count: int) -> None:
        """Count the tokens that were never counted before: to be preempted costs an owner nothing."""
        end = sequence.computed + count
        begin = max(sequence.counted, sequence.computed)
        if end > begin:
            prompt = max(0, min(end, sequence.prompt_length) - begin)
            self.served[sequence.owner] += prompt * PROMPT_WEIGHT + (end - begin - prompt) * GENERATED_WEIGHT
            sequence.counted = end

    def _unqueue(self, sequence: Sequence) -> None:
        queue = self.waiting[sequence.owner]
        queue.remove(sequence)
        if not queue:
            del self.waiting[sequence.owner]

    def _enter(self, owner: str) -> None:
        """A newcomer starts level with the least served, so that idle time is not credit."""
        if owner not in self.served:
            self.served[owner] = min(self.served.values(), default=0.0)

    def _leave(self, owner: str) -> None:
        if owner not in self.waiting and all(sequence.owner != owner for sequence in self.running):
            del self.served[owner]
