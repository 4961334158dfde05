"""Images that people were shown in an experiment, with who named each of them rightly."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robobench.data.digests import remembered_digest
from robobench.data.folder import index_of, read_below
from robobench.data.label_space import label_space
from robobench.data.light import Light
from robobench.data.tree import walk
from robobench.errors import DataError
from robobench.keys import digest
from robobench.registry import data
from robobench.types import DataIndex, View

_SPACE = "imagenet-16"
_PEOPLE = 24  # bits of a whole number that a float32 column keeps
_PERSON = "subject-"  # what the names of people begin with; models' begin otherwise
_COLUMNS = ("subj", "object_response", "category", "condition", "imagename")
_SESSION = "session-"
_FIELDS = 6  # of a session's file name before the image's own: trial, experiment, subject, condition, ...
_WHOLE_SET = "0"  # the condition of a set that has one


@dataclass(frozen=True)
class _Trial:
    """Where an image stands in an experiment: its own name, its condition and its class."""

    image: str
    condition: str
    category: str

    @classmethod
    def of_file(cls, path: str, where: str) -> _Trial:
        """What the path of an image, or its name in a table, says of it."""
        folder, _, name = path.rpartition("/")
        stem = name.rpartition(".")[0]
        parts = stem.split("_", _FIELDS)
        if len(parts) > _FIELDS:
            return cls(parts[_FIELDS], parts[3], parts[4])
        if folder.startswith(_SESSION) or not folder:
            raise DataError(
                f"{where}: {path}: expected a name such as 0001_cop_dnn_c30_knife_10_n03041632_7380.png: "
                "trial, experiment, subject, condition, class, a number and the image, joined by underscores"
            )
        return cls(stem, _WHOLE_SET, folder.partition("/")[0])


@dataclass
class _Answers:
    """Who was shown each image and who was right, as bit masks over people in alphabetical order."""

    people: tuple[str, ...]
    asked: dict[str, int] = field(default_factory=dict)
    correct: dict[str, int] = field(default_factory=dict)
    trials: dict[str, _Trial] = field(default_factory=dict)


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class HumanTrials(Light):
    """A set of the model-vs-human benchmark: images, and what each person answered to each of them.

    path: the folder of a set, with `dnn/session-1/<image>.png` (files such as
    `0001_cop_dnn_c30_knife_10_n03041632_7380.png`, which name condition and class) or with one folder for
    each class (cue-conflict, edge, silhouette). humans: the folder of the set's tables, one CSV file for
    each person and session with the columns subj, object_response, category, condition and imagename; rows
    of models (a subj that does not begin with `subject-`) are passed over. condition: one of the set's,
    such as `c30`, so that a ladder along `condition` shows each by itself; empty for all images.

    Labels are among the 16 classes of `imagenet-16`; images are shown as stored, 224 pixels wide. Two
    facts for the metrics of `consistency`: `human_asked` and `human_right`, bit masks over people in
    alphabetical order (bit 0 is the first). An image is found in the tables by its own name, what follows
    the six fields; one that nobody was shown has masks of 0.

    Source: Geirhos et al., Partial Success in Closing the Gap Between Human and Machine Vision, NeurIPS 2021.

    Raises DataError for tables that are missing or have other columns, more than 24 people, a person shown
    an image twice, tables that know none of the images or another class or condition of one, and for a
    condition that is not there, naming those that are.
    """

    path: str  # the folder of the set's images
    humans: str  # the folder of the set's CSV files
    condition: str = ""  # one of the set's, such as c30; empty for all

    def index(self) -> DataIndex:
        """Ids are paths below the folder of sessions or classes, in alphabetical order."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (h, w, 3) uint8. Raises DataError when it is missing or damaged."""
        return read_below(self._root, image, self._where)

    @property
    def _where(self) -> str:
        return f"human_trials:{self.path}"

    @property
    def _root(self) -> Path:
        root = Path(self.path).expanduser()
        return root / "dnn" if (root / "dnn").is_dir() else root

    @cached_property
    def _index(self) -> DataIndex:
        tree = walk(self._root, self._where)
        space = label_space(_SPACE)
        found = index_of(self._root, self._where, tree, space, dict.fromkeys(sorted(tree.images), 0))
        trials = {i: _Trial.of_file(i, self._where) for i in found.ids}
        tables = _tables(self.humans, self._where)
        answers = _answers(tables, self._where)
        kept = [i for i in found.ids if not self.condition or _same(trials[i].condition, self.condition)]
        if not kept:
            there = sorted({t.condition for t in trials.values()})
            raise DataError(f"{self._where}: no condition {self.condition!r}; there are: {', '.join(there)}")
        places = {name: n for n, name in enumerate(space.classes)}
        self._check(trials, answers, places)
        return replace(
            found,
            ids=tuple(kept),
            labels=tuple(places[trials[i].category] for i in kept),
            revision=digest("human_trials", found.revision, [remembered_digest(t) for t in tables], kept),
            view=View(),
            excluded={i: why for i, why in found.excluded.items() if i in set(kept)},
            facts={
                "human_asked": tuple(float(answers.asked.get(trials[i].image, 0)) for i in kept),
                "human_right": tuple(float(answers.correct.get(trials[i].image, 0)) for i in kept),
            },
        )

    def _check(self, trials: Mapping[str, _Trial], answers: _Answers, places: Mapping[str, int]) -> None:
        """That images and tables are of one experiment."""
        for image, trial in trials.items():
            if trial.category not in places:
                raise DataError(
                    f"{self._where}: {image}: {trial.category!r} is none of the classes {', '.join(places)}"
                )
            told = answers.trials.get(trial.image, trial)
            if told.category != trial.category or not _same(told.condition, trial.condition):
                raise DataError(
                    f"{self._where}: {image} shows {trial.category!r} in condition {trial.condition!r}, the "
                    f"tables say {told.category!r} in {told.condition!r}: they are of another experiment"
                )
        if not any(t.image in answers.trials for t in trials.values()):
            raise DataError(
                f"{self._where}: the tables in {self.humans} know none of {len(trials)} images: they hold "
                f"{next(iter(answers.trials))!r} and so on, not {next(iter(trials.values())).image!r}"
            )


