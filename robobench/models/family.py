"""What kind of network a module is, told from its parts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from robobench.errors import ModelError, nearest

if TYPE_CHECKING:
    from torch import nn

FAMILIES = ("vit", "cnn", "mlp", "hybrid", "other")
_ATTENTION = re.compile(r"attention|attn|mhsa|multihead", re.IGNORECASE)
_NOT_TOKENS = re.compile(r"channel|spatial|cbam|pool|squeeze|split|selective", re.IGNORECASE)


def checked_family(family: str, *, where: str) -> str:
    """A family that the user named. Raises ModelError for an unknown one."""
    if family not in FAMILIES:
        raise ModelError(f"{where}: unknown family {family!r}; {nearest(family, FAMILIES)}")
    return family


def family_of(module: nn.Module) -> str:
    """vit, cnn, mlp, hybrid or other.

    Attention between positions makes a vit, spatial convolutions a cnn, both a hybrid, linear layers
    alone an mlp. Cutting into patches (a convolution whose stride is its kernel) is a linear map and
    counts as none of them. Attention written without a module of its own cannot be seen: the user can
    name the family.
    """
    from torch import nn

    attention = any(_attends(m) for m in module.modules())
    convolution = any(_mixes_space(m) for m in module.modules())
    if attention:
        return "hybrid" if convolution else "vit"
    if convolution:
        return "cnn"
    return "mlp" if any(isinstance(m, nn.Linear) for m in module.modules()) else "other"


def _attends(module: nn.Module) -> bool:
    name = type(module).__name__
    return bool(_ATTENTION.search(name)) and not _NOT_TOKENS.search(name)


def _mixes_space(module: nn.Module) -> bool:
    from torch import nn

    if not isinstance(module, nn.Conv2d):
        return False
    return max(module.kernel_size) > 1 and tuple(module.kernel_size) != tuple(module.stride)
