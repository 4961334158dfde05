"""A run that ends as soon as its gate is settled, see `robobench.leaderboard.looks`.

Like `robobench.engine.stopping` the decision is a function of rows alone: a model's work on a data set has
fixed borders, and it is done at the first of them at which the images before it settle every line that goes
by this data set, or fail one. A model's data sets are computed one after the other, so what settles a line
over several of them comes with the last. With no baseline, or a stricter policy, the run goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robobench.engine.plan import Place, borders
from robobench.engine.resolve import Resolved, cells
from robobench.errors import RobobenchError
from robobench.leaderboard.baseline import read_baseline
from robobench.leaderboard.collect import collect
from robobench.leaderboard.looks import Looks
from robobench.leaderboard.policy import Policy
from robobench.store import Store
from robobench.types import CellFailure

if TYPE_CHECKING:
    import pyarrow as pa

RULE = "a gate that was settled"


@dataclass(frozen=True)
class Against:
    """What a run is held against: a baseline's file, and when a candidate passes."""

    baseline: Path
    policy: Policy = field(default_factory=Policy)


@dataclass
class _Course:
    """One model: its lines, its conditions by the keys of its cells, and where it ends on each data set."""

    looks: Looks
    conditions: dict[str, list[str]]  # by key: equal cells may stand under several names
    borders: Mapping[str, tuple[int, ...]]  # by data set, in the order in which they are computed
    excused: set[str] = field(default_factory=set)  # conditions that the model cannot do by its build
    judged: dict[str, int] = field(default_factory=dict)  # borders that were looked at
    ends: dict[str, int] = field(default_factory=dict)

    def advance(self) -> None:
        """Look at the borders that all rows have come up to since the last look, data set by data set."""
        for data, starts in self.borders.items():
            while data not in self.ends and (place := self.judged.get(data, 0)) < len(starts):
                if starts[place] > self._ahead(data):
                    return
                self.judged[data] = place + 1
                self.looks.look(self._seen(data, starts[place]))
                if self.looks.enough(data, starts[place]):
                    self.ends[data] = starts[place]
            if data not in self.ends:
                if self._ahead(data) < self._whole(data):
                    return
                self.looks.look(self._seen(data, self._whole(data)))

    def _seen(self, data: str, end: int) -> dict[str, int]:
        """How far into each data set has been looked: all of those before, this one up to here."""
        found = {data: end}
        for earlier in self.borders:
            if earlier == data:
                break
            found[earlier] = self.ends.get(earlier, self._whole(earlier))
        return found

    def _ahead(self, data: str) -> int:
        mine = [a for name, a in self.looks.answers.items() if a.data == data and name not in self.excused]
        return min((a.reach if a.reach < a.goal else self._whole(data) for a in mine), default=0)

    def _whole(self, data: str) -> int:
        return max((len(a.places) for a in self.looks.answers.values() if a.data == data), default=0)


@dataclass
class GateStopping:
    """Follows the rows of a run and says where each model's gate is settled."""

    courses: dict[str, _Course]  # by the model's digest
    rule: str
    precision: float | None = None

    @classmethod
    def of(cls, resolved: Resolved, store: Store | None, against: Against) -> GateStopping:
        """What the store's rows say. Raises RobobenchError for another protocol and what cannot be judged."""
        kept = read_baseline(against.baseline)
        if kept.record.fingerprint != resolved.fingerprint:
            raise RobobenchError(
                f"{against.baseline} was made under the protocol {kept.record.fingerprint} of "
                f"{kept.record.suite!r}, this run is under {resolved.fingerprint} of "
                f"{resolved.suite.name!r}: run the same suite on the same data, or make the baseline anew"
            )
        board = collect(kept.record, kept)
        orders = {d.name: d.order for d in kept.record.data}
        starts = borders(resolved)
        courses: dict[str, _Course] = {}
        for cell in cells(resolved):
            who = cell.model.digest
            if who not in courses:
                mine = {data: ends for (model, data), ends in starts.items() if model == who}
                courses[who] = _Course(Looks.of(board, orders, against.policy), {}, mine)
            if not cell.condition.check:
                courses[who].conditions.setdefault(cell.key, []).append(cell.condition.name)
        made = cls(courses, f"{RULE}, against {kept.record.models[0].name}")
        if store is not None:
            made._read(store)
        return made

    @property
    def ends(self) -> Mapping[Place, int | None]:
        """How far into the visiting order each model goes on a data set; None where nothing ends it yet."""
        places = [(who, data) for who, course in self.courses.items() for data in course.borders]
        return {place: self.judge(place) for place in places}

    def judge(self, place: Place) -> int | None:
        """The same for one of them, after new rows."""
        course = self.courses.get(place[0])
        if course is None:
            return None
        course.advance()
        return course.ends.get(place[1])

    def learn(self, key: str, ids: Sequence[str], table: pa.Table) -> None:
        """Take note of new rows of a cell."""
        for course in self.courses.values():
            for name in course.conditions.get(key, ()):
                rows = {c: table[c].to_numpy() for c in course.looks.metric.needs}
                values = np.asarray(course.looks.metric(rows), np.float64)
                course.looks.answers[name].learn(ids, values)

    def excuse(self, failures: Iterable[CellFailure]) -> None:
        """Do not wait for what a model cannot do by its build."""
        for failure in failures:
            if failure.unsupported:
                for course in self.courses.values():
                    course.excused.update(course.conditions.get(failure.cell, ()))

    def exclude(self, revision: str, images: Iterable[str]) -> None:
        """Nothing: without these images it is another protocol, and the baseline has to be made anew."""

    def _read(self, store: Store) -> None:
        """The rows and failures that are there, one model after the other."""
        for course in self.courses.values():
            coded = store.coded(set(course.conditions), course.looks.metric.needs)
            for key, table in coded.tables.items():
                self.learn(key, [coded.images[i] for i in coded.places[key]], table)
            self.excuse(store.failures(set(course.conditions)))