def _same(one: str, other: str) -> bool:
    """Whether two texts say the same condition: `0.90` and `0.9`, `True` and `true` do."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one.casefold() == other.casefold()


def _tables(folder: str, where: str) -> list[Path]:
    """The CSV files of a folder, in alphabetical order."""
    root = Path(folder).expanduser()
    found = sorted(p for p in root.glob("*.csv") if not p.name.startswith("."))
    if not found:
        what = "no CSV file in it" if root.is_dir() else "no such folder"
        raise DataError(
            f"{where}: humans={folder}: {what}; expected a folder such as raw-data/contrast of model-vs-human"
        )
    return found


def _answers(tables: list[Path], where: str) -> _Answers:
    """What people answered, from all tables."""
    rows = [row for table in tables for row in _rows(table, where)]
    people = tuple(sorted({r["subj"] for r in rows}))
    if not 0 < len(people) <= _PEOPLE:
        raise DataError(
            f"{where}: {len(people)} people in {len(tables)} tables, expected 1 to {_PEOPLE} whose names "
            f"begin with {_PERSON!r}"
        )
    bits = {name: 1 << n for n, name in enumerate(people)}
    answers = _Answers(people)
    for row in rows:
        trial = _Trial.of_file(row["imagename"], where)
        bit = bits[row["subj"]]
        if answers.asked.get(trial.image, 0) & bit:
            raise DataError(f"{where}: {row['subj']} was shown {trial.image!r} twice; one answer is expected")
        known = answers.trials.setdefault(trial.image, replace(trial, category=row["category"]))
        if known.category != row["category"] or not _same(known.condition, row["condition"]):
            raise DataError(
                f"{where}: the tables disagree on {trial.image!r}: {known.category!r} in condition "
                f"{known.condition!r}, {row['category']!r} in {row['condition']!r}"
            )
        answers.asked[trial.image] = answers.asked.get(trial.image, 0) | bit
        if row["object_response"] == row["category"]:
            answers.correct[trial.image] = answers.correct.get(trial.image, 0) | bit
    return answers


def _rows(table: Path, where: str) -> Iterator[dict[str, str]]:
    """The rows of people in a table, with column names in small letters."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            names = [n.strip().lower() for n in next(reader, [])]
            lacking = [c for c in _COLUMNS if c not in names]
            if lacking:
                raise DataError(
                    f"{where}: {table.name} has no column {lacking[0]!r}; expected {', '.join(_COLUMNS)}"
                )
            for cells in reader:
                row = dict(zip(names, cells, strict=False))
                if len(cells) >= len(names) and row["subj"].startswith(_PERSON):
                    yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: {table.name} cannot be read as a table: {error}") from None
