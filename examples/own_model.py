"""The shortest useful way to bring your own model: a function that returns a torch.nn.Module.

    robobench run quickstart --model 'examples/own_model.py:plain?width=32'

A factory that returns a bare module gets RGB pixels in [0, 1]; `described` shows how to say more. Arguments
come from the command line and are converted by their annotations. Add `&checkpoint=weights.safetensors` to
load trained weights; without it these networks guess.
"""

from torch import nn

from robobench.models.handle import Described
from robobench.types import View


def plain(width: int = 16, classes: int = 10) -> nn.Module:
    """A small convolutional network on pixels in [0, 1]."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, classes),
    )


def described(width: int = 16) -> Described:
    """The same network, normalised as it was trained and with the image size it was trained for."""
    return Described(
        plain(width),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        view=View(size=28),
    )
