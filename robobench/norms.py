"""How large a change of an image is, in which direction it points, and how it is brought into a budget.

A change is (b, 3, h, w), in [0, 1] pixel units; each image has a ball of its own, of radius eps: a number, or
(b, 1, 1, 1). Norms: `linf` the largest change of a channel of a pixel, `l2` the Euclidean length of all of
them, `l1` the sum of their sizes. What an image gets does not depend on the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Norm = Literal["linf", "l2", "l1"]

_TINY = 1e-30  # far below any length that matters; keeps 0 / 0 away
_ROUNDING = 2.0**-25  # the most by which float32 rounds a pixel in [0, 1]


def per_image(values: Tensor) -> Tensor:
    """One value for each image, (b,), as it meets pixels: (b, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def length(change: Tensor, norm: str) -> Tensor:
    """The length of each image's change, (b, 1, 1, 1), never 0 but at least 1e-30.

    In float64, so that a projected change does not exceed its radius; in float32 on MPS, which has none.
    """
    import torch

    size: Tensor = torch.linalg.vector_norm(
        change, ord=float(norm[1:]), dim=(1, 2, 3), keepdim=True, dtype=_fine(change)
    )
    return size.clamp_(min=_TINY)


def direction(change: Tensor, norm: str) -> Tensor:
    """Each image's change at length 1; where it is 0 everywhere it stays 0.

    Scaled by its largest entry first: the squares of a confident model's gradients are too small for
    float32, and such a model would look robust.
    """
    scaled = change / change.abs().amax((1, 2, 3), keepdim=True).clamp_(min=_TINY)
    return scaled / length(scaled, norm).to(scaled.dtype)


def steepest(gradient: Tensor, norm: str, share: float | Tensor = 0.01) -> Tensor:
    """The step of length 1 along which a loss with this gradient rises most; 0 where the gradient is 0.

    linf: the signs. l2: the direction. l1: the signs of the largest entries, all of the same size and 1
    together. That is a `share` of all of them, a number or (b,): the one largest would rise most, but
    needs as many steps as there are pixels to change. Entries as large as the smallest of them belong to
    them too; those that are 0 never do.
    """
    import torch

    if norm == "linf":
        return gradient.sign()
    if norm == "l2":
        return direction(gradient, "l2")
    size = gradient.abs().flatten(1)
    n = size.shape[1]
    skipped = ((1 - torch.as_tensor(share, device=size.device)) * n).long().clamp(0, n - 1)
    least = size.sort(dim=1).values.gather(1, skipped.expand(len(size))[:, None])
    signs = gradient.sign() * (size >= least).view_as(gradient)
    return signs / signs.abs().sum((1, 2, 3), keepdim=True).clamp_(min=1)


def project(change: Tensor, norm: str, eps: float | Tensor) -> Tensor:
    """The nearest change of length eps or less; for `linf` and `l2`, whose [0, 1] can be cut afterwards."""
    import torch

    radius: Any = eps
    if norm == "linf":
        return torch.clamp(change, -radius, radius)
    if norm == "l2":
        shorter: Tensor = (radius / length(change, "l2")).clamp_(max=1)
        return change * shorter.to(change.dtype)
    raise ValueError(f"project: expected linf or l2, got {norm!r}; project_l1 needs the images too")


def project_l1(images: Tensor, change: Tensor, eps: float | Tensor) -> Tensor:
    """The change nearest to the given one that has an l1 length of eps or less and keeps images in [0, 1].

    Every entry is made smaller by the same amount, but not beyond 0 and at least so far that the pixel is
    in range. As the amount grows, the length falls in straight pieces that end where an entry leaves its
    limit or arrives at 0; the piece on which it passes eps gives the amount.

    Source: Croce and Hein, Mind the Box: l1-APGD for Sparse Adversarial Attacks on Image Classifiers, ICML
    2021, proposition 2.1.
    """
    import torch

    size = change.abs().flatten(1).to(_fine(change))
    room = torch.where(change > 0, 1 - images, images).flatten(1).to(size.dtype)
    radius = torch.as_tensor(eps, dtype=size.dtype, device=size.device).flatten().expand(len(size))
    kept = torch.minimum(size, room)
    far = (kept.sum(dim=1) > radius).nonzero()[:, 0]
    if len(far):
        less = _amount(size[far], room[far], kept[far].sum(dim=1), radius[far])
        kept[far] = torch.minimum((size[far] - less[:, None]).clamp_(min=0), room[far])
    return kept.view_as(change).to(change.dtype) * change.sign()


def bounded(images: Tensor, change: Tensor, norm: str, eps: float | Tensor) -> Tensor:
    """The pixels of the images after a change that was brought into the ball and into [0, 1].

    The nearest such pixels under linf and l1; under l2 the change is scaled to the ball and then cut.
    """
    if norm != "l1":
        return (images + project(change, norm, eps)).clamp_(0, 1)
    pixels = (images + project_l1(images, change, eps)).clamp_(0, 1)
    return _without_rounding(images, pixels, eps)


def _amount(size: Tensor, room: Tensor, whole: Tensor, radius: Tensor) -> Tensor:
    """By how much (b,) entries shrink, so that their sum falls from `whole` to `radius`."""
    import torch

    n = size.shape[1]
    points, order = torch.cat([(size - room).clamp_(min=0), size], dim=1).sort(dim=1)
    shrinking = torch.where(order < n, 1, -1).cumsum(dim=1)[:, :-1]  # entries between two points
    falls = (points.diff(dim=1) * shrinking).cumsum(dim=1)
    wanted = (whole - radius)[:, None]
    piece = (falls < wanted).sum(dim=1, keepdim=True).clamp_(max=2 * n - 2)
    past = falls.gather(1, piece) - wanted  # how much too far the end of that piece is
    rate = shrinking.gather(1, piece).clamp_(min=1)
    return (points.gather(1, piece + 1) - past / rate)[:, 0]


def _without_rounding(images: Tensor, pixels: Tensor, eps: float | Tensor) -> Tensor:
    """Rounding of many pixels adds up under l1: where it went over the radius, a little less is changed."""
    import torch

    change = pixels - images
    reached = length(change, "l1")
    spare = (change != 0).sum((1, 2, 3), keepdim=True) * _ROUNDING
    shorter = ((eps - spare).clamp_(min=0) / reached).to(change.dtype)
    return torch.where(reached > eps, (images + change * shorter).clamp_(0, 1), pixels)


def _fine(change: Tensor) -> Any:
    import torch

    return torch.float32 if change.device.type == "mps" else torch.float64
