"""What a suite or a perturbation does to images: pictures of every condition, without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robobench import registry
from robobench.data.digests import cache_folder
from robobench.data.installed import installed_folder
from robobench.engine.frames import Frames, open_frames
from robobench.engine.pictures import pictures
from robobench.engine.prepare import Prepared
from robobench.engine.resolve import Resolved, ResolvedModel, identify, revisions
from robobench.engine.sets import DataSet, data_set, through_view
from robobench.engine.splits import split
from robobench.errors import RobobenchError, UnknownName, nearest
from robobench.fidelity import psnr, ssim
from robobench.keys import canonical
from robobench.registry import Plugin
from robobench.store import Store
from robobench.suite.load import load_suite, parse_suite, suite_names
from robobench.suite.suite import BASE, ModelEntry, Suite
from robobench.types import Cell, Condition, ImageBatch, ModelId, View

if TYPE_CHECKING:
    from torch import Tensor

NOBODY = ModelId("none", "none:", "none")  # the model of preparations that need none
PHOTOS = View(256, 224, None, "bicubic")
SEVERITIES = (1, 2, 3, 4, 5)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Tile:
    """One image as a condition shows it. psnr (dB) and ssim are to the clean one, NaN where undefined."""

    pixels: Pixels
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Strip:
    """A ladder: for each level its label and a tile for each image."""

    name: str
    steps: str
    along: str | None
    levels: tuple[str, ...]
    tiles: tuple[tuple[Tile, ...], ...]
    paired: bool = True  # the pictures are of the clean images, and not of a data set of its own

    @property
    def alike(self) -> tuple[tuple[str, str], ...]:
        """Neighbouring levels that show the same pixels in every image."""
        pairs = zip(self.levels, self.levels[1:], self.tiles, self.tiles[1:], strict=False)
        return tuple((a, b) for a, b, one, two in pairs if _equal(one, two))


@dataclass(frozen=True)
class Preview:
    """Everything a contact sheet shows. left_out: conditions without a picture, and why."""

    title: str
    images: tuple[str, ...]
    clean: tuple[Tile, ...]
    strips: tuple[Strip, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def preview(
    name: str,
    *,
    data: str | None = None,
    images: int = 2,
    model: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Preview:
    """Pictures of a suite (by name or file) or of a perturbation (by name).

    data: a SPEC; without one the suite's own data, and where those are not at hand, as for a
    perturbation, the sample photos or the digits that come with installed packages. model: for
    preparations that need one. settings: of the suite, or parameters of the perturbation. Raises
    RobobenchError.
    """
    suite = _suite(name, settings or {}, data)
    work = _Work(suite, data, images, model)
    base, notes = work.base()
    sets, unreachable = work.sets(base)
    strips, left_out = work.strips(sets)
    left_out = unreachable | left_out
    clean = work.clean(base)
    if not strips:
        reasons = "; ".join(dict.fromkeys(left_out.values())) or "it has no conditions"
        raise RobobenchError(f"{name}: there is nothing to picture ({reasons})")
    return Preview(
        suite.title, tuple(work.ids(base)), clean, tuple(strips), tuple(left_out.items()), tuple(notes)
    )


def perturbation_suite(plugin: Plugin, params: Mapping[str, Any], data: str) -> Suite:
    """A suite of one perturbation: its severities where it has some, else its examples."""
    names = registry.schema(plugin.cls).model_fields  # type: ignore[arg-type]
    if "severity" in names and "severity" not in params:
        fixed = _first_example(plugin) if not params else {}
        given = {**{k: v for k, v in fixed.items() if k not in ("severity", "table")}, **params}
        conditions: list[dict[str, Any]] = [
            {"use": plugin.name, "name": plugin.name, "with": given, "ladder": {"severity": list(SEVERITIES)}}
        ]
    elif params:
        conditions = [{"use": plugin.name, "name": plugin.name, "with": dict(params)}]
    else:
        conditions = [
            {"use": plugin.name, "name": f"{plugin.name} {i + 1}", "with": dict(example)}
            for i, example in enumerate(plugin.cls.examples)
        ]
    source, _, path = data.partition(":")
    wants = {w for c in conditions for w in _wants(plugin, c)}
    preparations = {w: {"use": "saliency.gradient", "model": "self"} for w in wants if w == "saliency"}
    for condition in conditions:
        condition["inputs"] = {w: w for w in wants if w in preparations}
    text = {
        "schema": 1,
        "name": "preview",
        "title": f"{plugin.name}: {plugin.summary}",
        "data": {"source": source, "path": path.partition("?")[0]},
        "view": {"resize": PHOTOS.resize, "crop": PHOTOS.crop, "interpolation": PHOTOS.interpolation},
        "preparations": preparations,
        "conditions": conditions,
    }
    return parse_suite(canonical(text), plugin.name)  # JSON is YAML


def _first_example(plugin: Plugin) -> Mapping[str, Any]:
    return next(iter(plugin.cls.examples), {})


def _wants(plugin: Plugin, condition: Mapping[str, Any]) -> tuple[str, ...]:
    params = {**condition["with"], **({"severity": 1} if "ladder" in condition else {})}
    return tuple(w for w in getattr(registry.build_step(plugin, params), "wants", ()) if w != "donor")


def _suite(name: str, settings: Mapping[str, Any], data: str | None) -> Suite:
    if name in suite_names() or name.endswith((".yaml", ".yml")):
        return load_suite(name, settings)
    try:
        plugin = registry.perturbations.get(name)
    except UnknownName as error:
        known = [*suite_names(), *registry.perturbations.names()]
        raise UnknownName(f"no suite or perturbation {name!r}; {nearest(name, known)}") from error
    return perturbation_suite(plugin, settings, data or _sample_data())


def _sample_data() -> str:
    return "samples:imagenet" if installed_folder("foolbox") else "digits:mnist"


@dataclass
class _Work:
    """A suite being pictured."""

    suite: Suite
    data: str | None
    images: int
    model: str | None
    frames: dict[tuple[str, View], Frames] = field(default_factory=dict)

    def base(self) -> tuple[DataSet, list[str]]:
        """The base data set; where the suite's is not at hand, sample images and a note."""
        try:
            return data_set(self.suite, self.suite.data[0], self.data), []
        except RobobenchError as error:
            if self.data is not None:
                raise
            other = _sample_data()
            base = data_set(self.suite, self.suite.data[0], other)
            return base, [f"shown on {other}, because the suite's own images are not at hand: {error}"]

    def sets(self, base: DataSet) -> tuple[dict[str, DataSet], dict[str, str]]:
        """Every data set that can be reached, and why the others cannot."""
        found, lacking = {base.name: base}, {}
        for entry in self.suite.data[1:]:
            try:
                found[entry.name] = (
                    through_view(base, entry) if entry.same_as_base else data_set(self.suite, entry)
                )
            except RobobenchError as error:
                lacking[entry.name] = str(error)
        return found, lacking

    def ids(self, data: DataSet) -> list[str]:
        """The first images of the visiting order."""
        return list(data.ids[: self.images])

    def clean(self, base: DataSet) -> tuple[Tile, ...]:
        frames = self._frames(base)
        return tuple(Tile(frames.frame(i), float("inf"), 1.0) for i in self.ids(base))

    def strips(self, sets: Mapping[str, DataSet]) -> tuple[list[Strip], dict[str, str]]:
        """A strip for each ladder that can be pictured, and why the others cannot."""
        levels: dict[str, list[tuple[Condition, tuple[Tile, ...]]]] = {}
        left_out: dict[str, str] = {}
        for condition in self.suite.conditions:
            if condition.clean or condition.check or condition.data not in sets:
                continue
            needs = next((s for s in condition.steps if s.kind != "perturbation"), None)
            if needs is not None and len(condition.steps) == 1 and condition.data == BASE:
                left_out[condition.ladder] = f"{needs.name} is an {needs.kind}: it needs a model"
                continue
            try:
                tiles = self._tiles(condition, sets[condition.data], sets[BASE])
            except RobobenchError as error:
                left_out[condition.ladder] = str(error)
                continue
            levels.setdefault(condition.ladder, []).append((condition, tiles))
        base = sets[BASE].labels.keys()
        paired = {n: set(self.ids(d)) <= base for n, d in sets.items()}
        return [_strip(name, found, paired) for name, found in levels.items()], left_out

    def _tiles(self, condition: Condition, data: DataSet, base: DataSet) -> tuple[Tile, ...]:
        frames, ids = self._frames(data), self.ids(data)
        found: list[Tile] = []
        with TemporaryDirectory() as folder:
            inputs = self._inputs(data, condition, ids, Path(folder))
            shown = pictures(
                data, frames, [condition], ids, seed=self.suite.seed, batch_size=len(ids),
                inputs=lambda _, batch: inputs(batch),
            )  # fmt: skip
            for _, before, after in shown:
                clean = before.pixels if data.revision == base.revision else self._same(base, ids, after)
                found.extend(_tile(p, c) for p, c in zip(after.pixels, clean, strict=True))
        return tuple(found)

    def _same(self, base: DataSet, ids: Sequence[str], after: ImageBatch) -> Tensor | list[None]:
        """The base's images of the same ids, as a stored set keeps them; nothing where there are none."""
        from robobench.engine.frames import to_pixels

        if not set(ids) <= set(base.labels):
            return [None] * len(ids)
        frames = self._frames(base)
        pixels = to_pixels(np.stack([frames.frame(i) for i in ids]), "cpu")
        return pixels if pixels.shape == after.pixels.shape else [None] * len(ids)

    def _inputs(self, data: DataSet, condition: Condition, ids: Sequence[str], folder: Path) -> Any:
        """A function that gives the prepared tensors of a batch."""
        names = {p for s in condition.steps for p in s.inputs.values()}
        entries = [e for e in self.suite.preparations if e.name in names]
        if not entries:
            return lambda batch: {}
        if self.model is None and any(e.model is not None for e in entries):
            needed = next(e for e in entries if e.model is not None)
            raise RobobenchError(f"{needed.plugin} needs a model: give one with --model")
        resolved, who, load = self._resolved(data, condition)
        few = replace(data, order=tuple(ids))
        with Store.open(folder / "store", create=True).writing():
            prepared = Prepared(
                resolved,
                Store.open(folder / "store"),
                who,
                few,
                self._frames(data),
                "cpu",
                load,
                self._frames,
            )
            cell = Cell("preview", who, condition)
            prepared.ensure([cell], ids)
        return lambda batch: prepared.inputs(cell, batch)

    def _resolved(self, data: DataSet, condition: Condition) -> tuple[Resolved, ModelId, Any]:
        models: list[ResolvedModel] = []
        if self.model is not None:
            models.append(identify(ModelEntry(self.model, trusted=True), allow_code=True))
        named = {e.model for e in self.suite.preparations} - {None, "self"}
        helpers = {str(spec): identify(ModelEntry(str(spec)), allow_code=False) for spec in named}
        used = {p for s in condition.steps for p in s.inputs.values()}
        splits = {
            e.name: split(e, data, lambda asked: data_set(self.suite, asked))
            for e in self.suite.preparations
            if e.name in used and e.has_split
        }
        resolved = Resolved(
            self.suite, tuple(models), {data.name: data}, (condition,), helpers, revisions(self.suite), splits
        )

        def load(who: ModelId) -> Any:
            return next(m for m in (*models, *helpers.values()) if m.id.digest == who.digest).load("cpu")

        return resolved, models[0].id if models else NOBODY, load

    def _frames(self, data: DataSet) -> Frames:
        view = data.view or PHOTOS  # `view: native` is each model's own, and there is no model
        key = (data.revision, view)
        if key not in self.frames:
            self.frames[key] = open_frames(data, view, cache_folder())
        return self.frames[key]


def _strip(
    name: str, found: Sequence[tuple[Condition, tuple[Tile, ...]]], paired: Mapping[str, bool]
) -> Strip:
    first = found[0][0]
    steps = " then ".join(_step_text(s.name, s.params, first.along) for s in first.steps)
    levels = tuple(
        "" if c.along is None else c.level if isinstance(c.level, str) else canonical(c.level)
        for c, _ in found
    )
    return Strip(name, steps, first.along, levels, tuple(tiles for _, tiles in found), paired[first.data])


def _step_text(name: str, params: Mapping[str, Any], along: str | None) -> str:
    said = ", ".join(
        f"{k}: {v if isinstance(v, str) else canonical(v)}"
        for k, v in params.items()
        if k != along and v is not None
    )
    return f"{name} ({said})" if said else name


def _tile(after: Tensor, before: Tensor | None) -> Tile:
    pixels = (after * 255.0).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().cpu().numpy()
    if before is None or before.shape != after.shape:
        return Tile(pixels, float("nan"), float("nan"))
    return Tile(pixels, float(psnr(after[None], before[None])), float(ssim(after[None], before[None])))


def _equal(one: Sequence[Tile], two: Sequence[Tile]) -> bool:
    return all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, two, strict=True))
