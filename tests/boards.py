"""Boards for tests of the leaderboard. Import as `from tests.boards import ...`.

`exact` says hit by hit what every model got right; `realistic` is the size of the quickstart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from robobench.leaderboard.board import BoardInput, DataInfo, ModelInput, ScoreSpec, SuiteInfo
from robobench.types import CellFailure, Condition, Rows, Step

HOSTILE = "<script>alert(1)</script>|`x`[a](javascript:b) =1+1\n\u202e & \"q\" 'r'"


def rows_of(hits: Sequence[int] | NDArray[np.int64], ids: Sequence[str] | None = None) -> Rows:
    """Rows over 10 classes whose right answer stands at `hits` (-1: logits not finite)."""
    hit = np.asarray(hits, np.int32)
    names = np.array(ids if ids is not None else [f"i{k:05d}" for k in range(hit.size)])
    sound = hit >= 0
    return {
        "image_id": names,
        "label": np.zeros(hit.size, np.int32),
        "top1": np.where(sound, np.minimum(hit, 1), -1).astype(np.int32),
        "top5": np.where(sound, 7, -1).astype(np.int32),
        "hit": hit,
        "logp_top1": np.where(sound, np.log(0.6), np.nan).astype(np.float32),
        "logp_label": np.where(sound, np.where(hit == 0, np.log(0.6), np.log(0.1)), np.nan).astype(
            np.float32
        ),
        "sum_p2": np.where(sound, 0.4, np.nan).astype(np.float32),
    }


def condition(name: str, ladder: str | None = None, **more: object) -> Condition:
    """A condition on the base data set, with one step unless it is clean."""
    steps = () if name.startswith("clean") else (Step("perturbation", "occlusion.random", 1, {"grid": 14}),)
    return Condition(**({"name": name, "ladder": ladder or name, "data": "base", "steps": steps} | more))  # type: ignore[arg-type]


def info(
    conditions: Sequence[Condition], metrics: Sequence[str] = ("accuracy.top1",), **more: object
) -> SuiteInfo:
    data = tuple(
        DataInfo(d, f"folder:{d}", 10, "digits", "d" * 20) for d in dict.fromkeys(c.data for c in conditions)
    )
    given = {
        "name": "fake",
        "title": "A fake suite",
        "fingerprint": "f" * 20,
        "metrics": tuple(metrics),
        "score": ScoreSpec("robustness", "mean", "ladders", "accuracy.top1"),
        "data": data,
        "view": "size 28, bilinear",
        "seed": 0,
    }
    return SuiteInfo(**(given | more))  # type: ignore[arg-type]


def exact(
    hits: Mapping[str, Mapping[str, Sequence[int]]],
    conditions: Sequence[Condition],
    metrics: Sequence[str] = ("accuracy.top1",),
    expected: Mapping[str, int] | None = None,
    **more: object,
) -> BoardInput:
    """model -> condition -> ranks of the right answer, image by image."""
    most = {c.name: max((len(m.get(c.name, ())) for m in hits.values()), default=0) for c in conditions}
    models = tuple(
        ModelInput(name=name, rows={c: rows_of(h) for c, h in cells.items()}) for name, cells in hits.items()
    )
    return BoardInput(info(conditions, metrics, **more), tuple(conditions), models, expected or most)


MODELS = (
    ("zoo:vit-tiny-digits", "vit", 1_204_000, 2.6, 0.9),
    ("zoo:cct-digits", "hybrid", 812_000, 2.65, 1.0),
    ("zoo:resnet-digits", "cnn", 1_930_000, 3.0, 1.6),
    ("zoo:mixer-digits", "mlp", 640_000, 2.3, 1.35),
)


def conditions_of_quickstart(limit: int) -> tuple[tuple[Condition, float], ...]:
    """Conditions with how hard each is."""
    found: list[tuple[Condition, float]] = [(Condition("clean", "clean", "base"), 0.0)]

    def ladder(
        name: str, kind: str, along: str, levels: Mapping[str, float], limit: int | None = None
    ) -> None:
        for level, hard in levels.items():
            step = Step(kind, name, 1, {along: level, "grid": 7} if kind != "attack" else {along: level})  # type: ignore[arg-type]
            found.append(
                (
                    Condition(f"{name} {along}={level}", name, "base", (step,), along, level, limit),
                    hard,
                )
            )

    ladder(
        "occlusion.random", "perturbation", "fraction",
        {"0.1": 0.4, "0.3": 1.1, "0.5": 1.9, "0.7": 2.9, "0.9": 4.2},
    )  # fmt: skip
    ladder("shuffle.grid", "perturbation", "grid", {"2x2": 1.6, "4x4": 3.0, "7x7": 3.8, "14x14": 4.4})
    found.append((Condition("shift:digits-uci", "shift:digits-uci", "uci"), 1.9))
    ladder("gradient.fgsm", "attack", "eps", {"8/255": 1.3, "16/255": 2.4, "32/255": 3.6}, limit)
    ladder("gradient.pgd", "attack", "eps", {"8/255": 1.6, "16/255": 3.3, "32/255": 5.8}, limit)
    return tuple(found)


def realistic(models: int = 4, seed: int = 0, n: int = 1000) -> BoardInput:
    """Models of a few strengths on images of many difficulties, under the quickstart's conditions."""
    rng = np.random.Generator(np.random.PCG64(seed))
    graded = conditions_of_quickstart(n // 2)
    sizes = {"base": n, "uci": 1797}
    ids = {d: np.array([f"{d}/{i:05d}.png" for i in range(k)]) for d, k in sizes.items()}
    hard = {d: rng.normal(size=k) * 1.3 for d, k in sizes.items()}
    made = []
    for i in range(models):
        name, family, size, skill, weak = MODELS[i % len(MODELS)]
        name = name if i < len(MODELS) else f"{name}-{i}"
        cells = {}
        for c, level in graded:
            k = min(c.limit or 10**9, sizes[c.data])
            margin = 2.2 * (skill + 0.02 * i - (0.75 + 0.25 * weak) * level * 0.9 - 0.55 * hard[c.data][:k])
            cells[c.name] = _answers(rng, margin + rng.normal(size=k), ids[c.data][:k])
        made.append(
            ModelInput(
                name=name,
                rows=cells,
                family=family,
                parameters=size,
                citation="https://example.org/paper" if i == 0 else None,
                weights=f"{i:020x}",
                provenance={"device": "cpu", "precision": "float32", "time": "2026-11-22T10:00:00Z"},
            )
        )
    suite = info(
        [c for c, _ in graded],
        ("accuracy.top1", "accuracy.top5", "calibration.ece"),
        name="quickstart",
        title="Quickstart: handwritten digits",
        description="Small models trained on MNIST digits, under occlusion, patch shuffling, a shift to UCI "
        "digits and two gradient attacks.",
        data=(
            DataInfo("base", "digits:mnist?split=test", n, "digits", "1f" * 10),
            DataInfo("uci", "digits:uci", 1797, "digits", "2e" * 10),
        ),
        fingerprint="8c6f31c0a3de0b6d2f11",
        command="robobench run quickstart",
        versions={"robobench": "0.1.0", "torch": "2.15.0", "timm": "1.0.31"},
        hardware="x86_64, 2 cores",
        date="2026-11-22",
    )
    return BoardInput(
        suite, tuple(c for c, _ in graded), tuple(made),
        {c.name: min(c.limit or 10**9, sizes[c.data]) for c, _ in graded},
    )  # fmt: skip


def _answers(rng: np.random.Generator, margin: NDArray[np.float64], ids: NDArray[np.str_]) -> Rows:
    """Rows of a ten-class model whose right logit stands `margin` above the usual others."""
    logits = rng.normal(size=(margin.size, 10)) * 0.8
    logits[:, 0] = margin
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    order = np.argsort(-logp, axis=1, kind="stable")
    best = np.take_along_axis(logp, order, axis=1)
    return {
        "image_id": ids,
        "label": np.zeros(margin.size, np.int32),
        **{f"top{k + 1}": order[:, k].astype(np.int32) for k in range(5)},
        "hit": (order == 0).argmax(axis=1).astype(np.int32),
        "logp_top1": best[:, 0].astype(np.float32),
        "logp_top2": best[:, 1].astype(np.float32),
        "logp_label": logp[:, 0].astype(np.float32),
        "sum_p2": np.exp(2 * logp).sum(axis=1).astype(np.float32),
    }


def with_troubles(board: BoardInput) -> BoardInput:
    """The same board with a hostile name, an incomplete model, a failure and NaN logits."""
    from dataclasses import replace

    first, second, third, *rest = board.models
    broken = dict(second.rows["clean"])
    for name in ("hit", "top1", "top5"):
        broken[name] = np.where(np.arange(broken["hit"].size) < 3, -1, broken[name])
    for name in ("logp_top1", "logp_label", "sum_p2"):
        broken[name] = np.where(np.arange(broken["hit"].size) < 3, np.nan, broken[name])
    lost = board.conditions[-1].name
    partial = {k: v for k, v in third.rows.items() if k != lost}
    some = board.conditions[3].name
    partial[some] = {k: v[:40] for k, v in partial[some].items()}
    failure = CellFailure(
        "c" * 20, third.name, lost, ("base/00001.png",), "out of memory at batch 1", "use a GPU"
    )
    models = (
        replace(first, name=HOSTILE, family="<b>vit</b>", citation="javascript:alert(1)"),
        replace(second, rows={**second.rows, "clean": broken}, clean_accuracy=0.5),
        replace(third, rows=partial, failures=(failure,)),
        *rest,
    )
    return replace(board, models=models)
