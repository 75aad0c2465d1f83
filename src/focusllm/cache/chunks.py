"""The keys and values of chunks, which survive from one decode step, and from one question, to the next."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor
from transformers.cache_utils import Cache

from focusllm.cache.eight_bits import EightBitHome, to_eight_bits
from focusllm.cache.homes import Home, Kept, KeptAtHand, LayerTensors, bytes_of
from focusllm.cache.layers import SLACK, GrowingLayer, cache_from, cache_tensors, empty_cache, growing_cache
from focusllm.cache.tiers import Budgets, CpuHome

# Room behind chunks that come from their home, for prompt block and answer, in tokens.
_ROOM = 4 * SLACK


@dataclass
class ChunkBatch:
    """Chunks that go through the base together because they have the same length.

    Attributes:
        rows: For each row, which sequence of the batch it belongs to and which chunk of its document it is.
        cache: Keys and values of the chunks; behind them those of whoever asked last: prompt block and answer,
            without the candidate. Empty while they are away.
        num_own: How many tokens of each row are the chunk's own.
        candidate_ids: The token of each row that was the candidate last and is not in the cache yet.
        home: Where the chunks' own keys and values can be had again; with one, they may be let go of.
        stays: Whether they stay at hand once they are, home or not.
        first_number: How many chunks of other documents come before those of this one.
        padding: How many tokens at the start of each row are none of the chunk's; ``None``: there are none such.
        repeats: Further chunks that equal a row's, for which it stands as well: the row, and sequence and chunk.
    """

    rows: list[tuple[int, int]]
    cache: Cache = field(default_factory=growing_cache)
    num_own: int = 0
    candidate_ids: Int[Tensor, " rows"] | None = None
    home: Home | None = None
    stays: bool = True
    first_number: int = 0
    padding: Int[Tensor, " rows"] | None = None
    repeats: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    _others: Kept | None = None
    _num_others: int = 0

    @property
    def row_places(self) -> list[tuple[int, int]]:
        """For each row, its sequence and the number its chunk has in it."""
        return [(sequence, self.first_number + chunk) for sequence, chunk in self.rows]

    @property
    def places(self) -> list[tuple[int, int]]:
        """The chunks it stands for, as sequence and number in it: first one for each row, then those repeated."""
        return [*self.row_places, *((sequence, self.first_number + chunk) for _, (sequence, chunk) in self.repeats)]

    @property
    def row_of_place(self) -> list[int]:
        """For each of :attr:`places`, the row that stands for it."""
        return [*range(len(self.rows)), *(row for row, _ in self.repeats)]

    @property
    def remains(self) -> bool:
        """Whether the chunks' own keys and values, once at hand, are not let go of."""
        return self.home is None or self.stays

    @property
    def length(self) -> int:
        """How many tokens each row has by now."""
        return self.cache.get_seq_length() if self.cache.layers else self.num_own + self._num_others

    def num_bytes(self) -> int:
        """Return the bytes of the keys and values at hand."""
        return sum(layer.num_bytes() for layer in self.cache.layers if isinstance(layer, GrowingLayer))

    def num_bytes_kept(self) -> int:
        """Return the bytes of the chunks' own keys and values, at home or at hand."""
        return bytes_of(self.own_tensors()) if self.home is None else self.home.num_bytes()

    def own_tensors(self) -> LayerTensors:
        """Return views of the chunks' own keys and values, which are at hand."""
        return [
            (keys[..., : self.num_own, :], values[..., : self.num_own, :]) for keys, values in cache_tensors(self.cache)
        ]

    def own_wherever(self) -> LayerTensors:
        """Return the chunks' own keys and values, at hand or from their home."""
        return self.own_tensors() if self.away is None else cache_tensors(self.fetched(None))

    def num_bytes_once_at_hand(self, bytes_per_token: int) -> int:
        """Return about how many bytes the keys and values would take at hand."""
        return len(self.rows) * (self.num_own + _ROOM) * bytes_per_token

    def keep_in_eight_bits(self) -> None:
        """Round the chunks' own keys and values to eight bits, which are restored whenever they are needed."""
        self.home = EightBitHome([(to_eight_bits(keys), to_eight_bits(values)) for keys, values in self.own_tensors()])
        self.stays = False
        self.leave()

    def settle_in_cpu_memory(self) -> None:
        """Have a home in CPU memory; eight bits stay where they are."""
        if not isinstance(self.home, CpuHome | EightBitHome):
            self.home = CpuHome(self.own_tensors() if self.cache.layers else None, self.home)

    def forget_question(self) -> None:
        """Keep the chunks' own keys and values only."""
        self._others, self._num_others = None, 0
        self.candidate_ids = None
        layers: list[Any] = self.cache.layers
        for layer in layers:
            # Each by what it holds itself: a pass that was interrupted has reached some layers only.
            layer.crop(min(self.num_own - layer.get_seq_length(), 0))

    def part(self, rows: Sequence[int]) -> "ChunkBatch":
        """Return a copy of some rows, which are at hand; what is appended to it is not appended here."""
        cache = cache_from([(keys[rows], values[rows]) for keys, values in cache_tensors(self.cache)])
        ids, padding = (None if one is None else one[rows] for one in (self.candidate_ids, self.padding))
        places = [self.rows[row] for row in rows]
        return ChunkBatch(places, cache, self.num_own, ids, first_number=self.first_number, padding=padding)

    def own_part(self, rows: Sequence[int]) -> "ChunkBatch":
        """Return the batch itself where all its rows are wanted, or a copy of the chunks of some.

        The copy has nothing behind them, and is at hand, or in eight bits as these are.
        """
        if len(rows) == len(self.rows):
            return self
        part = ChunkBatch([self.rows[row] for row in rows], num_own=self.num_own, first_number=self.first_number)
        if isinstance(self.home, EightBitHome):
            part.home, part.stays = self.home.part(rows), False
            return part
        part.cache = cache_from([(keys[rows], values[rows]) for keys, values in self.own_wherever()])
        return part

    def part_of(self, wanted: Collection[tuple[int, int]]) -> "ChunkBatch":
        """Return a copy of the rows that stand for some places, and for nothing else."""
        chunks: dict[int, list[tuple[int, int]]] = {}
        for row, (sequence, number) in zip(self.row_of_place, self.places, strict=True):
            if (sequence, number) in wanted:
                chunks.setdefault(row, []).append((sequence, number - self.first_number))
        return self.part(list(chunks)).standing_for(list(chunks.values()))

    def standing_for(self, chunks: Sequence[Sequence[tuple[int, int]]]) -> "ChunkBatch":
        """Make every row stand for chunks that equal its own: for each row, sequence and chunk of one or more."""
        self.rows = [first for first, *_ in chunks]
        self.repeats = [(row, other) for row, (_, *others) in enumerate(chunks) for other in others]
        return self

    def copy_for(self, sequence: int) -> "ChunkBatch":
        """Return the same chunks as those of another sequence, to be asked something else at the same time."""
        every = range(len(self.rows))
        bare = ChunkBatch(self.rows, num_own=self.num_own, first_number=self.first_number)
        copy = self.part(every) if self.cache.layers else bare
        copy.rows = [(sequence, chunk) for _, chunk in self.rows]
        copy.repeats = [(row, (sequence, chunk)) for row, (_, chunk) in self.repeats]
        copy.home, copy.stays = self.home, False
        return copy

    def behind(self) -> LayerTensors:
        """Return what came behind the chunks: the keys and values of prompt block and answer; views, if at hand."""
        if self._others is not None:
            [layers] = self._others.parts()
            return layers
        return [
            (keys[..., self.num_own :, :], values[..., self.num_own :, :]) for keys, values in cache_tensors(self.cache)
        ]

    def kept_beside(self, states: LayerTensors) -> Kept:
        """Keep what is to come behind the chunks where they are."""
        return KeptAtHand(states) if self.away is None else self.away.beside(states)

    def put_behind(self, others: Kept) -> None:
        """Exchange what came behind the chunks for as many tokens that are kept beside them."""
        if self.away is not None:
            self._others = others
            return
        [states] = others.parts()
        for mine, theirs in zip(self.behind(), states, strict=True):
            for held, new in zip(mine, theirs, strict=True):
                held.copy_(new)

    @property
    def away(self) -> Home | None:
        """The home the chunks' own keys and values must be had from; ``None`` where they are at hand."""
        return None if self.cache.layers else self.home

    def fetched(self, device: torch.device | None) -> Cache:
        """Return what the home gives, on a device or where it lies, with room for what came or will come behind it.

        It is put in its place part by part: large batches are not to be in memory twice.
        """
        assert self.home is not None
        cache, first = growing_cache(), 0
        for part in self.home.parts():
            if not first:
                cache = empty_cache(len(part), max(self.length - self.num_own + SLACK, _ROOM))
            rows = slice(first, first + len(part[0][0]))
            for layer, pair in zip(cast(list[GrowingLayer], cache.layers), part, strict=True):
                keys, values = (states.to(device, non_blocking=True) for states in pair)
                layer.fill(rows, len(self.rows), 0, keys, values)
            first = rows.stop
        return cache

    def fetched_with_others(self, device: torch.device) -> Cache:
        """Return, on a device, what the home gives and behind it what came after the chunks."""
        cache = self.fetched(device)
        for index, (keys, values) in enumerate(self.behind() if self._others else []):
            cache.update(keys.to(device, non_blocking=True), values.to(device, non_blocking=True), index)
        return cache

    def take(self, cache: Cache) -> None:
        """Have at hand what was fetched."""
        self.cache, self._others = cache, None

    def move_to(self, device: torch.device) -> None:
        """Have what is at hand on a device, which the model may have been moved to since it was read."""
        states = cache_tensors(self.cache)
        if states and states[0][0].device != device:
            self.cache = cache_from([(keys.to(device), values.to(device)) for keys, values in states], _ROOM)

    def leave(self) -> None:
        """Let go of the chunks' own keys and values, if they have a home; what came behind them is kept beside it."""
        if self.remains or not self.cache.layers:
            return
        assert self.home is not None  # or they remain
        self._num_others = self.length - self.num_own
        self._others = self.home.beside(self.behind()) if self._num_others else None
        self.cache = growing_cache()


