"""Caches that only count: which file is in, which goes first, and how often what was asked for was there. Pure.

- `lru`: the least recently used goes first, as in the gateway's own store.
- `s3fifo`: Yang, Zhang, Qiu, Yue and Rashmi, "FIFO Queues are All You Need for Cache Eviction", SOSP 2023.
- `unlimited`: nothing ever goes. No cache that does not guess what will be asked for has more hits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from mainstay.errors import ConfigError

UNLIMITED = "unlimited"
_SMALL_PART = 10
"""S3-FIFO: one part in so many is the small queue, where all that is new begins."""
_MOST_USES = 3
_USES_TO_STAY = 2


@dataclass(frozen=True, slots=True)
class CacheRun:
    """What a cache did with all look-ups: `hits` of `requests`, `hit_bytes` of `bytes`, which count whole files.

    Of the policy `unlimited`, `size_bytes` is what it holds in the end.
    """

    policy: str
    size_bytes: int
    requests: int
    hits: int
    bytes: int
    hit_bytes: int

    @property
    def hit_rate(self) -> float | None:
        """Part of the look-ups that were hits, 0 to 1; None where there were none."""
        return self.hits / self.requests if self.requests else None

    @property
    def byte_hit_rate(self) -> float | None:
        """Part of the bytes that were in the cache, 0 to 1; None where there were none."""
        return self.hit_bytes / self.bytes if self.bytes else None


class Cache(ABC):
    """A cache that was empty at first, what it holds now, and its figures so far."""

    policy: str

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.held_bytes = self.requests = self.bytes = self.hits = self.hit_bytes = 0

    def look_up(self, numbers: Sequence[int], sizes: Sequence[int]) -> None:
        """Files by their numbers with their sizes in bytes, one after the other."""
        self.requests += len(numbers)
        self.bytes += sum(sizes)
        self._look_up(numbers, sizes)

    @abstractmethod
    def _look_up(self, numbers: Sequence[int], sizes: Sequence[int]) -> None:
        """Keep, drop, and add to `hits`, `hit_bytes` and `held_bytes`."""

    def finish(self) -> CacheRun:
        """The figures."""
        return CacheRun(self.policy, self.size_bytes, self.requests, self.hits, self.bytes, self.hit_bytes)


class Unlimited(Cache):
    """Everything stays."""

    policy = UNLIMITED

    def __init__(self, size_bytes: int = 0) -> None:
        super().__init__(size_bytes)
        self._held: set[int] = set()

    def _look_up(self, numbers: Sequence[int], sizes: Sequence[int]) -> None:
        for number, size_bytes in zip(numbers, sizes):
            if number in self._held:
                self.hits += 1
                self.hit_bytes += size_bytes
            else:
                self._held.add(number)
                self.held_bytes += size_bytes
        self.size_bytes = self.held_bytes


class Lru(Cache):
    """What was not used for longest goes first. A file larger than the cache is not kept."""

    policy = "lru"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._held: OrderedDict[int, int] = OrderedDict()

    def _look_up(self, numbers: Sequence[int], sizes: Sequence[int]) -> None:
        # Attributes are read once: this goes round a million times a second.
        held, limit_bytes = self._held, self.size_bytes
        renew, drop = held.move_to_end, held.popitem
        free_bytes = limit_bytes - self.held_bytes
        hits = hit_bytes = 0
        for number, size_bytes in zip(numbers, sizes):
            if number in held:
                renew(number)
                hits += 1
                hit_bytes += size_bytes
            elif size_bytes <= limit_bytes:
                free_bytes -= size_bytes
                while free_bytes < 0:
                    free_bytes += drop(last=False)[1]
                held[number] = size_bytes
        self.held_bytes = limit_bytes - free_bytes
        self.hits += hits
        self.hit_bytes += hit_bytes


class S3Fifo(Cache):
    """Three queues: what is new goes through a small one, and what was used there meanwhile stays in the main one. Of
    what the small one drops a name is kept for a while (the ghost): asked for again, it goes into the main one.

    Where the paper is silent, as in the simulator of its authors, libcachesim, with its defaults: a file as large as
    the small queue is not kept, and the names are of as many bytes as the main queue.
    """

    policy = "s3fifo"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._small_limit_bytes = size_bytes // _SMALL_PART
        self._main_limit_bytes = size_bytes - self._small_limit_bytes
        self._uses: dict[int, int] = {}
        """Of what is held, how often it was used since it came or was passed over; 3 is the most."""
        self._small: deque[tuple[int, int]] = deque()
        self._main: deque[tuple[int, int]] = deque()
        self._ghost: OrderedDict[int, int] = OrderedDict()
        self._small_bytes = self._ghost_bytes = 0
        self._was_full = False

    def _look_up(self, numbers: Sequence[int], sizes: Sequence[int]) -> None:
        uses = self._uses
        hits = hit_bytes = 0
        for number, size_bytes in zip(numbers, sizes):
            used = uses.get(number)
            if used is None:
                self._admit(number, size_bytes)
                continue
            hits += 1
            hit_bytes += size_bytes
            if used < _MOST_USES:
                uses[number] = used + 1
        self.hits += hits
        self.hit_bytes += hit_bytes

    def _admit(self, number: int, size_bytes: int) -> None:
        was_here = number in self._ghost
        if was_here:
            self._ghost_bytes -= self._ghost.pop(number)
        if size_bytes >= self._small_limit_bytes:
            return
        while self.held_bytes + size_bytes > self.size_bytes:
            self._evict()
            self._was_full = True
        self._uses[number] = 0
        self.held_bytes += size_bytes
        # A cache that was never full has room in the main queue for what the small one would have to drop.
        if was_here or (not self._was_full and self._small_bytes >= self._small_limit_bytes):
            self._main.append((number, size_bytes))
        else:
            self._small.append((number, size_bytes))
            self._small_bytes += size_bytes

    def _evict(self) -> None:
        if self._small and self.held_bytes - self._small_bytes <= self._main_limit_bytes:
            self._evict_small()
        else:
            self._evict_main()

    def _evict_small(self) -> None:
        """Drop the oldest that was hardly used; those before it move into the main queue."""
        while self._small:
            number, size_bytes = self._small.popleft()
            self._small_bytes -= size_bytes
            if self._uses[number] < _USES_TO_STAY:
                del self._uses[number]
                self.held_bytes -= size_bytes
                self._remember(number, size_bytes)
                return
            self._uses[number] = 0
            self._main.append((number, size_bytes))

    def _evict_main(self) -> None:
        """Drop the oldest that was not used; those before it begin again, with one use less."""
        while True:
            number, size_bytes = self._main.popleft()
            if not self._uses[number]:
                del self._uses[number]
                self.held_bytes -= size_bytes
                return
            self._uses[number] -= 1
            self._main.append((number, size_bytes))

    def _remember(self, number: int, size_bytes: int) -> None:
        """Names of as many bytes as the main queue may hold."""
        self._ghost[number] = size_bytes
        self._ghost_bytes += size_bytes
        while self._ghost_bytes > self._main_limit_bytes:
            self._ghost_bytes -= self._ghost.popitem(last=False)[1]


_BOUNDED: dict[str, type[Cache]] = {kind.policy: kind for kind in (Lru, S3Fifo)}
POLICIES = tuple(_BOUNDED)
"""Those that a size makes a difference to."""


def make_caches(policies: Sequence[str], sizes: Sequence[int]) -> list[Cache]:
    """One for each policy and size, in that order; one only of `unlimited`. Raises ConfigError for another policy."""
    caches: list[Cache] = []
    for policy in policies:
        if policy == UNLIMITED:
            caches.append(Unlimited())
        elif policy in _BOUNDED:
            caches += [_BOUNDED[policy](size_bytes) for size_bytes in sizes]
        else:
            hint = f"Allowed: {', '.join((*POLICIES, UNLIMITED))}."
            raise ConfigError(f"{policy} is not a policy of a cache.", hint=hint)
    return caches
