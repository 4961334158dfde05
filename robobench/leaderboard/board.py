"""What goes into a leaderboard and what comes out: plain frozen values, no store, no models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from robobench.speed import Speed
from robobench.suite.suite import ScoreSpec, SummarySpec
from robobench.types import CellFailure, Condition, Pictures, Rows, Score, Yardstick

__all__ = [
    "BoardInput",
    "DataInfo",
    "Entry",
    "Failure",
    "Fall",
    "Gallery",
    "Health",
    "HurtClass",
    "HurtImage",
    "Ladder",
    "Leaderboard",
    "Level",
    "Measured",
    "ModelInput",
    "ScoreSpec",
    "Source",
    "SuiteInfo",
    "SummarySpec",
    "Verified",
]

FORMAT = 4  # of the JSON form; goes up when older readers would misread it


@dataclass(frozen=True)
class DataInfo:
    """A data set as the protocol section names it. `images`: after the limit, without damaged ones."""

    name: str
    title: str
    images: int
    label_space: str
    digest: str
    excluded: tuple[str, ...] = ()  # images that cannot be decoded


@dataclass(frozen=True)
class SuiteInfo:
    """Where the numbers come from. Shown as given: no absolute path, host or user name belongs here."""

    name: str
    title: str
    fingerprint: str
    metrics: tuple[str, ...]
    score: ScoreSpec
    data: tuple[DataInfo, ...]
    view: str
    seed: int
    description: str = ""
    citation: str = ""
    limit: int | None = None
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: str = ""
    date: str = ""
    summaries: tuple[SummarySpec, ...] = ()


@dataclass(frozen=True)
class Verified:
    """That a random sample of a model's rows was computed again and is as claimed.

    drawn of rows: those that are judged one by one; chance: of having caught 1 % of false ones among these.
    attacked: the rows under attacks; attacked_same: how many of the drawn ones are exactly as claimed.
    """

    date: str
    rows: int
    drawn: int
    chance: float
    attacked: int
    attacked_drawn: int
    attacked_same: int
    hardware: str
    versions: Mapping[str, str]
    seed: int


@dataclass(frozen=True)
class ModelInput:
    """A model with its rows by condition name. A condition that is not there has no rows yet.

    rows: columns as NumPy arrays of one length, `image_id` among them; undefined numbers are NaN.
    clean_accuracy: what its author reports, to compare with. weights: digest of the loaded weights.
    provenance: versions, device, precision, time, as text. warnings: what was seen while it ran.
    expected: images that a condition should have where that is fewer than of other models: it stopped there.
    speeds: how fast it is, as far as that was measured. verified: None for a model that is only claimed.
    """

    name: str
    rows: Mapping[str, Rows]
    family: str | None = None
    parameters: int | None = None
    citation: str | None = None
    clean_accuracy: float | None = None
    weights: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    failures: tuple[CellFailure, ...] = ()
    warnings: tuple[str, ...] = ()
    expected: Mapping[str, int] = field(default_factory=dict)
    speeds: tuple[Speed, ...] = ()
    verified: Verified | None = None


@dataclass(frozen=True)
class Source:
    """Which model the images of a condition were made against, and how."""

    model: str
    made: str


@dataclass(frozen=True)
class BoardInput:
    """All that `build` needs.

    expected: images each condition should have. compare: for a condition, the clean condition it is
    compared with, where that is not the clean one of its data set, nor for a shift the companion under
    its label space or the base in the same label space.
    """

    suite: SuiteInfo
    conditions: tuple[Condition, ...]
    models: tuple[ModelInput, ...]
    expected: Mapping[str, int]
    compare: Mapping[str, str] = field(default_factory=dict)
    yardsticks: Mapping[str, Yardstick] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)  # by condition
    classes: tuple[str, ...] = ()  # names of the base's classes, where they are known
    pictures: Pictures | None = None  # None where no image may be shown


@dataclass(frozen=True)
class Level:
    """One condition as a column. label: the level as the suite writes it, empty for a single condition."""

    condition: str
    label: str
    data: str
    expected: int
    steps: tuple[str, ...] = ()
    compared_with: str | None = None
    yardstick: Yardstick | None = None  # how far its images are from the clean ones
    source: Source | None = None  # where they were made against a model that is named


@dataclass(frozen=True)
class Ladder:
    """Conditions along one parameter: one curve."""

    name: str
    along: str | None
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Measured:
    """A cell: one score for each metric of the suite, and on how many of the expected images.

    clean: the composite's metric on the clean images behind this cell, where those are not simply all
    images of the condition it is compared with.
    """

    scores: tuple[Score, ...]
    present: int
    expected: int
    clean: Score | None = None

    @property
    def complete(self) -> bool:
        return self.present >= self.expected > 0

    def score(self, metric: str) -> Score:
        """The score of that metric. Raises KeyError."""
        found = next((s for s in self.scores if s.name == metric), None)
        if found is None:
            raise KeyError(metric)
        return found


@dataclass(frozen=True)
class Failure:
    """Work that could not be done, as the board shows it."""

    model: str
    condition: str
    images: int
    reason: str
    hint: str = ""
    unsupported: bool = False  # the model cannot do this by its build


@dataclass(frozen=True)
class Health:
    """A check of an attack. score: the share of images that speak against it, fine up to the limit."""

    condition: str
    check: str
    score: Score
    limit: float
    ok: bool
    said: str  # what is the matter when it is not


@dataclass(frozen=True)
class Entry:
    """A model's line. rank: the ranks it may hold, best and worst; None for an unranked model.

    ties: letters; two models that share one cannot be told apart, one without is in no tie. cells are by
    condition, ladders by name.
    flags: what a reader should know before believing the numbers. drops: the first level of a ladder at which
    the model is surely worse than on clean images, see `robobench.leaderboard.curves`.
    """

    name: str
    family: str | None
    parameters: int | None
    citation: str | None
    weights: str
    provenance: Mapping[str, str]
    rank: tuple[int, int] | None
    ties: tuple[str, ...]
    score: Score
    cells: Mapping[str, Measured]
    ladders: Mapping[str, Score]
    flags: tuple[str, ...] = ()
    health: tuple[Health, ...] = ()
    summaries: tuple[Score, ...] = ()  # in the suite's order
    drops: Mapping[str, str] = field(default_factory=dict)  # by ladder, where that is known
    speeds: tuple[Speed, ...] = ()  # one for each setting it was measured in
    verified: Verified | None = None  # None: only claimed

    def doubts(self, conditions: Iterable[str]) -> tuple[str, ...]:
        """What is the matter with the attacks among some conditions."""
        asked = set(conditions)
        return tuple(dict.fromkeys(h.said for h in self.health if h.condition in asked and not h.ok))

    @property
    def missing(self) -> tuple[tuple[str, int, int], ...]:
        """(condition, present, expected) of every cell that is not complete."""
        return tuple((n, c.present, c.expected) for n, c in self.cells.items() if not c.complete)


@dataclass(frozen=True)
class HurtClass:
    """A class and how often it is answered rightly, see `robobench.leaderboard.hurt`.

    clean, hurt: on clean images and under the conditions, over the models with all rows; models: under the
    conditions, by model.
    """

    label: int
    name: str
    clean: Score
    hurt: Score
    models: Mapping[str, Score]


@dataclass(frozen=True)
class Fall:
    """What a model says of an image: clean, and under its telling condition.

    right: on the clean image. fell: under how many conditions it is wrong, 0 where it was not right before.
    """

    model: str
    clean: str
    answer: str
    right: bool
    fell: int


@dataclass(frozen=True)
class HurtImage:
    """An image that models lose, see `robobench.leaderboard.hurt`. share: how much of it, in [0, 1].

    condition: the mildest one under which most models lose it. clean, changed: the image as stored and
    under that condition, PNGs in base64; empty where there is no picture.
    """

    image: str
    label: str
    share: float
    condition: str
    falls: tuple[Fall, ...]
    clean: str = ""
    changed: str = ""


@dataclass(frozen=True)
class Gallery:
    """The most hurt images out of some, where they may be shown, worst first.

    conditions: how many each could fall under. credit: the licence of the images and whose they are.
    """

    images: tuple[HurtImage, ...]
    among: int
    conditions: int
    credit: str


@dataclass(frozen=True)
class Leaderboard:
    """Models from best to worst, unranked ones last. `references` are the clean columns."""

    suite: SuiteInfo
    references: tuple[Level, ...]
    ladders: tuple[Ladder, ...]
    entries: tuple[Entry, ...]
    failures: tuple[Failure, ...]
    level: float  # of every interval
    resamples: int
    higher_is_better: bool
    format: int = FORMAT
    classes: tuple[HurtClass, ...] = ()  # the most hurt ones, worst first
    gallery: Gallery | None = None

    @property
    def broken(self) -> tuple[Failure, ...]:
        """The failures that another run might mend."""
        return tuple(f for f in self.failures if not f.unsupported)

    @property
    def ranked(self) -> tuple[Entry, ...]:
        return tuple(e for e in self.entries if e.rank is not None)