@dataclass
class ChunkCache:
    """Every chunk of every sequence of a batch."""

    batches: list[ChunkBatch] = field(default_factory=list)

    def visit(self, device: torch.device, batches: Sequence[ChunkBatch] | None = None) -> Iterator[ChunkBatch]:
        """Yield batches, by default all, while their keys and values are at hand; the next one is read meanwhile."""
        batches = self.batches if batches is None else batches
        with ThreadPoolExecutor(max_workers=1) as reader:
            # One is read ahead: those at hand cost nothing here, not even a thread.
            reading = (
                None if batch.away is None else reader.submit(batch.fetched_with_others, device) for batch in batches
            )
            following = next(reading, None)
            for batch in batches:
                current, following = following, next(reading, None)
                if current is None:
                    batch.move_to(device)
                else:
                    batch.take(current.result())
                yield batch
                batch.leave()

    @property
    def num_chunks(self) -> int:
        """How many chunks there are."""
        return sum(len(batch.places) for batch in self.batches)

    def num_bytes(self) -> int:
        """Return the bytes of all keys and values at hand."""
        return sum(batch.num_bytes() for batch in self.batches)

    def keep_within(self, budgets: Budgets, bytes_per_token: int) -> None:
        """Keep the first batches on the device, the next ones in CPU memory, and let go of others that have a home.

        They are always the same: every question visits all in turn, so keeping those used last would keep none
        that is needed next.
        """
        on_device = in_cpu_memory = 0
        for batch in self.batches:
            size = batch.num_bytes() or batch.num_bytes_once_at_hand(bytes_per_token)
            on_device += size
            batch.stays = on_device <= budgets.device
            if not batch.stays and in_cpu_memory + size <= budgets.cpu:
                in_cpu_memory += size
                batch.settle_in_cpu_memory()
            batch.leave()

    def bytes_of_tiers(self) -> dict[str, int]:
        """Return the bytes of the chunks' own keys and values that lie on the device, in CPU memory and in a folder."""
        sizes: dict[str, int] = {"device": 0, "cpu": 0, "folder": 0}
        for batch in self.batches:
            is_here = batch.remains or isinstance(batch.home, EightBitHome)
            tier = "device" if is_here else "cpu" if isinstance(batch.home, CpuHome) else "folder"
            sizes[tier] += batch.num_bytes_kept()
        return sizes

    def repeated(self, times: int) -> "ChunkCache":
        """Return the chunks of one sequence as those of so many."""
        return ChunkCache([batch.copy_for(sequence) for sequence in range(times) for batch in self.batches])

    def number_from(self, first: int) -> None:
        """Put the chunks behind so many of other documents."""
        for batch in self.batches:
            batch.first_number = first
