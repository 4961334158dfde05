"""Models of the timm library: `timm:NAME?key=value&...`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from robobench.errors import BadSpec, ModelError, RobobenchError, UnknownName, nearest
from robobench.models.checkpoints import load_checkpoint
from robobench.models.handle import Described, Handle, loaded, seeded
from robobench.models.hub import fetching, reachable, unreachable
from robobench.models.identity import CHECKPOINT, checkpoint_path, identity, model_name, shown, unchanged
from robobench.models.params import literal
from robobench.models.runtime import import_timm, version
from robobench.registry import models
from robobench.specs import Spec, flag, parse_spec
from robobench.types import Interpolation, ModelId, View

if TYPE_CHECKING:
    from torch import nn

_OURS = ("pretrained", CHECKPOINT)
_REFUSED = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "features_only")
_FILES = ("model.safetensors", "pytorch_model.bin")


@models.register(version=1)
@dataclass(frozen=True)
class Timm:
    """A model of timm (R. Wightman, https://github.com/huggingface/pytorch-image-models).

    SPEC: `timm:NAME`, with `?pretrained=` (default true; false gives random weights, the same ones every
    time), `?checkpoint=PATH` (a file of weights instead of timm's), and any parameter of
    `timm.create_model` or the architecture, such as `num_classes=10` or `img_size=64`; true, false, none
    and numbers are read as such. With `num_classes` beside pretrained weights the classifier is random.
    Mean, std and the native view (crop_pct, interpolation, input size) are timm's own.

    Raises BadSpec for a name or parameter that could lead to a file, UnknownName with the nearest names,
    ModelError for weights that cannot be fetched or do not fit.
    """

    def identify(self, spec: Spec, *, allow_code: bool = True) -> ModelId:
        model_name(spec)
        _wants_pretrained(spec)
        for name in _REFUSED:
            if name in spec.params:
                raise BadSpec(
                    f"{shown(spec)}: {name!r} cannot be given here; for weights use ?checkpoint=PATH"
                )
        return identity(spec, version("timm"))

    def load(self, model: ModelId, device: str) -> Handle:
        spec = parse_spec(model.spec)
        unchanged(model, self.identify(spec))
        timm = import_timm()
        name = _known(timm, model_name(spec))
        params = {k: literal(v) for k, v in spec.params.items() if k not in _OURS}
        with seeded(model.digest):
            module = _created(timm, model.name, name, _wants_pretrained(spec), params)
        if path := checkpoint_path(spec):
            load_checkpoint(module, path)
        return loaded(model, _described(module, params.get("img_size")), device)

    def list_names(self, pattern: str) -> tuple[str, ...]:
        """The names that match a shell pattern: architectures, with a dot in it also those with weights."""
        timm = import_timm()
        return tuple(timm.list_pretrained(pattern) if "." in pattern else timm.list_models(pattern))


def _wants_pretrained(spec: Spec) -> bool:
    given = spec.params.get("pretrained")
    pretrained = flag(given, where=f"{shown(spec)}: pretrained") if given is not None else None
    if pretrained and CHECKPOINT in spec.params:
        raise BadSpec(f"{shown(spec)}: pretrained=true and a checkpoint exclude each other; give one of them")
    return CHECKPOINT not in spec.params if pretrained is None else pretrained


def _known(timm: Any, name: str) -> str:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UnknownName(f"timm has no model {name!r}; {nearest(architecture, timm.list_models())}")
    if tag and name not in (tags := timm.list_pretrained(f"{architecture}.*")):
        raise UnknownName(f"timm has no weights {name!r}; {nearest(name, tags)}")
    return name


def _created(timm: Any, shown_name: str, name: str, pretrained: bool, params: Mapping[str, Any]) -> nn.Module:
    extra: dict[str, Any] = {}
    url = ""
    if pretrained:
        url, file = _weights(timm, shown_name, name)
        extra = {"pretrained_cfg_overlay": {"file": str(file)}} if file else {}
    try:
        with fetching(shown_name, url):
            module: nn.Module = timm.create_model(name, pretrained=pretrained, **params, **extra)
    except RobobenchError:
        raise
    except Exception as error:
        raise ModelError(f"{shown_name}: timm cannot build it: {type(error).__name__}: {error}") from error
    return module


def _weights(timm: Any, shown_name: str, name: str) -> tuple[str, Path | None]:
    """Where timm's weights come from, and the cached file where that place cannot be reached.

    timm's own calls try for most of a minute before they look into the cache.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise ModelError(
            f"{shown_name}: timm has no pretrained weights for it; add ?pretrained=false or ?checkpoint=PATH"
        )
    if not config.hf_hub_id:
        return str(config.url), None
    if not constants.HF_HUB_OFFLINE and reachable(constants.ENDPOINT):
        return constants.ENDPOINT, None
    repository, _, revision = config.hf_hub_id.partition("@")
    for file in (config.hf_hub_filename,) if config.hf_hub_filename else _FILES:
        found = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            return constants.ENDPOINT, Path(found)
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
    raise unreachable(shown_name, constants.ENDPOINT, reason)


def _described(module: nn.Module, img_size: Any) -> Described:
    """`img_size` is what the user asked for: timm's own configuration goes on naming the default."""
    resolve = import_timm().data.resolve_model_data_config
    config = resolve(module, {"img_size": img_size} if img_size else None)
    fixed = getattr(module, "pretrained_cfg", {}).get("fixed_input_size", False)
    _, height, width = config["input_size"]
    outputs = getattr(module, "num_classes", None)
    return Described(
        module,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        view=native_view(config),
        side=height if fixed and height == width else None,
        outputs=outputs if outputs else None,
    )


def native_view(config: Mapping[str, Any]) -> View | None:
    """The evaluation geometry of timm as a View, None where a View cannot say it.

    The short side goes to floor(input / crop_pct), then the centre is cropped; `squash` stretches
    instead. `border` crops and rectangular inputs have no View.
    """
    _, height, width = config["input_size"]
    interpolation = config["interpolation"]
    mode = config.get("crop_mode") or "center"
    if height != width or interpolation not in get_args(Interpolation) or mode == "border":
        return None
    scaled = math.floor(height / (config["crop_pct"] or 0.875))
    if mode == "squash":
        return View(size=scaled, crop=height, interpolation=interpolation)
    return View(resize=scaled, crop=height, interpolation=interpolation)
