"""Small models of digits that come with their weights: one of each family, and one that stands attacks.

They take 3x28x28 images. `robobench zoo train` trains them again; how is in robobench/checks/zoo_train.py.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robobench.errors import BadSpec, ModelError, UnknownName, nearest
from robobench.keys import file_digest
from robobench.models.checkpoints import load_checkpoint
from robobench.models.handle import Colour, Described, Handle, loaded, seeded
from robobench.models.identity import CHECKPOINT, checkpoint_path, identity, model_name, shown, unchanged
from robobench.models.runtime import import_timm
from robobench.registry import models
from robobench.specs import Spec, parse_spec
from robobench.types import ModelId, View

if TYPE_CHECKING:
    from torch import Tensor, nn

SIDE = 28  # pixels
CLASSES = 10
MEAN: Colour = (0.5, 0.5, 0.5)
STD: Colour = (0.5, 0.5, 0.5)
WEIGHTS = Path(__file__).with_name("weights")
_ARCHITECTURES = 1  # goes up when the same weights would give other answers
_PATCH = 4  # pixels: 7 x 7 patches


@dataclass(frozen=True)
class ZooCard:
    """What is known of a shipped model; accuracy is on the 1,000 held-out digits, with its 95 % interval."""

    name: str
    family: str
    parameters: int
    accuracy: float
    low: float
    high: float
    n: int


@models.register(version=1)
@dataclass(frozen=True)
class Zoo:
    """A digit classifier that comes with robobench: zoo:vit, :hybrid, :resnet, :mixer, :cnn-robust.

    vit is a ViT (Dosovitskiy et al., 2021) on 4x4 patches with mean pooling and sine-cosine positions;
    hybrid a compact convolutional transformer (Hassani et al., 2021): two convolutions instead of
    patches, sequence pooling; resnet a ResNet of basic blocks (He et al., 2016); mixer an MLP-Mixer
    (Tolstikhin et al., 2021). They are made of timm's blocks. cnn-robust is a plain network of three
    convolutions, adversarially trained (Madry et al., 2018): most of its answers stand linf attacks of
    38/255. All take 28x28 images and were trained on the 4,000 MNIST digits of
    `digits:mnist?split=train`. SPEC parameter: `checkpoint=PATH`, other weights for the same network.

    Raises UnknownName, BadSpec for another parameter, ModelError for weights that do not fit.
    """

    def identify(self, spec: Spec, *, allow_code: bool = True) -> ModelId:
        name = _known(model_name(spec))
        stray = sorted(set(spec.params) - {CHECKPOINT})
        if stray:
            raise BadSpec(f"{shown(spec)}: unknown parameter {stray[0]!r}; {nearest(stray[0], [CHECKPOINT])}")
        content = None if checkpoint_path(spec) else file_digest(_shipped(name))
        return identity(spec, _ARCHITECTURES, content)

    def load(self, model: ModelId, device: str) -> Handle:
        spec = parse_spec(model.spec)
        unchanged(model, self.identify(spec))
        name = _known(model_name(spec))
        with seeded(model.digest):
            module = architecture(name)
        load_checkpoint(module, checkpoint_path(spec) or _shipped(name))
        return loaded(model, described(module, name), device)

    def list_names(self, pattern: str) -> tuple[str, ...]:
        """The names that match a shell pattern."""
        return tuple(fnmatch.filter(NAMES, pattern))


def cards() -> tuple[ZooCard, ...]:
    """The shipped models as their recipe files describe them. Needs no torch."""
    return tuple(_card(name) for name in NAMES)


def architecture(name: str) -> nn.Module:
    """One of the zoo's networks with fresh weights from torch's generator. Raises UnknownName."""
    module: nn.Module = _BUILDERS[_known(name)]()
    return module


def described(module: nn.Module, name: str) -> Described:
    """A network of the zoo with what has to be known to use it."""
    view = View(size=SIDE, interpolation="bilinear")
    return Described(module, MEAN, STD, FAMILIES[name], view, side=SIDE, outputs=CLASSES)


def _vit() -> Any:
    return import_timm().models.vision_transformer.VisionTransformer(
        img_size=SIDE,
        patch_size=_PATCH,
        embed_dim=48,
        depth=4,
        num_heads=2,
        mlp_ratio=2.0,
        num_classes=CLASSES,
        class_token=False,
        global_pool="avg",
    )


def _hybrid() -> Any:
    """A ViT of timm with a convolutional tokenizer (28 -> 14 -> 7 pixels) and sequence pooling."""
    import torch
    from torch import nn

    timm, dim = import_timm(), 48

    class Tokenizer(nn.Sequential):
        num_features = dim

    class SequencePool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = nn.Linear(dim, 1)

        def forward(self, tokens: Tensor) -> Tensor:
            weights = torch.softmax(self.score(tokens), dim=1)
            return (weights * tokens).sum(dim=1)

    def stage(wide: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(wide, out, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]

    def tokens(img_size: int, embed_dim: int, **_: Any) -> Any:
        layers = Tokenizer(*stage(3, dim // 2), *stage(dim // 2, embed_dim))
        grid = (img_size // _PATCH, img_size // _PATCH)
        return timm.layers.HybridEmbed(
            layers, img_size=img_size, feature_size=grid, embed_dim=embed_dim, proj=False
        )

    model = timm.models.vision_transformer.VisionTransformer(
        img_size=SIDE,
        embed_dim=dim,
        depth=2,
        num_heads=2,
        mlp_ratio=2.0,
        num_classes=CLASSES,
        class_token=False,
        global_pool="avg",
        embed_layer=tokens,
    )
    model.attn_pool = SequencePool()
    return model


def _resnet() -> Any:
    """Four stages of one basic block at 14, 7, 4 and 2 pixels; no pooling in the stem."""
    from torch import nn

    resnet = import_timm().models.resnet
    model = resnet.ResNet(
        resnet.BasicBlock,
        (1, 1, 1, 1),
        num_classes=CLASSES,
        stem_type="deep",
        stem_width=12,
        channels=(24, 48, 64, 96),
    )
    model.maxpool = nn.Identity()
    return model


def _mixer() -> Any:
    return import_timm().models.mlp_mixer.MlpMixer(
        img_size=SIDE,
        patch_size=_PATCH,
        embed_dim=64,
        num_blocks=4,
        mlp_ratio=(0.5, 2.0),
        num_classes=CLASSES,
    )


def _plain() -> Any:
    """Three convolutions, no normalisation layers: what adversarial training leaves is seen undisturbed."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * (SIDE // 4) ** 2, 48),
        nn.ReLU(),
        nn.Linear(48, CLASSES),
    )


_BUILDERS: Mapping[str, Callable[[], Any]] = {
    "vit": _vit,
    "hybrid": _hybrid,
    "resnet": _resnet,
    "mixer": _mixer,
    "cnn-robust": _plain,
}
NAMES = tuple(_BUILDERS)
FAMILIES: Mapping[str, str] = {
    "vit": "vit",
    "hybrid": "hybrid",
    "resnet": "cnn",
    "mixer": "mlp",
    "cnn-robust": "cnn",
}


def _known(name: str) -> str:
    if name not in NAMES:
        raise UnknownName(f"the zoo has no model {name!r}; {nearest(name, NAMES)}")
    return name


def _shipped(name: str) -> Path:
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise ModelError(
            f"zoo:{name}: its weights are missing from this installation; install robobench again"
        )
    return path


def _card(name: str) -> ZooCard:
    path = WEIGHTS / f"{name}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        held = found["held_out"]
        return ZooCard(
            name=name,
            family=found["family"],
            parameters=found["parameters"],
            accuracy=held["accuracy"],
            low=held["low"],
            high=held["high"],
            n=held["n"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"zoo:{name}: {path.name} is missing or damaged ({error}); install robobench again"
        ) from error
