"""A cache layer that appends in place, so that a long document's keys and values are never copied to grow."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

# Room for the tokens of an answer; when it is used up, the layer is copied into one with more room behind it, a part of
# what it holds then, so that an answer of any length makes it grow a few times only.
SLACK = 32
_GROWTH = 8


class GrowingLayer(DynamicLayer):
    """A dynamic cache layer that keeps spare room behind its tokens.

    ``keys`` and ``values`` are views, (batch, kv_heads, tokens, head_dim), of a larger storage.

    Args:
        slack: Tokens for which there is room, at least, behind those that made the layer grow.
    """

    def __init__(self, slack: int = SLACK) -> None:
        super().__init__()
        self._slack = slack
        self._stores: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values and return views of all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held, added = self.get_seq_length(), key_states.shape[-2]
        if not self._stores or held + added > self._stores[0].shape[-2]:
            self._grow(key_states, value_states, held + added)
        self.keys, self.values = (store[..., : held + added, :] for store in self._stores)
        self.keys[..., held:, :] = key_states
        self.values[..., held:, :] = value_states
        return self.keys, self.values

    def fill(
        self, rows: slice, num_rows: int, held: int, key_states: Tensor, value_states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Append tokens to some rows and return views of these; every row must get as many.

        Args:
            rows: These rows.
            num_rows: Rows of the layer in all.
            held: Tokens that every row held before any of them got more.
            key_states: Their keys, (rows, kv_heads, tokens, head_dim).
            value_states: Their values.
        """
        total = held + key_states.shape[-2]
        if not self._stores:
            self.lazy_initialization(key_states, value_states)
            every = [states.new_empty(num_rows, *states.shape[1:]) for states in (key_states, value_states)]
            self._grow(every[0], every[1], total)
        elif total > self._stores[0].shape[-2]:
            self._grow(self._stores[0], self._stores[1], total)
        self.keys, self.values = (store[..., :total, :] for store in self._stores)
        keys, values = self.beginning(rows, total)
        keys[..., held:, :], values[..., held:, :] = key_states, value_states
        return keys, values

    def beginning(self, rows: slice, tokens: int) -> tuple[Tensor, Tensor]:
        """Return views of the first keys and values of some rows."""
        keys, values = self._stores
        return keys[rows, :, :tokens], values[rows, :, :tokens]

    def _grow(self, key_states: Tensor, value_states: Tensor, needed: int) -> None:
        held = self.get_seq_length()
        stores = []
        for states, old in ((key_states, self.keys), (value_states, self.values)):
            room = max(self._slack, held // _GROWTH)
            store = states.new_empty(*states.shape[:-2], needed + room, states.shape[-1])
            if old is not None and held:
                store[..., :held, :] = old
            stores.append(store)
        self._stores = stores

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Put the rows of that number in the places of the rows."""
        held = self.get_seq_length()
        self._stores = [store.index_select(0, beam_idx) for store in self._stores]
        self.keys, self.values = (store[..., :held, :] for store in self._stores)

    def num_bytes(self) -> int:
        """Return the bytes this layer holds on to."""
        return sum(store.numel() * store.element_size() for store in self._stores)


class RowsLayer(DynamicLayer):
    """Some rows of a growing layer: what it is given is written there, and nowhere else.

    Args:
        whole: The growing layer.
        rows: These rows.
        num_rows: Rows of the growing layer in all.
        held: Tokens that every row held before any of them got more.
    """

    def __init__(self, whole: GrowingLayer, rows: slice, num_rows: int, held: int) -> None:
        super().__init__()
        self._whole = whole
        self._rows = rows
        self._num_rows = num_rows
        if held:
            keys, values = whole.beginning(rows, held)
            self.lazy_initialization(keys, values)
            self.keys, self.values = keys, values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values and return views of all of them."""
        held = self.get_seq_length()
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys, self.values = self._whole.fill(self._rows, self._num_rows, held, key_states, value_states)
        return self.keys, self.values


def growing_cache(slack: int = SLACK) -> Cache:
    """Make an empty transformers cache of growing layers, one per layer of the base; see the layer for ``slack``."""
    return Cache(layer_class_to_replicate=partial(GrowingLayer, slack))  # type: ignore[arg-type]


def empty_cache(num_layers: int, slack: int) -> Cache:
    """Make a transformers cache of so many growing layers, to be filled row by row."""
    return Cache(layers=[GrowingLayer(slack) for _ in range(num_layers)])


def rows_of(cache: Cache, rows: slice, num_rows: int, held: int = 0) -> Cache:
    """Make a cache of some rows of another, which has ``num_rows``.

    All rows must be given as many tokens, behind the ``held`` ones that every row had before.
    """
    layers: list[Any] = cache.layers
    return Cache(layers=[RowsLayer(layer, rows, num_rows, held) for layer in layers])


def cache_tensors(cache: Cache) -> list[tuple[Tensor, Tensor]]:
    """Return the keys and values of each layer."""
    return [(layer.keys, layer.values) for layer in cache.layers]  # type: ignore[union-attr,misc]


def cache_from(tensors: list[tuple[Tensor, Tensor]], slack: int = SLACK) -> Cache:
    """Make a growing cache that starts with these keys and values."""
    cache = growing_cache(slack)
    for index, (keys, values) in enumerate(tensors):
        cache.update(keys, values, index)
    return cache


def overwrite_prefix(cache: Cache, tensors: list[tuple[Tensor, Tensor]]) -> None:
    """Put new keys and values in the place of the first ones of every layer."""
    with torch.no_grad():
        for (keys, values), (new_keys, new_values) in zip(cache_tensors(cache), tensors, strict=True):
            keys[..., : new_keys.shape[-2], :] = new_keys
            values[..., : new_values.shape[-2], :] = new_values
