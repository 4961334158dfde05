"""Weights from a file, read without running anything that the file names."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robobench.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

_WRAPPERS = ("state_dict", "model")  # in this order, when a file holds several
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_LISTED = 8


def load_checkpoint(module: nn.Module, path: Path) -> None:
    """Fill a module with the weights of a file; every name has to fit.

    Accepted are `.safetensors` files and what `torch.save(model.state_dict(), ...)` writes, also inside
    `{"state_dict": ...}` or `{"model": ...}`, and with the prefixes `module.` (DataParallel) or
    `_orig_mod.` (torch.compile) on every name. Raises ModelError for anything else, and for missing,
    unexpected and misshapen tensors, listing them.
    """
    found = read_checkpoint(path)
    wanted = module.state_dict()
    complaints = [
        *_listed("missing", sorted(wanted.keys() - found.keys())),
        *_listed("unexpected", sorted(found.keys() - wanted.keys())),
        *_listed("of another shape", _misshapen(wanted, found)),
    ]
    if complaints:
        raise ModelError(
            f"{path.name}: the checkpoint does not fit {type(module).__name__}: {'; '.join(complaints)}. "
            f"Check the architecture and num_classes; nothing is loaded in part"
        )
    module.load_state_dict(found)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, wrappers and prefixes taken off. Raises ModelError."""
    content = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    return _without_prefixes(_tensors(path, content))


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path.name}: not a readable safetensors file: {error}") from None


def _torch(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name}: refused, because this pickle holds more than tensors and loading it would run "
            f"code that it names ({_first_line(error)}). If you trust it, save its weights alone, with "
            f"`safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')` or "
            f"`torch.save(model.state_dict(), 'weights.pt')`, and give that file"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path.name}: not a readable checkpoint ({type(error).__name__}: {_first_line(error)}); "
            f"expected safetensors, or what torch.save(model.state_dict(), ...) writes"
        ) from None


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    import torch

    if not isinstance(content, Mapping):
        raise ModelError(
            f"{path.name}: expected a mapping from names to tensors, got {type(content).__name__}; "
            f"save model.state_dict()"
        )
    strays = sorted(str(k) for k, v in content.items() if not isinstance(v, torch.Tensor))
    if strays or not content:
        what = f"these entries are none: {', '.join(strays[:_LISTED])}" if strays else "it is empty"
        raise ModelError(
            f"{path.name}: expected tensors by name, alone or under 'state_dict' or 'model'; {what}"
        )
    return {str(k): v for k, v in content.items()}


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A wrapper puts its prefix on every name; a name that merely starts alike is left alone."""
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in tensors)), None):
        tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
    return tensors


def _misshapen(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    both = sorted(wanted.keys() & found.keys())
    return [
        f"{k} {tuple(found[k].shape)} where the model has {tuple(wanted[k].shape)}"
        for k in both
        if wanted[k].shape != found[k].shape
    ]


def _listed(what: str, names: Iterable[str]) -> list[str]:
    some = list(names)
    if not some:
        return []
    more = f" and {len(some) - _LISTED} more" if len(some) > _LISTED else ""
    return [f"{what}: {', '.join(some[:_LISTED])}{more}"]


def _first_line(error: Exception) -> str:
    """The line that says what is wrong; the others advise switching the check off."""
    lines = str(error).strip().splitlines() or [""]
    named = [line.strip() for line in lines if "Unsupported" in line or "GLOBAL" in line]
    return (named or lines)[0][:200]
