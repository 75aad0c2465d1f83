"""Which block each token of a flat sequence is in, for what is computed block by block. Source: ours."""

import torch
from jaxtyping import Int, Shaped
from torch import Tensor


class Blocks:
    """Tokens that lie end to end, and the blocks they are divided in; only blocks have padding, at their ends.

    Args:
        numbers: The block of each token, rising from 0.
        num_blocks: How many blocks there are.
    """

    def __init__(self, numbers: Int[Tensor, " tokens"], num_blocks: int) -> None:
        sizes = numbers.bincount(minlength=num_blocks)
        first = sizes.cumsum(0) - sizes
        self.num_blocks = num_blocks
        self.width = int(sizes.max())
        self.places = torch.arange(len(numbers), device=numbers.device) - first[numbers]
        self._numbers = numbers

    def spread(
        self, states: Shaped[Tensor, "tokens *features"], fill: float = 0
    ) -> Shaped[Tensor, "blocks width *features"]:
        """Put tokens into their blocks.

        Args:
            states: What there is of each token.
            fill: What stands where a block has no token.
        """
        blocks = states.new_full((self.num_blocks, self.width, *states.shape[1:]), fill)
        blocks[self._numbers, self.places] = states
        return blocks

    def join(self, blocks: Shaped[Tensor, "blocks width *features"]) -> Shaped[Tensor, "tokens *features"]:
        """Lay the tokens of all blocks end to end again."""
        return blocks[self._numbers, self.places]
