"""How far a changed image is from the one it was made of: PSNR and SSIM, one number an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robobench.colour import grey
from robobench.filters import gaussian_taps, separable

if TYPE_CHECKING:
    from torch import Tensor

_WINDOW = 5  # pixels on each side of the middle: 11 x 11
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # for pixels in [0, 1]


def psnr(changed: Tensor, clean: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, (b,) float64 in dB, infinite for equal ones.

    Formula: -10 log10(mean over all values of (changed - clean)^2), for pixels (b, 3, h, w) in [0, 1].

    >>> import torch
    >>> clean = torch.zeros(1, 3, 4, 4)
    >>> psnr(clean + 0.1, clean).round(decimals=4).tolist()
    [20.0]
    """
    import torch

    gap = (changed - clean).flatten(1)
    error = torch.stack([one.double().square().mean() for one in gap])
    return -10.0 * error.log10()


def ssim(changed: Tensor, clean: Tensor) -> Tensor:
    """Structural similarity of each image, (b,) float64 in [-1, 1], 1 for equal ones.

    Wang et al., Image Quality Assessment, IEEE TIP 13 (2004), equation 13: on luma, 11 x 11 Gaussian
    weights of 1.5 pixels, K1 = 0.01 and K2 = 0.03, averaged where the window lies inside the image. NaN
    for images of fewer than 11 pixels on a side.

    >>> import torch
    >>> image = torch.rand(1, 3, 16, 16)
    >>> ssim(image, image).tolist()
    [1.0]
    """
    import torch

    x, y = grey(changed), grey(clean)
    height, width = int(x.shape[2]), int(x.shape[3])
    if min(height, width) < 2 * _WINDOW + 1:
        return torch.full((len(x),), torch.nan, dtype=torch.float64)
    taps = gaussian_taps(_SIGMA, (_WINDOW + 0.25) / _SIGMA)
    inside = (..., slice(_WINDOW, height - _WINDOW), slice(_WINDOW, width - _WINDOW))

    def local(values: Tensor) -> Tensor:
        return separable(values, taps, taps, border="mirror")[inside].double()

    mean_x, mean_y = local(x), local(y)
    spread_x = local(x * x) - mean_x**2
    spread_y = local(y * y) - mean_y**2
    together = local(x * y) - mean_x * mean_y
    map_ = ((2 * mean_x * mean_y + _C1) * (2 * together + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (spread_x + spread_y + _C2)
    )
    return torch.stack([one.mean() for one in map_]).cpu()
