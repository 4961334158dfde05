"""Benchmarks: run by `make bench`, never by `make test`. Goals are printed beside what was measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reference",
        metavar="PATH",
        help="a checkout of https://github.com/fra31/auto-attack, to compare AutoAttack with",
    )
    parser.addoption(
        "--images", type=int, default=50_000, help="images of each cell whose rows are scored again"
    )


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Views and digests are kept in a folder of this session, also by subprocesses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBOBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def report(benchmark: Any, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Print a line that says what was measured against which goal, and keep both with the benchmark."""

    def say(value: float, goal: float, unit: str, **more: Any) -> None:
        benchmark.extra_info.update({"value": value, "goal": goal, "unit": unit, **more})
        extra = "".join(f", {k.replace('_', ' ')} {v}" for k, v in more.items())
        verdict = "met" if value <= goal else "MISSED"
        print(f"\n{request.node.name}: {value:.3g} {unit} (goal {goal:g}: {verdict}){extra}")

    return say
