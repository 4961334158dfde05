"""How fast a model is on one machine, and what an image costs it: measured once, kept with the results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from robobench.typed_json import value

_LEAST, _MOST = 1e-6, 1e12  # images a second
_LONGEST = 200  # characters


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Images a second of the bare network, and the cost of one image.

    images_per_second: the median of the repeats; low, high: its 95 % interval, from the order of the repeats.
    side: of the square RGB images, in pixels. hardware: the kind of machine, with the threads of a CPU. macs:
    multiply-accumulates of matrix products and convolutions for one image; None where none were seen.
    peak_memory: bytes on the device, weights included, where the device tells. torch: its version. time: ISO
    8601, UTC.
    """

    images_per_second: float
    low: float
    high: float
    repeats: int
    batch_size: int
    side: int
    precision: str
    hardware: str
    macs: int | None = None
    peak_memory: int | None = None
    torch: str = ""
    time: str = ""

    @property
    def setting(self) -> tuple[str, str, int]:
        """What has to be equal for two speeds to be compared: hardware, precision, batch size."""
        return self.hardware, self.precision, self.batch_size

    @property
    def sound(self) -> bool:
        """Whether the numbers can be what was measured; those in a file may be anything."""
        rates = (self.low, self.images_per_second, self.high)
        counts = (self.repeats, self.batch_size, self.side, self.macs or 1, self.peak_memory or 1)
        words = (self.precision, self.hardware, self.torch, self.time)
        return (
            all(_LEAST < r < _MOST for r in rates)
            and list(rates) == sorted(rates)
            and all(0 < c < 2**63 for c in counts)
            and all(len(w) <= _LONGEST for w in words)
        )


def with_newest(speeds: Sequence[Speed], newest: Speed) -> tuple[Speed, ...]:
    """Measurements with one more, which takes the place of an earlier one in its setting."""
    return (*(s for s in speeds if s.setting != newest.setting), newest)


def to_json(speeds: Sequence[Speed]) -> str:
    """Measurements as the text of a file."""
    return json.dumps([asdict(s) for s in speeds], indent=1, sort_keys=True, allow_nan=False) + "\n"


def from_json(text: str) -> tuple[Speed, ...]:
    """The measurements again; those that cannot be true are left out. Raises StoreError and ValueError."""
    found: tuple[Speed, ...] = value(json.loads(text), tuple[Speed, ...], "speed")
    return tuple(s for s in found if s.sound)
