"""A cache layer that appends in place, so that a long document's keys and values are never copied to grow."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

# Room for the tokens of an answer; when it is used up, the layer is copied once into a larger one.
SLACK = 32


class GrowingLayer(DynamicLayer):
    """A dynamic cache layer that keeps spare room behind its tokens.

    ``keys`` and ``values`` are views, (batch, kv_heads, tokens, head_dim), of a larger storage.

    Args:
        slack: Tokens for which there is room behind those that made the layer grow.
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

    def fill(self, first: int, key_states: Tensor, value_states: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
        """Write the first tokens of some rows and return views of them; every row must get as many.

        Args:
            first: The first of these rows.
            key_states: Their keys, (rows, kv_heads, tokens, head_dim).
            value_states: Their values.
            num_rows: Rows of the layer in all.
        """
        added = key_states.shape[-2]
        if not self._stores:
            self.lazy_initialization(key_states, value_states)
            all_keys, all_values = (
                states.new_empty(num_rows, *states.shape[1:]) for states in (key_states, value_states)
            )
            self._grow(all_keys, all_values, added)
        self.keys, self.values = (store[..., :added, :] for store in self._stores)
        last = first + key_states.shape[0]
        self.keys[first:last], self.values[first:last] = key_states, value_states
        return self.keys[first:last], self.values[first:last]

    def _grow(self, key_states: Tensor, value_states: Tensor, needed: int) -> None:
        held = self.get_seq_length()
        stores = []
        for states, old in ((key_states, self.keys), (value_states, self.values)):
            store = states.new_empty(*states.shape[:-2], needed + self._slack, states.shape[-1])
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
    """The beginning of some rows of a growing layer: what it is given is written there, and nowhere else.

    Args:
        whole: The growing layer.
        first: The first of these rows.
        num_rows: Rows of the growing layer in all.
    """

    def __init__(self, whole: GrowingLayer, first: int, num_rows: int) -> None:
        super().__init__()
        self._whole = whole
        self._first = first
        self._num_rows = num_rows

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write keys and values and return views of them."""
        self.lazy_initialization(key_states, value_states)
        self.keys, self.values = self._whole.fill(self._first, key_states, value_states, self._num_rows)
        return self.keys, self.values


def growing_cache(slack: int = SLACK) -> Cache:
    """Make an empty transformers cache of growing layers, one per layer of the base; see the layer for ``slack``."""
    return Cache(layer_class_to_replicate=partial(GrowingLayer, slack))  # type: ignore[arg-type]


def empty_cache(num_layers: int, slack: int) -> Cache:
    """Make a transformers cache of so many growing layers, to be filled row by row."""
    return Cache(layers=[GrowingLayer(slack) for _ in range(num_layers)])


def rows_of(cache: Cache, first: int, num_rows: int) -> Cache:
    """Make a cache whose tokens become the beginning of rows of another, which has ``num_rows``, from ``first`` on."""
    layers: list[Any] = cache.layers
    return Cache(layers=[RowsLayer(layer, first, num_rows) for layer in layers])


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
