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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_GOLDEN = 0x9E3779B1
_WORD = 0xFFFFFFFF
_MIX1, _MIX2 = 0x7FEB352D, 0x846CA68B
_MEMO_LIMIT = 64  # arrays kept for the severities of one batch
_BLOCK = 1 << 18  # words worked on at a time: few calls, and memory that stays in the caches


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


def _mix(x: Tensor, spare: Tensor) -> None:
    """lowbias32 in place; `&` after `>>` makes the shift of a signed word a logical one."""
    import torch

    for shift, keep, factor in ((16, 0xFFFF, _MIX1), (15, 0x1FFFF, _signed(_MIX2)), (16, 0xFFFF, 1)):
        torch.bitwise_right_shift(x, shift, out=spare)
        x.bitwise_xor_(spare.bitwise_and_(keep))
        if factor != 1:
            x.mul_(factor)


def _halves(keys: Sequence[int], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """The low and the high words of 64-bit keys, as int32 columns of shape (b, 1)."""
    import torch

    low = torch.tensor([_signed(k & _WORD) for k in keys], dtype=torch.int32)
    high = torch.tensor([_signed(k >> 32) for k in keys], dtype=torch.int32)
    return low.to(device)[:, None], high.to(device)[:, None]


def _blocks(keys: Sequence[int], count: int, device: torch.device) -> Iterator[tuple[slice, slice, Tensor]]:
    """The words of `count` positions for every key, as (rows, columns, words of that block).

    On a CPU a block is small enough for the caches, because mixing passes over it some twenty times;
    elsewhere there is one. Every block lies in the same memory: use it before asking for the next.
    """
    import torch

    if not keys or not count:
        return
    whole = device.type != "cpu"
    wide = count if whole else min(count, _BLOCK)
    deep = len(keys) if whole else min(len(keys), max(1, _BLOCK // count))
    low, high = _halves(keys, device)
    position = torch.arange(wide, dtype=torch.int32, device=device).mul_(_signed(_GOLDEN))
    memory = torch.empty(2, deep * wide, dtype=torch.int32, device=device)
    for row in range(0, len(keys), deep):
        rows = slice(row, min(row + deep, len(keys)))
        for column in range(0, count, wide):
            columns = slice(column, min(column + wide, count))
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            x, spare = (part[: shape[0] * shape[1]].view(shape) for part in memory)
            # (position + column) * golden, the second product wrapped to 32 bits like the first
            torch.add(position[: shape[1]], low[rows] + _signed(column * _GOLDEN & _WORD), out=x)
            _mix(x, spare)
            x.bitwise_xor_(high[rows])
            _mix(x, spare)
            yield rows, columns, x


def _box_muller(uniforms: Tensor, spare: Tensor, out: Tensor) -> None:
    """Two rows of 24-bit integers as float32 become two rows of standard normal numbers in `out`."""
    import torch

    radius, angle = uniforms.unbind(-2)
    radius.add_(1.0).mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
    angle.mul_(2.0**-24 * 2.0 * math.pi)
    torch.mul(radius, torch.cos(angle, out=spare), out=out.select(-2, 0))
    torch.mul(radius, angle.sin_(), out=out.select(-2, 1))


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
            return self._integers24(name, math.prod(shape)).mul_(2.0**-24).view(len(self.ids), *shape)

        return self._kept("uniform", name, shape, make)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal float32 of shape (b, *shape), by the Box-Muller transform."""

        def make() -> Tensor:
            count = math.prod(shape)
            return self._normal(name, (count + 1) // 2)[:, :count].reshape(len(self.ids), *shape)

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

    def shared(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """What `make` gives, made once for all levels of a ladder and all steps with the same draws.

        For work that depends on draws and sizes alone, never on pixels: a noise field, a blurred layer. The
        name says all that it depends on besides the draws. Do not change it in place.
        """
        return self._kept("shared", name, (), make)

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

        count = math.prod(shape)
        out = torch.empty(len(self.ids), count, dtype=torch.int32, device=self.device)
        for rows, columns, words in _blocks(self.seeds(name), count, out.device):
            out[rows, columns] = words
        return out.view(len(self.ids), *shape)

    def _integers24(self, name: str, count: int) -> Tensor:
        """The upper 24 bits of each word as float32, which holds them exactly; (b, count)."""
        import torch

        out = torch.empty(len(self.ids), count, dtype=torch.float32, device=self.device)
        for rows, columns, words in _blocks(self.seeds(name), count, out.device):
            out[rows, columns] = words.bitwise_right_shift_(8).bitwise_and_(0xFFFFFF)
        return out

    def _normal(self, name: str, half: int) -> Tensor:
        """Standard normal numbers (b, 2 * half).

        On a CPU each image is worked on in the same memory: where its numbers lie decides which vector
        instructions take them, and so the last bit. It must not depend on the image's company.
        """
        import torch

        values = self._integers24(name, 2 * half).view(len(self.ids), 2, half)
        if values.device.type != "cpu":
            out = torch.empty_like(values)
            _box_muller(values, torch.empty_like(values[:, 0]), out)
            return out.flatten(1)
        memory = torch.empty(3, half, dtype=torch.float32)
        for row in values:
            memory[:2] = row
            _box_muller(memory[:2], memory[2], row)
        return values.flatten(1)
