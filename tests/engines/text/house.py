"""A scheduler with a pretended model behind it, which checks every rule of scheduling in every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from quintet.engines.text.blocks import BlockPool
from quintet.engines.text.scheduler import Batch, Scheduler
from quintet.engines.text.sequence import Sequence

SIZE = 4


class House:
    """A scheduler with a model that answers token 9 to everything; checks every rule after every step."""

    def __init__(self, blocks: int = 64, tokens: int = 16, sequences: int = 16) -> None:
        self.scheduler = Scheduler(BlockPool(blocks, SIZE), max_batch_tokens=tokens, max_sequences=sequences)
        self.left: dict[Sequence, int] = {}
        """Answer tokens that are still to come."""
        self.arrivals = 0
        self.admissions: list[Sequence] = []
        self.cache: dict[int, tuple[str, tuple[int, ...]]] = {}
        """What each block's memory holds: everything up to and with this block."""

    def add(self, owner: str, prompt: int | list[int], answer: int = 1, rows: bool = False) -> Sequence:
        self.arrivals += 1
        unique = self.arrivals * 1000
        tokens = list(range(unique, unique + prompt)) if isinstance(prompt, int) else list(prompt)
        sequence = Sequence(
            owner=owner,
            tokens=tokens,
            prompt_length=len(tokens),
            arrival=self.arrivals,
            wants_prompt_rows=rows,
        )
        self.left[sequence] = answer
        self.scheduler.add(sequence)
        return sequence

    def remove(self, sequence: Sequence) -> None:
        self.scheduler.remove(sequence)
        del self.left[sequence]

    def step(self) -> Batch:
        running = set(self.scheduler.running)
        batch = self.scheduler.plan()
        self.check(batch)
        self.admissions += [one for one in self.scheduler.running if one not in running]
        for sequence, count in batch.chunks:
            self.read(sequence, count)
        ends = [one for one, count in batch.chunks if one.pending == count]
        self.scheduler.advance(batch)
        for sequence in ends:
            sequence.wants_prompt_rows = False
            sequence.tokens.append(9)
            self.left[sequence] -= 1
            if not self.left[sequence]:
                self.remove(sequence)
        return batch

    def read(self, sequence: Sequence, count: int) -> None:
        """As attention does: rely on all blocks before the chunk, write those of the chunk."""
        end = sequence.computed + count
        for index, block in enumerate(sequence.blocks):
            upto = (sequence.owner, tuple(sequence.tokens[: min((index + 1) * SIZE, end)]))
            if (index + 1) * SIZE <= sequence.computed:
                assert self.cache[block] == upto
            else:
                self.cache[block] = upto

    def check(self, batch: Batch) -> None:
        scheduler = self.scheduler
        assert batch.tokens <= scheduler.max_batch_tokens
        assert len(scheduler.running) <= scheduler.max_sequences
        planned = [sequence for sequence, _ in batch.chunks]
        assert len(set(planned)) == len(planned)
        assert set(planned) <= set(scheduler.running)
        assert all(one in planned for one in scheduler.running if one.pending == 1)
        waiting = [one for queue in scheduler.waiting.values() for one in queue]
        assert set(waiting) | set(scheduler.running) == set(self.left)
        assert len(waiting) + len(scheduler.running) == len(self.left)
        assert set(scheduler.served) == {one.owner for one in self.left}
        assert not any(one.blocks or one.computed for one in waiting)
        assert all(one.admitted for one in scheduler.running)
        assert not any(one.admitted for one in waiting)
        assert set(scheduler._readers.values()) <= set(scheduler.running)
        held = Counter(block for one in scheduler.running for block in one.blocks)
        assert scheduler.pool.available == scheduler.pool.total - len(held)
        for sequence, count in batch.chunks:
            assert 0 < count <= sequence.pending
            assert len(sequence.blocks) == -(-(sequence.computed + count) // SIZE)
            assert len(set(sequence.blocks)) == len(sequence.blocks)
            # What it writes to is its own.
            assert all(held[block] == 1 for block in sequence.blocks[sequence.computed // SIZE :])

    def finish(self) -> None:
        for _ in range(20_000):
            if not self.scheduler.busy:
                break
            assert self.step().chunks, "work waits, but nothing runs"
        self.check_idle()

    def live(self, acts: Iterable[tuple]) -> None:
        """Do one act after another, then everything to the end."""
        for act in acts:
            if act[0] == "add":
                _, owner, prompt, answer, kind = act
                # Kinds 1 and 2 share what they begin with; 3 wants all rows of its prompt.
                self.add(owner, [kind] * prompt if kind else prompt, answer, rows=kind == 3)
            elif act[0] == "step":
                for _ in range(act[1]):
                    assert self.step().chunks or not self.scheduler.busy
            elif self.left:
                self.remove(list(self.left)[act[1] % len(self.left)])
        self.finish()

    def check_idle(self) -> None:
        scheduler = self.scheduler
        assert not scheduler.busy
        assert not self.left
        assert scheduler.served == {}
        assert scheduler._readers == {}
        assert scheduler.pool.available == scheduler.pool.total
