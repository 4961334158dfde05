"""Classification models of torchvision: `torchvision:NAME?weights=NAME`."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

from robobench.errors import BadSpec, ModelError, UnknownName, nearest
from robobench.models.checkpoints import load_checkpoint
from robobench.models.handle import Described, Handle, loaded, seeded
from robobench.models.hub import fetching, reachable, unreachable
from robobench.models.identity import CHECKPOINT, checkpoint_path, identity, model_name, shown, unchanged
from robobench.models.params import literal
from robobench.models.runtime import import_torchvision, version
from robobench.registry import models
from robobench.specs import Spec, parse_spec
from robobench.types import Interpolation, ModelId, View

if TYPE_CHECKING:
    from torch import nn

_OURS = ("weights", CHECKPOINT)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@models.register(version=1)
@dataclass(frozen=True)
class Torchvision:
    """A classification model of torchvision (https://pytorch.org/vision/stable/models.html).

    SPEC: `torchvision:NAME`, with `?weights=` (the name of a set such as IMAGENET1K_V2; default DEFAULT,
    the best one; none gives random weights, the same ones every time), `?checkpoint=PATH`, and any
    parameter of the architecture such as `num_classes=10`. Mean, std and the native view are those of
    the weights, or of the default weights where there are none.

    Raises BadSpec, UnknownName with the nearest names, ModelError for weights that cannot be fetched or
    do not fit.
    """

    def identify(self, spec: Spec, *, allow_code: bool = True) -> ModelId:
        model_name(spec)
        if _weights_name(spec) and CHECKPOINT in spec.params:
            raise BadSpec(f"{shown(spec)}: weights and a checkpoint exclude each other; give one of them")
        return identity(spec, version("torchvision"))

    def load(self, model: ModelId, device: str) -> Handle:
        spec = parse_spec(model.spec)
        unchanged(model, self.identify(spec))
        torchvision = import_torchvision()
        name = _known(torchvision, model_name(spec))
        weights = _weights(torchvision, name, _weights_name(spec))
        params = {k: literal(v) for k, v in spec.params.items() if k not in _OURS}
        with seeded(model.digest):
            module = _created(torchvision, model.name, name, weights, params)
        if path := checkpoint_path(spec):
            load_checkpoint(module, path)
        classes = int(params.get("num_classes") or 1000)
        described = _described(module, weights or _weights(torchvision, name, "DEFAULT"), classes)
        return loaded(model, described, device)

    def list_names(self, pattern: str) -> tuple[str, ...]:
        """The names of classification models that match a shell pattern."""
        found = import_torchvision().models
        return tuple(fnmatch.filter(found.list_models(module=found), pattern))


def _weights_name(spec: Spec) -> str | None:
    default = "none" if CHECKPOINT in spec.params else "DEFAULT"
    name = spec.params.get("weights", default)
    return None if name.lower() == "none" else name


def _known(torchvision: Any, name: str) -> str:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UnknownName(f"torchvision has no classification model {name!r}; {nearest(name, known)}")
    return name


def _weights(torchvision: Any, name: str, wanted: str | None) -> Any:
    """A member of the model's weights enumeration; DEFAULT is None where there are none at all."""
    if wanted is None:
        return None
    known = torchvision.models.get_model_weights(name)
    if wanted not in known.__members__:
        raise UnknownName(
            f"torchvision:{name} has no weights {wanted!r}; {nearest(wanted, known.__members__)}"
        )
    return known[wanted]


def _created(
    torchvision: Any, shown_name: str, name: str, weights: Any, params: Mapping[str, Any]
) -> nn.Module:
    url = weights.url if weights is not None else ""
    if url and not _cached(url) and not reachable(url):
        raise unreachable(shown_name, url)
    try:
        with fetching(shown_name, url):
            module: nn.Module = torchvision.models.get_model(name, weights=weights, **params)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{shown_name}: torchvision cannot build it: {error} (other classes than the weights' need "
            f"?weights=none)"
        ) from error
    return module


def _cached(url: str) -> bool:
    import torch

    return (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name).is_file()


def _described(module: nn.Module, weights: Any, classes: int) -> Described:
    side = getattr(module, "image_size", None)
    fixed = side if isinstance(side, int) else None
    if weights is None:
        return Described(module, _MEAN, _STD, side=fixed, outputs=classes)
    preset = weights.transforms()
    mean, std = tuple(preset.mean), tuple(preset.std)
    return Described(module, mean, std, view=native_view(preset), side=fixed, outputs=classes)


def native_view(preset: Any) -> View | None:
    """The evaluation geometry of torchvision as a View, None where a View cannot say it."""
    interpolation = preset.interpolation.value
    if interpolation not in get_args(Interpolation):
        return None
    return View(resize=preset.resize_size[0], crop=preset.crop_size[0], interpolation=interpolation)
