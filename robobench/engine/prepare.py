"""Preparations: made once by a model over images, kept by content key, handed to conditions by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from robobench import registry
from robobench.contracts import LoadedModel
from robobench.draws import Draws
from robobench.engine.crafting import Crafting, whole_lots
from robobench.engine.frames import Frames, batches
from robobench.engine.resolve import Resolved, per_image, preparation
from robobench.engine.sets import DataSet
from robobench.errors import RobobenchError, StoreError
from robobench.store import Store
from robobench.suite.suite import PreparationEntry
from robobench.types import Cell, ImageBatch, ModelId

if TYPE_CHECKING:
    from torch import Tensor

Loader = Callable[[ModelId], LoadedModel]


@dataclass
class Prepared:
    """The preparations of one model on one data set, made when first asked for."""

    resolved: Resolved
    store: Store
    model: ModelId
    data: DataSet
    frames: Frames
    device: str
    load: Loader
    frames_of: Callable[[DataSet], Frames]
    rows: dict[str, dict[str, Mapping[str, Tensor]]] = field(default_factory=dict)
    whole: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    undecodable: dict[str, dict[str, str]] = field(default_factory=dict)  # in splits, by data revision

    def ensure(self, cells: Sequence[Cell], ids: Sequence[str]) -> None:
        """Make what the cells need for these images and the store does not hold.

        A preparation that fails fails the conditions that use it, when they ask for it.
        """
        for entry in self._needed(cells):
            try:
                self._ensure(entry, ids)
            except StoreError:
                raise
            except Exception as error:
                self.broken[entry.name] = error

    def _ensure(self, entry: PreparationEntry, ids: Sequence[str]) -> None:
        key = self.resolved.preparation_key(entry, self.model, self.data)
        if per_image(entry):
            self._ensure_rows(entry, key, ids)
        elif key not in self.whole:
            ids = self.resolved.made_from(entry, self.data).ids
            self.whole[key] = self._load(key, ()) or self._make(entry, key, ids, keep=())

    def inputs(self, cell: Cell, batch: ImageBatch) -> Mapping[str, Tensor]:
        """The tensors a condition asks for, by `preparation/input`, one row per image of the batch."""
        import torch

        found: dict[str, Tensor] = {}
        for entry in self._needed([cell]):
            key = self.resolved.preparation_key(entry, self.model, self.data)
            if entry.name in self.broken:
                raise RobobenchError(f"preparation {entry.name!r}: {self.broken[entry.name]}")
            if key in self.whole:
                tensors = {n: v.expand(len(batch), *v.shape) for n, v in self.whole[key].items()}
            else:
                mine = self.rows[key]
                names = next(iter(mine.values()))
                tensors = {n: torch.stack([mine[i][n] for i in batch.ids]) for n in names}
            for name, values in tensors.items():
                found[f"{entry.name}/{name}"] = values.to(batch.pixels.device)
        return found

    def _needed(self, cells: Sequence[Cell]) -> list[PreparationEntry]:
        names = {p for c in cells for s in c.condition.steps for p in s.inputs.values()}
        return [entry for entry in self.resolved.suite.preparations if entry.name in names]

    def _ensure_rows(self, entry: PreparationEntry, key: str, ids: Sequence[str]) -> None:
        mine = self.rows.setdefault(key, {})
        for held, path in self.store.prepared(key):
            if not set(held).issubset(mine) and set(held).intersection(ids):
                self._take(mine, held, _tensors(path))
        lacking = [i for i in ids if i not in mine and i not in self.frames.undecodable]
        if lacking:
            lacking = self._with_company(entry, lacking)
            made = self._make(entry, key, lacking, keep=lacking)
            self._take(mine, [i for i in lacking if i not in self.frames.undecodable], made)

    def _with_company(self, entry: PreparationEntry, ids: list[str]) -> list[str]:
        """The images, with those of their lots where an attack is one that their company matters to."""
        instance = self._instance(entry, self.frames)
        if not (isinstance(instance, Crafting) and instance.by_lots):
            return ids
        order = [i for i in self.data.visiting if i not in self.data.excluded]
        return whole_lots(order, ids, instance.lot)

    def _instance(self, entry: PreparationEntry, frames: Frames) -> Any:
        """What makes a preparation: the plug-in, or the attack that is used as one."""
        instance = preparation(entry)
        if registry.find_preparation(entry.plugin).kind == registry.attacks.kind:
            return Crafting(instance, self.resolved.suite.lot)
        return instance.through(frames.view) if hasattr(instance, "through") else instance

    def _take(
        self, mine: dict[str, Mapping[str, Tensor]], ids: Sequence[str], tensors: Mapping[str, Tensor]
    ) -> None:
        for row, image in enumerate(ids):
            mine[image] = {name: values[row] for name, values in tensors.items()}

    def _load(self, key: str, ids: tuple[str, ...]) -> Mapping[str, Tensor] | None:
        return next((_tensors(path) for held, path in self.store.prepared(key) if held == ids), None)

    def _make(
        self, entry: PreparationEntry, key: str, ids: Sequence[str], keep: Sequence[str]
    ) -> Mapping[str, Tensor]:
        data = self.resolved.made_from(entry, self.data)
        frames = self.frames if data is self.data else self.frames_of(data)
        instance = self._instance(entry, frames)
        model = None
        if entry.model is not None:
            loaded = self.load(self.resolved.preparing_model(entry, self.model))
            model = loaded.reading(data.space)
        shown = _Shown(frames, ids, data.labels, self.resolved.suite.lot, self.device)
        draws = Draws(self.resolved.suite.seed, entry.plugin, tuple(ids), self.device)
        made: Mapping[str, Tensor] = instance(model, shown, draws)
        if frames.undecodable and frames is not self.frames:
            self.undecodable.setdefault(data.revision, {}).update(frames.undecodable)
        kept = [i for i in keep if i not in frames.undecodable]
        for name, values in made.items():
            if keep and values.shape[0] != len(kept):
                raise RobobenchError(
                    f"{entry.plugin}: {name!r} has {values.shape[0]} rows for {len(kept)} images"
                )
        self.store.put_prepared(key, kept, made)
        return made


@dataclass(frozen=True)
class _Shown:
    """The images of a preparation in lots: as often as it goes through them, never all in memory."""

    frames: Frames
    ids: Sequence[str]
    labels: Mapping[str, int]
    lot: int
    device: str

    def __iter__(self) -> Iterator[ImageBatch]:
        return batches(self.frames, self.ids, self.labels, self.lot, self.device)


def _tensors(path: object) -> Mapping[str, Tensor]:
    from safetensors.torch import load_file

    tensors: Mapping[str, Tensor] = load_file(str(path))
    return tensors
