"""Classification: which classes came first, how likely each was, and where the right answer stood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.types import OUTLIER_HIT

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

KEPT = 5  # best classes that are recorded
LOGITS = "logits"
RANKS = ("label", *(f"top{i + 1}" for i in range(KEPT)), "hit")
PROBABILITIES = ("logp_top1", "logp_top2", "logp_label", "sum_p2")


@dataclass(frozen=True)
class Classification:
    """One answer among the classes of a label space.

    Columns: `label`; `top1` ... `top5`, the best classes in order, -1 where there are fewer; `hit`, how
    many classes stand before the right one (0: right); `logp_top1`, `logp_top2`, `logp_label`, natural
    logarithms of softmax probabilities; `sum_p2`, the sum of their squares (with `logp_label` it gives
    the Brier score). Equal logits stand in the order of their classes, so a record has one value on
    every device. A row with any NaN or infinite logit has -1 in all ranks and NaN in all probabilities.

    Where an image has several acceptable classes `hit` counts those before the best of them, and
    `logp_label` is the logarithm of their summed probability. Where no class is right (label -1) `hit` is
    -2 and `logp_label` NaN. logits: also keep `logits`, one float32 for every class of the label space.
    """

    logits: bool = False

    name: ClassVar[str] = "classification"

    def record(
        self, logits: Tensor, labels: Tensor, accepted: Tensor | None = None
    ) -> Mapping[str, NDArray[Any]]:
        """Columns of the rows: logits (b, classes), labels (b,) -> one value per image each.

        accepted: (b, k) every acceptable class of each image, filled up with -1; None: the labels.

        Probabilities come from a float64 softmax (float32 on devices without it), stored as float32.
        """
        import torch

        wide = torch.float32 if logits.device.type == "mps" else torch.float64
        sound = logits.isfinite().all(dim=1)
        scores = torch.where(sound[:, None], logits.detach(), 0.0).to(wide)
        labels = labels.to(logits.device).long()
        best = _best(scores)
        right = (labels[:, None] if accepted is None else accepted.to(logits.device)).long()
        hit = torch.stack([_standing(scores, one) for one in right.unbind(dim=1)]).amin(dim=0)
        outlier = (right < 0).all(dim=1)
        hit[outlier] = OUTLIER_HIT
        logp = scores.log_softmax(dim=1)
        own = logp.gather(1, right.clamp_min(0)).masked_fill(right < 0, -torch.inf).logsumexp(dim=1)
        own[outlier] = torch.nan
        kept = logp.gather(1, best[:, :2])
        second = kept[:, 1] if kept.shape[1] > 1 else torch.full_like(kept[:, 0], torch.nan)
        likely = [kept[:, 0], second, own, logp.exp().square().sum(dim=1)]
        ranks = torch.full((len(labels), KEPT + 1), -1, dtype=torch.int64, device=scores.device)
        ranks[:, : best.shape[1]] = best
        ranks[:, KEPT] = hit
        ranks[~sound] = -1
        spread = torch.stack(likely, dim=1)
        spread[~sound] = torch.nan
        whole = torch.cat([labels[:, None], ranks], dim=1).cpu().numpy().astype(np.int32)
        shares = spread.float().cpu().numpy()
        columns = {n: np.ascontiguousarray(whole[:, i]) for i, n in enumerate(RANKS)}
        columns |= {n: np.ascontiguousarray(shares[:, i]) for i, n in enumerate(PROBABILITIES)}
        return columns | ({LOGITS: logits.detach().float().cpu().numpy()} if self.logits else {})

    def fallen(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(b,) bool: the answer is wrong, or not finite. The same answer that `record` writes down."""
        import torch

        sound = logits.isfinite().all(dim=1)
        scores = torch.where(sound[:, None], logits.detach(), 0.0)
        return ~(sound & (_first(scores) == labels.to(logits.device)))

    def schema(self) -> pa.Schema:
        """The Arrow schema of the columns, in the order of `record`."""
        import pyarrow as pa

        fields = [(n, pa.int32()) for n in RANKS] + [(n, pa.float32()) for n in PROBABILITIES]
        return pa.schema(fields + ([(LOGITS, pa.list_(pa.float32()))] if self.logits else []))


def _standing(scores: Tensor, classes: Tensor) -> Tensor:
    """How many classes stand before one: (b, classes), (b,) -> (b,); all of them where there is none."""
    import torch

    own = scores.gather(1, classes.clamp_min(0)[:, None])
    earlier = torch.arange(scores.shape[1], device=scores.device) < classes[:, None]
    before = ((scores > own) | ((scores == own) & earlier)).sum(dim=1)
    return torch.where(classes < 0, scores.shape[1], before)


def _first(scores: Tensor) -> Tensor:
    """The best class, the first of equals: (b, classes) -> (b,).

    Spelled out, since what `argmax` does with equals is a matter of device and version.
    """
    import torch

    places = torch.arange(scores.shape[1], device=scores.device)
    best = scores == scores.amax(dim=1, keepdim=True)
    return torch.where(best, places, scores.shape[1]).amin(dim=1)


def _best(scores: Tensor) -> Tensor:
    """The best classes in order, at most five: (b, classes) -> (b, <= 5)."""
    import torch

    left = scores.clone()
    found = []
    for _ in range(min(KEPT, scores.shape[1])):
        top = _first(left)
        found.append(top)
        left.scatter_(1, top[:, None], -torch.inf)
    return torch.stack(found, dim=1)
