"""Pretrained weights over the network: an answer within seconds where there is none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from robobench.errors import ModelError

_SECONDS = 3.0


def reachable(url: str) -> bool:
    """Whether a server, or the proxy on the way to it, can be connected to within three seconds."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_SECONDS).close()
    except OSError:
        return False
    return True


def unreachable(name: str, url: str, reason: str = "") -> ModelError:
    """What to say, and what to do, when the weights of a model cannot be fetched."""
    host = urlsplit(url).hostname or url
    return ModelError(
        f"{name}: its pretrained weights are not cached here and {host} cannot be reached"
        f"{f' ({reason})' if reason else ''}. Connect and run again; or give a file with "
        f"?checkpoint=PATH; or use random weights with ?pretrained=false (torchvision: ?weights=none); or "
        f"copy a filled cache from another machine (HF_HOME for timm, TORCH_HOME for torchvision)"
    )


@contextmanager
def fetching(name: str, url: str) -> Iterator[None]:
    """Turn a connection that breaks inside into a ModelError that says what to do."""
    try:
        yield
    except Exception as error:
        cause = _connection(error)
        if cause is None:
            raise
        raise unreachable(name, url, f"{type(cause).__name__}: {cause}"[:200]) from error


def _connection(error: BaseException) -> BaseException | None:
    """The broken connection behind an error: libraries wrap it several times."""
    seen: BaseException | None = error
    while seen is not None:
        network = (
            type(seen).__module__.partition(".")[0].startswith(("httpx", "httpcore", "requests", "urllib3"))
        )
        named = type(seen).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled")
        if network or named or isinstance(seen, URLError | ConnectionError | TimeoutError | socket.gaierror):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
