"""What every test gets: no network, a view cache of its own, repeatable examples."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

settings.register_profile("robobench", deadline=None, derandomize=True, database=None)
settings.load_profile("robobench")

_HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "", None)  # noqa: S104  (compared, never bound)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Views and digests are kept in a folder of this session, also by subprocesses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBOBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Other hosts cannot be reached, as on a machine without a network."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def only_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _HERE:
            raise ConnectionRefusedError(f"tests have no network: {address!r}")
        connect(self, address)

    def known_names(host: Any, *rest: Any, **options: Any) -> Any:
        if host not in _HERE:
            raise socket.gaierror(socket.EAI_NONAME, f"tests have no network: {host!r}")
        return look_up(host, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", only_here)
        patch.setattr(socket, "getaddrinfo", known_names)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped, not failed, on a machine without an accelerator."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs an accelerator"))
