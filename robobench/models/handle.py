"""A network made ready to be measured: normalisation inside, eval mode, frozen, answers in a label space.

Outside of the handle pixels are float32 RGB in [0, 1]; the handle alone subtracts the mean and divides by
the standard deviation that the network was trained with.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from robobench.contracts import Loss, Model
from robobench.errors import ModelError, Unsupported, nearest
from robobench.keys import digest
from robobench.models.family import checked_family, family_of
from robobench.models.state import Snapshot, weights_digest
from robobench.types import ImageBatch, LabelSpace, ModelCard, ModelId, View

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Colour = tuple[float, float, float]
ZEROS: Colour = (0.0, 0.0, 0.0)
ONES: Colour = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Described:
    """A network and what has to be known to use it; what a user's factory may return.

    module: takes (b, 3, h, w) float32 and gives logits (b, k). mean, std: of the normalisation it was
    trained with, per RGB channel, in units of pixels in [0, 1]; the default hands pixels on as they
    are. family: vit, cnn, mlp, hybrid or other; None reads it off the module. view: the geometry it was
    trained for, used where a suite says `view: native`. side: the only image side it can take; other
    pixels are resized to it inside the handle (bilinear with antialiasing), and that is recorded. None
    for a network that takes any size. outputs: how many logits it gives, where that is known.
    """

    module: nn.Module
    mean: Colour = ZEROS
    std: Colour = ONES
    family: str | None = None
    view: View | None = None
    side: int | None = None
    outputs: int | None = None


class Handle:
    """A loaded model: what a model source gives to the engine. See contracts.LoadedModel.

    It takes the module over: moves it to the device, makes it float32, sets eval mode and freezes its
    parameters. Called directly it gives the raw outputs; `reading` gives answers in a label space.
    Calls are safe in `torch.inference_mode()`: the network itself never runs in it, so that tensors
    that a module keeps for later calls can still take part in a gradient.
    """

    def __init__(self, name: str, described: Described, device: torch.device | str = "cpu") -> None:
        self.name = name
        self.card = _card(name, described, _prepared(name, described.module, device))
        self.resized: set[tuple[int, int]] = set()  # sizes (h, w) that came and were not the needed one
        self.outputs = described.outputs
        self._module = described.module
        self._side = described.side
        self._device = device
        self._mean = _channels(name, "mean", described.mean, device)
        self._std = _channels(name, "std", described.std, device)
        self._snapshot = Snapshot.of(described.module)

    @property
    def module(self) -> nn.Module:
        """The bare network, for hooks. It sees normalised pixels."""
        return self._module

    def reading(self, space: LabelSpace) -> Model:
        """This model answering in a label space.

        Raises ModelError when its outputs do not fit: at once where their number is known, else in
        the first call.
        """
        if self.outputs is not None:
            _check_outputs(self.name, self.outputs, space)
        return Reading(self, space)

    def at(self, side: int) -> Handle:
        """This model for square images of that side, without resizing them to another one.

        A network that takes any size is itself. One of timm's that can be told a size
        (`set_input_size`) is copied and told it: its position embeddings are resampled, nothing is
        learned anew. Raises Unsupported for any other.
        """
        if self._side in (None, side):
            return self
        if not hasattr(self._module, "set_input_size"):
            raise Unsupported(f"takes images of {self._side}x{self._side} only, {side}x{side} were asked for")
        twin = copy.deepcopy(self._module)
        resample: Any = twin.set_input_size
        try:
            resample(img_size=(side, side))
        except Exception as error:
            raise Unsupported(
                f"cannot be brought to {side}x{side}: {type(error).__name__}: {error}"
            ) from error
        mean, std = (tuple(float(v) for v in c.flatten()) for c in (self._mean, self._std))
        known = self.card
        described = Described(twin, mean, std, known.family, known.view, side, self.outputs)  # type: ignore[arg-type]
        return Handle(self.name, described, self._device)

    def raw(self, pixels: Tensor) -> Tensor:
        """The network's outputs (b, k) float32 for pixels in [0, 1], differentiable in the pixels."""
        import torch

        if not torch.is_inference_mode_enabled():
            return self._forward(pixels)
        with torch.inference_mode(False), torch.no_grad():
            return self._forward(pixels)

    def __call__(self, batch: ImageBatch) -> Tensor:
        return self.raw(batch.pixels)

    def read(self, outputs: Tensor) -> Tensor:
        return outputs

    def gradient(self, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
        """Outputs and the gradient of the summed loss in the pixels. ModelError where there is none."""
        return _gradient(self.name, self.raw, batch, loss)

    @contextmanager
    def taps(self, *names: str) -> Iterator[Mapping[str, Tensor]]:
        """While open, every call leaves the outputs of the named sub-modules in the mapping.

        A sub-module that gives a tuple (as nn.MultiheadAttention does) leaves its first tensor; one
        that runs several times in a call leaves its last output. Raises ModelError for an unknown name.
        """
        modules = dict(self._module.named_modules())
        for name in names:
            if name not in modules:
                raise ModelError(f"{self.name} has no sub-module {name!r}; {nearest(name, modules)}")
        seen: dict[str, Tensor] = {}
        hooks = [modules[n].register_forward_hook(_keeper(self.name, n, seen)) for n in names]
        try:
            yield MappingProxyType(seen)
        finally:
            for hook in hooks:
                hook.remove()

    def check_frozen(self) -> None:
        """Raise ModelError unless every module is in eval mode and every weight and buffer as loaded."""
        training = [n or "the model itself" for n, m in self._module.named_modules() if m.training]
        if training:
            raise ModelError(
                f"{self.name} left eval mode ({_some(training)}): dropout and batch statistics would change "
                f"its answers; call .eval() and do not override train()"
            )
        changed = self._snapshot.changed(self._module)
        if changed:
            raise ModelError(
                f"{self.name} was changed since it was loaded ({_some(changed)}): a forward pass that "
                f"writes to weights or buffers gives answers that depend on what was seen before"
            )

    def _forward(self, pixels: Tensor) -> Tensor:
        import torch

        x = self._sized(pixels.to(self._device, torch.float32))
        return _logits(self.name, self._module((x - self._mean) / self._std), len(pixels))

    def _sized(self, pixels: Tensor) -> Tensor:
        from torch.nn.functional import interpolate

        size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
        if self._side is None or size == (self._side, self._side):
            return pixels
        self.resized.add(size)
        target = (self._side, self._side)
        return interpolate(pixels, target, mode="bilinear", align_corners=False, antialias=True)


@dataclass(frozen=True, eq=False)
class Reading:
    """A model answering in a label space. See contracts.Model."""

    handle: Handle
    space: LabelSpace

    @property
    def module(self) -> nn.Module:
        return self.handle.module

    def __call__(self, batch: ImageBatch) -> Tensor:
        return self._answers(batch.pixels)

    def gradient(self, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
        return _gradient(self.handle.name, self._answers, batch, loss)

    @contextmanager
    def taps(self, *names: str) -> Iterator[Mapping[str, Tensor]]:
        with self.handle.taps(*names) as seen:
            yield seen

    def read(self, outputs: Tensor) -> Tensor:
        _check_outputs(self.handle.name, int(outputs.shape[1]), self.space)
        return self.space.answers(outputs.float())

    def _answers(self, pixels: Tensor) -> Tensor:
        return self.read(self.handle.raw(pixels))


def wrap(
    module: nn.Module,
    *,
    name: str,
    mean: Colour | None = None,
    std: Colour | None = None,
    family: str | None = None,
    view: View | None = None,
) -> tuple[ModelId, Handle]:
    """A network in memory as a model: its identity and its handle.

    The handle works on a deep copy where the module lives now, so the caller's module keeps its mode,
    its gradients and its training; later training does not reach the copy. Without `mean` and `std` the
    module gets pixels in [0, 1]. The identity is the weights' digest, the class's qualified name, mean
    and std: code that changes under the same class name is not seen. Raises ModelError.
    """
    from torch import nn

    if not isinstance(module, nn.Module):
        raise ModelError(f"{name}: expected a torch.nn.Module, got {type(module).__name__}")
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    try:
        twin = copy.deepcopy(module)
    except RuntimeError as error:
        raise ModelError(
            f"{name}: the module cannot be copied ({error}); tensors that it keeps as attributes have to "
            f"be detached, or registered with register_buffer"
        ) from error
    first = next(iter([*module.parameters(), *module.buffers()]), None)
    given = Described(twin, mean or ZEROS, std or ONES, family, view)
    handle = Handle(name, given, "cpu" if first is None else first.device)
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    key = digest("model", "memory", handle.card.weights, kind, list(given.mean), list(given.std))
    return ModelId(name, f"memory:{name}", key, family), handle


def loaded(model: ModelId, described: Described, device: torch.device | str) -> Handle:
    """The handle of an identified model. A family that the user named goes before any other."""
    if model.family is not None:
        described = replace(described, family=model.family)
    return Handle(model.name, described, device)


@contextmanager
def seeded(key: str) -> Iterator[None]:
    """Inside, torch's generators start from a model's identity; afterwards they go on as before."""
    import torch

    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(digest(key)[:15], 16))
        yield


def _prepared(name: str, module: Any, device: torch.device | str) -> nn.Module:
    from torch import nn

    if not isinstance(module, nn.Module):
        raise ModelError(f"{name}: expected a torch.nn.Module, got {type(module).__name__}")
    return module.to(device).float().eval().requires_grad_(False)


def _card(name: str, described: Described, module: nn.Module) -> ModelCard:
    family = described.family
    return ModelCard(
        family=checked_family(family, where=name) if family is not None else family_of(module),
        parameters=sum(p.numel() for p in module.parameters()),
        weights=weights_digest(module),
        input_size=described.side or (described.view.side if described.view else None),
        view=described.view,
    )


def _channels(name: str, what: str, values: Colour, device: torch.device | str) -> Tensor:
    import torch

    given = torch.tensor([float(v) for v in values], dtype=torch.float32)
    good = given.isfinite().all() and (what == "mean" or bool((given > 0).all()))
    if given.shape != (3,) or not good:
        rule = "three numbers" if what == "mean" else "three numbers above 0"
        raise ModelError(f"{name}: {what}: expected {rule}, one per RGB channel, got {tuple(values)!r}")
    return given.view(1, 3, 1, 1).to(device)


def _logits(name: str, output: Any, size: int) -> Tensor:
    """A network's output as float32 (b, k). Objects with `.logits`, as transformers gives, are opened."""
    import torch

    found = getattr(output, "logits", output)
    if not isinstance(found, torch.Tensor):
        raise ModelError(
            f"{name} returned a {type(output).__name__}; expected a tensor of logits (b, classes), or an "
            f"object with .logits: let the factory return a module that gives one tensor"
        )
    if found.ndim != 2 or found.shape[0] != size or not found.is_floating_point():
        raise ModelError(
            f"{name} returned {str(found.dtype).removeprefix('torch.')} {tuple(found.shape)} for {size} "
            f"images; expected floating point logits ({size}, classes)"
        )
    return found.float()


def _check_outputs(name: str, outputs: int, space: LabelSpace) -> None:
    if outputs != space.outputs:
        raise ModelError(
            f"{name} has {outputs} outputs, the label space {space.name!r} needs {space.outputs}: choose a "
            f"model with that many classes (?num_classes={space.outputs} with a checkpoint), or the label "
            f"space that it was trained for"
        )


def _gradient(
    name: str, forward: Callable[[Tensor], Tensor], batch: ImageBatch, loss: Loss
) -> tuple[Tensor, Tensor]:
    """Leaves no gradient behind, whatever grad mode the caller is in."""
    import torch

    with torch.inference_mode(False), torch.enable_grad():
        pixels = batch.pixels.detach().clone().requires_grad_(True)
        logits = forward(pixels)
        labels = batch.labels.clone().to(logits.device)
        total = loss(logits, labels).sum()
        found = torch.autograd.grad(total, pixels, allow_unused=True)[0] if total.requires_grad else None
    if found is None:
        raise ModelError(
            f"{name}: its outputs do not depend differentiably on the pixels, so it has no gradient: look "
            f"for torch.no_grad, .detach, .item, .numpy or rounding in its forward pass"
        )
    return logits.detach(), found.float()


def _keeper(model: str, name: str, seen: dict[str, Tensor]) -> Callable[[Any, Any, Any], None]:
    import torch

    def keep(_module: Any, _args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(first, torch.Tensor):
            raise ModelError(
                f"{model}: the sub-module {name!r} gives a {type(output).__name__}, not a tensor"
            )
        seen[name] = first

    return keep


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
