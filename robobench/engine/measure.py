"""How fast a network runs here, and what one image costs it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from robobench.contracts import LoadedModel
from robobench.engine.local import repeatable
from robobench.engine.provenance import hardware
from robobench.engine.resolve import PRECISION
from robobench.errors import ModelError
from robobench.speed import Speed

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 32  # images of a pass
SIDE = 224  # of the images for a network that takes any size and names none
REPEATS, FEWEST = 11, 6  # with six the slowest and the fastest are a 95 % interval of the median
WARM = 0.5  # seconds of passes before the first repeat
LASTING = 0.2  # seconds that a repeat lasts at least
PATIENCE = 30.0  # seconds after which the fewest repeats do


def measure(
    model: LoadedModel,
    device: str,
    *,
    batch_size: int = BATCH,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Images a second, multiply-accumulates of one image and, on CUDA, memory.

    The bare network runs in inference mode and float32 without TF32, as in a run, on noise of its own input
    size that lies on the device already: reading, decoding and normalising images is not in it. After a
    warm-up come 6 to 11 repeats of at least 0.2 s, each begun and ended with the device idle; the speed
    is their median, its interval that of the sign test. Raises ModelError for a network that fails.
    """
    import torch

    side = model.card.input_size or SIDE
    noise = torch.randn(
        (batch_size, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.float32
    ).to(device)
    with repeatable(), _said(batch_size, side):
        macs = count_macs(model.module, noise[:1])
        with torch.inference_mode(), _peak(device) as peak:
            rates = sorted(batch_size * r for r in _rates(model.module, noise, clock))
    low, high = median_ends(len(rates))
    return Speed(
        images_per_second=_median(rates),
        low=rates[low],
        high=rates[high],
        repeats=len(rates),
        batch_size=batch_size,
        side=side,
        precision=PRECISION,
        hardware=hardware(device),
        macs=macs or None,
        peak_memory=peak.get("bytes"),
        torch=torch.__version__.partition("+")[0],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def count_macs(module: nn.Module, image: Tensor) -> int:
    """Multiply-accumulates of a forward pass: of matrix products, convolutions and attention.

    Additions of vectors, activations, normalisation, pooling and resizing are not counted, as is usual. Half
    of what `torch.utils.flop_counter` counts; that one sees nothing of a transformer layer that runs as one
    operation, so that attention runs step by step here.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) // 2


def median_ends(count: int, level: float = 0.95) -> tuple[int, int]:
    """Places, from 0, in ordered values whose interval holds the median with that chance (sign test).

    The outermost ones where there are too few values.

    >>> median_ends(6), median_ends(11)
    ((0, 5), (1, 9))
    """
    low, tail = 0, 0.0
    while low < (count - 1) // 2:
        tail += math.comb(count, low) / 2**count
        if tail + math.comb(count, low + 1) / 2**count > (1 - level) / 2:
            break
        low += 1
    return low, count - 1 - low


def _rates(module: nn.Module, batch: Tensor, clock: Callable[[], float]) -> Iterator[float]:
    """Passes a second, repeat by repeat."""
    device = str(batch.device)

    def timed(passes: int) -> float:
        _wait(device)
        started = clock()
        for _ in range(passes):
            module(batch)
        _wait(device)
        return clock() - started

    timed(1)
    spent, warmed = 0.0, 0
    while spent < WARM or warmed < 2:
        spent, warmed = spent + timed(1), warmed + 1
    passes = max(1, math.ceil(LASTING * warmed / spent))
    total = 0.0
    for repeat in range(REPEATS):
        if repeat >= FEWEST and total > PATIENCE:
            return
        seconds = timed(passes)
        total += seconds
        yield passes / seconds


def _wait(device: str) -> None:
    """Until the device has done what it was given."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()


@contextmanager
def _peak(device: str) -> Iterator[dict[str, int]]:
    """Afterwards `bytes` is the most memory that was in use; missing where the device does not tell."""
    import torch

    found: dict[str, int] = {}
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    yield found
    if device.startswith("cuda"):
        found["bytes"] = int(torch.cuda.max_memory_allocated(device))


@contextmanager
def _said(batch_size: int, side: int) -> Iterator[None]:
    """What a network raises as a message."""
    try:
        yield
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ModelError(
            f"a forward pass of {batch_size} images of {side}x{side} failed: {type(error).__name__}: "
            f"{reason}; if the memory is too small, take a smaller --batch-size"
        ) from error


def _median(ordered: list[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
