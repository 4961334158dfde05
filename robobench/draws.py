"""The only source of randomness: counter-based, keyed to the image, the same integers on every device.

Every number is a pure function of (seed, plug-in name, its occurrence in the condition, draw number,
field name, image id, position in the drawn array). Nothing else enters: no parameter, version, model,
batch size, order, worker or device. So all severities of a ladder and all models see the same draw,
masks nest, and comparisons are paired.

A 64-bit key per image comes from BLAKE2b; array elements come from two rounds of a 32-bit integer
mixer (the "lowbias32" constants of C. Wellons' hash prospector) applied to key and position, which
int32 tensors compute alike on CPU and GPU.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_GOLDEN = 0x9E3779B1
_MIX1, _MIX2 = 0x7FEB352D, 0x846CA68B
_MEMO_LIMIT = 64  # arrays kept for the severities of one batch


def _signed(word: int) -> int:
    """An unsigned 32-bit word as the int32 with the same bits."""
    return word - (1 << 32) if word >= (1 << 31) else word


def image_key(seed: int, stream: str, occurrence: int, number: int, name: str, image: str) -> int:
    """The 64-bit key of one image's array. Parts are length-prefixed, so that none run together."""
    hasher = hashlib.blake2b(digest_size=8)
    for part in (str(seed), stream, str(occurrence), str(number), name, image):
        data = part.encode()
        hasher.update(len(data).to_bytes(4, "little") + data)
    return int.from_bytes(hasher.digest(), "little")


def _mix(x: Tensor) -> Tensor:
    """lowbias32 in place; `&` after `>>` makes the shift of a signed word a logical one."""
    x ^= (x >> 16) & 0xFFFF
    x *= _MIX1
    x ^= (x >> 15) & 0x1FFFF
    x *= _signed(_MIX2)
    x ^= (x >> 16) & 0xFFFF
    return x


@dataclass(frozen=True, eq=False)
class Draws:
    """The draws of one step of a condition for the images of a batch.

    `seed` is the suite's, `stream` the plug-in's name, `occurrence` counts earlier steps of the same
    name in the condition, `number` tells repeated draws (restarts, worst-of-k) apart, `ids` are the
    images in batch order. Returned arrays may be shared between callers: do not change them in place.
    """

    seed: int
    stream: str
    ids: tuple[str, ...]
    device: torch.device | str = "cpu"
    occurrence: int = 0
    number: int = 0
    memo: dict[Any, Tensor] | None = field(default=None, repr=False)

    def at(self, number: int) -> Draws:
        """The draws of another repetition."""
        return replace(self, number=number)

    def select(self, ids: Sequence[str]) -> Draws:
        """The draws of other images: what an image gets does not depend on its company."""
        return replace(self, ids=tuple(ids), memo=None)

    def seeds(self, name: str) -> tuple[int, ...]:
        """One 64-bit integer per image, for a library that wants a seed of its own."""
        return tuple(
            image_key(self.seed, self.stream, self.occurrence, self.number, name, i) for i in self.ids
        )

    def bits(self, name: str, *shape: int) -> Tensor:
        """Uniform 32-bit words, as int32 of shape (b, *shape)."""
        return self._kept("bits", name, shape, lambda: self._bits(name, shape))

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Float32 in [0, 1) on a grid of 2**-24, of shape (b, *shape)."""

        def make() -> Tensor:
            return ((self._bits(name, shape) >> 8) & 0xFFFFFF).float().mul_(2.0**-24)

        return self._kept("uniform", name, shape, make)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal float32 of shape (b, *shape), by the Box-Muller transform."""

        def make() -> Tensor:
            count = math.prod(shape)
            half = (count + 1) // 2
            words = ((self._bits(name, (2, half)) >> 8) & 0xFFFFFF).float()
            radius = words[:, 0].add_(1.0).mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
            angle = words[:, 1].mul_(2.0**-24 * 2.0 * math.pi)
            both = radius.new_empty(len(self.ids), 2, half)
            both[:, 0] = radius * angle.cos()
            both[:, 1] = radius * angle.sin()
            return both.flatten(1)[:, :count].reshape(len(self.ids), *shape)

        return self._kept("normal", name, shape, make)

    def integers(self, name: str, low: int, high: int, *shape: int) -> Tensor:
        """int64 uniform in [low, high), of shape (b, *shape). The bias is below (high-low)/2**32."""
        if high <= low:
            raise ValueError(f"integers: high must be above low, got low={low}, high={high}")

        def make() -> Tensor:
            words = self._bits(name, shape).long() & 0xFFFFFFFF
            return low + ((words * (high - low)) >> 32)

        return self._kept(f"integers {low} {high}", name, shape, make)

    def permutation(self, name: str, n: int) -> Tensor:
        """One permutation of range(n) per image, int64 of shape (b, n); ties keep their order."""
        return self._kept(
            "permutation", name, (n,), lambda: self._bits(name, (n,)).argsort(dim=1, stable=True)
        )

    def _kept(self, kind: str, name: str, shape: tuple[int, ...], make: Callable[[], Tensor]) -> Tensor:
        if self.memo is None:
            return make()
        key = (kind, self.seed, self.stream, self.occurrence, self.number, name, shape, self.ids)
        if key not in self.memo:
            if len(self.memo) >= _MEMO_LIMIT:
                self.memo.clear()
            self.memo[key] = make()
        return self.memo[key]

    def _bits(self, name: str, shape: tuple[int, ...]) -> Tensor:
        import torch

        keys = self.seeds(name)
        low = torch.tensor([_signed(k & 0xFFFFFFFF) for k in keys], dtype=torch.int32)
        high = torch.tensor([_signed(k >> 32) for k in keys], dtype=torch.int32)
        count = math.prod(shape)
        position = torch.arange(count, dtype=torch.int32, device=self.device)
        position *= _signed(_GOLDEN)
        x = position[None, :] + low.to(self.device)[:, None]
        x = _mix(x)
        x ^= high.to(self.device)[:, None]
        return _mix(x).reshape(len(keys), *shape)
