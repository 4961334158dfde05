"""What keyed randomness costs, beside torch's own generator: 16 images of 3 x 224 x 224."""

from __future__ import annotations

import time

import pytest
import torch

from robobench.draws import Draws

IDS = tuple(f"n01440764/{i:05d}.JPEG" for i in range(16))
SHAPE = (3, 224, 224)

OURS = {
    "uniform": lambda draws: draws.uniform("noise", *SHAPE),
    "normal": lambda draws: draws.normal("noise", *SHAPE),
    "permutation of 196": lambda draws: draws.permutation("cells", 196),
}
PEERS = {
    "uniform": lambda: torch.rand(len(IDS), *SHAPE),
    "normal": lambda: torch.randn(len(IDS), *SHAPE),
    "permutation of 196": lambda: torch.rand(len(IDS), 196).argsort(dim=1),
}
GOALS = {"uniform": 2.0, "normal": 4.0, "permutation of 196": 4.0}  # times torch's own


def peer_seconds(kind: str) -> float:
    times = []
    for _ in range(20):
        began = time.perf_counter()
        PEERS[kind]()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


@pytest.mark.parametrize("kind", OURS)
def test_draws(kind, benchmark, report):
    benchmark.pedantic(lambda: OURS[kind](Draws(0, "bench.draws", IDS)), rounds=20, warmup_rounds=2)
    seconds, peer = benchmark.stats["median"], peer_seconds(kind)
    each = f"{1000 * seconds / len(IDS):.2f} ms an image"
    report(seconds / peer, GOALS[kind], "x torch's generator", keyed=each, threads=torch.get_num_threads())
