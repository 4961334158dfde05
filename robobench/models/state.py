"""The tensors of a module: their digest, and the proof that nobody changed them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robobench.errors import ModelError
from robobench.keys import LENGTH

if TYPE_CHECKING:
    from torch import Tensor, nn

_TOLERANCE = 1e-6  # of a tensor's norm between two readings; one reading differs by about 1e-15


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, the very tensors that the module computes with."""
    import torch

    held = module.state_dict(keep_vars=True)
    return {k: v for k, v in held.items() if isinstance(v, torch.Tensor)}


def weights_digest(module: nn.Module) -> str:
    """The key of a module's weights: SHA-256 over names in order, with dtype, shape and bytes of each.

    Raises ModelError for a lazy module whose weights do not exist yet.
    """
    import torch

    hasher = hashlib.sha256()
    for name, tensor in sorted(tensors(module).items()):
        if torch.nn.parameter.is_lazy(tensor):
            raise ModelError(
                f"{name}: a lazy layer without weights yet; run the model once on an image before giving it"
            )
        hasher.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()[:LENGTH]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What is remembered of a module's tensors: the object, its version counter and its norm.

    Counters see ordinary in-place changes; norms see those that go around them, such as the running
    statistics that batch normalisation writes.
    """

    held: dict[str, tuple[Tensor, int]]
    norms: Tensor

    @classmethod
    def of(cls, module: nn.Module) -> Snapshot:
        found = tensors(module)
        return cls({k: (t, t._version) for k, t in found.items()}, _norms(found))

    def changed(self, module: nn.Module) -> list[str]:
        """The names of tensors that were replaced, removed, added or written to."""
        import torch

        found = tensors(module)
        if found.keys() != self.held.keys():
            return sorted(found.keys() ^ self.held.keys())
        written = [k for k, (t, v) in self.held.items() if found[k] is not t or t._version != v]
        norms = _norms({k: found[k] for k in self.held})
        same = torch.isclose(norms, self.norms, rtol=_TOLERANCE, atol=0.0, equal_nan=True)
        moved = [k for k, s in zip(self.held, same.tolist(), strict=True) if not s]
        return sorted({*written, *moved})


def _norms(found: dict[str, Tensor]) -> Tensor:
    """The 2-norm of each tensor, on the CPU."""
    import torch

    if not found:
        return torch.zeros(0)
    with torch.no_grad():
        return torch.stack([_norm(t) for t in found.values()]).cpu().double()


def _norm(tensor: Tensor) -> Tensor:
    """Summed in float64, or in float32 where the device has no float64."""
    import torch

    wide = torch.float32 if tensor.device.type == "mps" else torch.float64
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point():
        tensor = tensor.to(wide)
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=wide)
    return norm
