"""Looks at pictures: a queue in front of the vision encoder, a cache behind it, and a fair share of the time.

Embeddings are kept by content for each owner, so the second question about a picture costs no encoding, and nobody
can find out by timing what others have shown. While texts wait for their tokens, the encoder takes a turn only when
the language model has had as much time as the last turn took: pictures slow other answers by half at most.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from quintet.core.errors import InvalidRequest
from quintet.engines.text.pictures import Placed, open_png
from quintet.engines.text.vision.family import Family, Rows, Tile

TURN_PIXELS = 512 * 512
"""What the encoder looks at in one turn, unless a single tile is larger."""
READ_PIXELS = 1024 * 1024
"""Of files that are read in one turn, unless a single one has more: where tiles are small, reading takes longer."""

_Key = tuple[str, bytes]


class Embeddings:
    """The embeddings of the pictures seen last, per owner and content, within a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._rows: OrderedDict[_Key, Rows] = OrderedDict()

    def get(self, key: _Key) -> Rows | None:
        """What is known of this picture of this owner."""
        rows = self._rows.get(key)
        if rows is not None:
            self._rows.move_to_end(key)
        return rows

    def put(self, key: _Key, rows: Rows) -> None:
        """Keep these, and let go of those not used for longest."""
        if key in self._rows or rows.nbytes > self.max_bytes:
            return
        self._rows[key] = rows
        self.held_bytes += rows.nbytes
        while self.held_bytes > self.max_bytes:
            _, gone = self._rows.popitem(last=False)
            self.held_bytes -= gone.nbytes


@dataclass(slots=True, eq=False)
class _Look:
    """One picture that has to be looked at, for everybody of one owner who waits for it."""

    key: _Key
    picture: Placed
    waiting: dict[int, list[Placed]] = field(default_factory=dict)
    """Request → where the picture stands in its prompt."""
    tiles: list[Tile] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)


class Sight:
    """The pictures of one model's requests. The stepping thread alone calls it."""

    def __init__(self, family: Family, clock: Callable[[], float], *, cache_bytes: int) -> None:
        """`clock` gives seconds."""
        self.encoded = 0
        """Pictures that the encoder has looked at."""
        self.reused = 0
        """Pictures whose embeddings were known."""
        self._family = family
        self._clock = clock
        self._known = Embeddings(cache_bytes)
        self.cache_bytes = cache_bytes
        self._looks: dict[_Key, _Look] = {}
        self._queues: OrderedDict[str, deque[_Look]] = OrderedDict()
        """Owner → what is to be looked at; the owner at the front is next."""
        self._missing: dict[int, int] = {}
        """Request → pictures it still waits for."""
        self._debt_seconds = 0.0
        """What the encoder has had more than the language model."""

    @property
    def busy(self) -> bool:
        """Whether a picture waits."""
        return bool(self._looks)

    def show(self, request_id: int, owner: str, pictures: Iterable[Placed]) -> bool:
        """Have the pictures of a request looked at; True if all of them are known already."""
        missing = 0
        for picture in pictures:
            key = (owner, picture.digest)
            picture.rows = self._known.get(key)
            if picture.rows is not None:
                self.reused += 1
                continue
            look = self._looks.get(key)
            if look is None:
                look = self._looks[key] = _Look(key, picture)
                self._queues.setdefault(owner, deque()).append(look)
            look.waiting.setdefault(request_id, []).append(picture)
            missing += 1
        if missing:
            self._missing[request_id] = missing
        return not missing

    def forget(self, request_id: int) -> None:
        """A request is gone; what nobody else waits for is not looked at."""
        if self._missing.pop(request_id, None) is None:
            return
        for look in [one for one in self._looks.values() if request_id in one.waiting]:
            del look.waiting[request_id]
            if not look.waiting:
                self._unqueue(look)

    def close(self) -> None:
        """Free the encoder and what is known; nothing is looked at any more."""
        self._looks.clear()
        self._queues.clear()
        self._known = Embeddings(0)
        self.__dict__.pop("_family", None)

    def may_look(self, *, others_wait: bool) -> bool:
        """Whether it is the encoder's turn."""
        return self.busy and (not others_wait or self._debt_seconds <= 0)

    def repay(self, seconds: float) -> None:
        """The language model had its turn."""
        self._debt_seconds = max(0.0, self._debt_seconds - seconds)

    def look(self) -> tuple[list[int], list[tuple[int, InvalidRequest]]]:
        """One turn: requests that have all their pictures now, and those with one that can't be read."""
        began = self._clock()
        turn: list[tuple[_Look, list[Tile]]] = []
        broken: dict[int, InvalidRequest] = {}
        room = TURN_PIXELS
        read = 0
        shape: tuple[int, ...] | None = None
        for look in self._in_turn():
            if not look.tiles:
                size = math.prod(look.picture.size)
                if read and read + size > READ_PIXELS:
                    break
                read += size
                if error := self._cut(look):
                    broken |= dict.fromkeys(look.waiting, error)
                    continue
            left = look.tiles[len(look.rows) :]
            shape = shape or left[0].shape
            pixels = shape[0] * shape[1]
            fits = room // pixels if turn else max(1, room // pixels)
            others = [number for number, tile in enumerate(left) if tile.shape != shape]
            taken = left[: min([fits, *others])]
            if not taken:
                break
            turn.append((look, taken))
            room -= pixels * len(taken)
            if len(taken) < len(left):
                break
        ready = self._encode(turn)
        for request_id in broken:
            self.forget(request_id)
        self._debt_seconds = self._clock() - began
        return ready, list(broken.items())

    def _in_turn(self) -> Iterable[_Look]:
        """What waits, one of each owner in turn; who comes first now comes last next time."""
        queues = [list(queue) for queue in self._queues.values()]
        if self._queues:
            self._queues.move_to_end(next(iter(self._queues)))
        for place in range(max(map(len, queues), default=0)):
            for queue in queues:
                if place < len(queue):
                    yield queue[place]

    def _cut(self, look: _Look) -> InvalidRequest | None:
        """Make a picture's tiles."""
        try:
            with open_png(look.picture.data, look.picture.field) as opened:
                look.tiles = self._family.tiles(opened.convert("RGB"))
        except InvalidRequest as error:
            return error
        return None

    def _encode(self, turn: list[tuple[_Look, list[Tile]]]) -> list[int]:
        """Run the encoder; returns the requests that have all their pictures now."""
        if not turn:
            return []
        rows = iter(self._family.encode([tile for _, tiles in turn for tile in tiles]))
        ready: list[int] = []
        for look, tiles in turn:
            look.rows += [next(rows) for _ in tiles]
            if len(look.rows) == len(look.tiles):
                ready += self._finish(look)
        return ready

    def _finish(self, look: _Look) -> list[int]:
        """A picture is seen: hand its embeddings to all who wait for it."""
        embeddings = self._family.join(look.rows, *look.picture.size)
        if embeddings.base is not None:  # a view would keep the rows of all that was encoded in the same turn
            embeddings = embeddings.copy()
        self.encoded += 1
        self._known.put(look.key, embeddings)
        self._unqueue(look)
        ready: list[int] = []
        for request_id, places in look.waiting.items():
            for picture in places:
                picture.rows = embeddings
            self._missing[request_id] -= len(places)
            if not self._missing[request_id]:
                del self._missing[request_id]
                ready.append(request_id)
        return ready

    def _unqueue(self, look: _Look) -> None:
        del self._looks[look.key]
        owner = look.key[0]
        queue = self._queues[owner]
        queue.remove(look)
        if not queue:
            del self._queues[owner]
