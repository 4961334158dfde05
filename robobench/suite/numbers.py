"""What a suite computes from rows: its metrics, the score that ranks, and the numbers beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

from robobench.registry import build_formula, build_metric
from robobench.suite.schema import SuitePart, with_parameters
from robobench.suite.suite import ScoreSpec, SummarySpec
from robobench.suite.yaml_lines import Document, Path
from robobench.types import Condition

_LOGITS = "logits"  # the column, and the option of a suite that keeps it


def score_of(part: SuitePart) -> ScoreSpec:
    """The number that ranks models."""
    score = part.score
    return ScoreSpec(score.name, with_parameters(score.formula, score.with_), score.over, score.of)


def summaries_of(part: SuitePart) -> tuple[SummarySpec, ...]:
    """The numbers beside it, in the order of the suite."""
    return tuple(SummarySpec(s.name, with_parameters(s.formula, s.with_), s.of) for s in part.summaries)


def check_numbers(part: SuitePart, document: Document) -> None:
    """Look every metric and formula up. Raises SuiteError with the line of what is wrong."""
    for i, name in enumerate(part.metric_names):
        metric = document.asking(("metrics", i), partial(build_metric, name))
        if _LOGITS in metric.needs and part.store != _LOGITS:
            raise document.error(
                ("metrics", i),
                f"{name} needs the logit of every class, not kept in rows: add `store: {_LOGITS}` to the "
                "suite (four bytes for each image, condition and class)",
            )
    names = Counter([part.score.name, *(s.name for s in part.summaries)])
    for i, summary in enumerate(part.summaries):
        if names[summary.name] > 1:
            raise document.error(
                ("summaries", i), f"two numbers are called {summary.name!r}: name them apart"
            )
    for path, of, formula in _formulas(part):
        if of not in part.metric_names:
            raise document.error(path, f"{path[0]}.of: {of!r} is not among the suite's metrics")
        document.asking(path, partial(build_formula, formula))


def check_formulas(part: SuitePart, document: Document, conditions: tuple[Condition, ...]) -> None:
    """Whether the formulas can do with these conditions, where they have an opinion. Raises SuiteError."""
    judged = tuple(c for c in conditions if not c.check)
    for path, of, formula in _formulas(part):
        check = getattr(build_formula(formula), "check", None)
        if check is not None:
            document.asking(path, partial(check, judged, of))


def _formulas(part: SuitePart) -> Iterator[tuple[Path, str, str]]:
    """Where each formula stands, its metric, and itself."""
    score = score_of(part)
    yield ("score",), score.of, score.formula
    for i, summary in enumerate(summaries_of(part)):
        yield ("summaries", i), summary.of, summary.formula
