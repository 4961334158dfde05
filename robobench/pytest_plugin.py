"""pytest: a test that fails when a model has become worse than its baseline, or misses its floors.

```python
@pytest.mark.robobench(suite="quickstart", limit=500, max_drop=0.02)
def test_it_is_no_worse(robobench):
    robobench(build_my_model())
```
pytest loads this file at every start, wherever robobench is installed: it imports nothing heavy before a
marked test runs.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from robobench.errors import RobobenchError, nearest

if TYPE_CHECKING:
    from torch import nn

    from robobench.api import Results
    from robobench.leaderboard.gate import Report
    from robobench.leaderboard.policy import Policy

MARK = "robobench"
_LONGEST = 100  # letters of a test's parameters in a file's name
_EXAMPLE = '`@pytest.mark.robobench(suite="quickstart", max_drop=0.02)`'


@dataclass(frozen=True)
class Asked:
    """The arguments of a mark. Paths are taken from the folder of the test's file.

    suite: a name or a YAML file. max_drop: the drop that does not matter, as a share; the margin of the gate
    against `baseline`, a file of `robobench baseline`, by default one that is called after the test. A policy
    that says more than floors asks for that gate, too.
    min_score: what the score has to reach, as a share. data, limit: as in `robobench run`. policy: a file
    as of `robobench gate`, or what would stand in it.
    """

    suite: str
    max_drop: float | None = None
    baseline: str | Path | None = None
    min_score: float | None = None
    data: str | None = None
    limit: int | None = None
    policy: str | Path | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("max_drop", "min_score"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and 0 < value < 1):
                raise RobobenchError(f"{name}: expected a share between 0 and 1, as in 0.02, got {value!r}")
        if self.limit is not None and not (type(self.limit) is int and self.limit > 0):
            raise RobobenchError(f"limit: expected a whole number above 0, got {self.limit!r}")


@dataclass
class Judge:
    """What a marked test calls with its model; `report` is what the gate said last."""

    asked: Asked
    folder: Path  # of the test's file
    default: Path  # the baseline where none is named
    results: Path
    update: bool
    called: bool = False
    report: Report | None = None
    properties: list[tuple[str, object]] = field(default_factory=list)  # of the test, for reports

    def __call__(self, model: nn.Module | str, *, name: str = "candidate") -> Results:
        """Evaluate a model, a module in memory or a SPEC, and fail the test when it is held back.

        A module takes (b, 3, h, w) float32 in [0, 1] and gives logits. Only what the results folder lacks is
        computed. An inconclusive gate that its policy lets through is a warning.
        """
        __tracebackhide__ = True
        self.called = True
        try:
            results = self._run(model, name)
            if self.update and self._baseline is not None:
                self._write(results, name)
            self.report = self._judge(results)
        except RobobenchError as error:
            raise _failure(str(error)) from None
        self._tell(self.report)
        return results

    @property
    def _baseline(self) -> Path | None:
        """The file to compare with; None where only floors are asked for."""
        if self.asked.baseline is not None:
            return self.folder / self.asked.baseline
        said = self._given().model_fields_set - {"floors", "schema_"}
        return self.default if said or self.asked.max_drop is not None else None

    @property
    def suite(self) -> str | Path:
        """A file beside the test, or a name."""
        beside = self.folder / self.asked.suite
        return beside if beside.is_file() else self.asked.suite

    def policy(self) -> Policy:
        """The policy with what the mark says itself. Raises RobobenchError."""
        rule = self._given()
        margin, floors = self.asked.max_drop or rule.margin, {**rule.floors, **self._floor()}
        rule = rule.model_copy(update={"margin": margin, "floors": floors})
        if self._baseline is None and not rule.floors:
            raise RobobenchError(
                "there is nothing to hold the model to: give the mark max_drop=0.02 (and a baseline), or "
                "min_score=0.5"
            )
        return rule

    def _given(self) -> Policy:
        """The policy as it was given."""
        from robobench.leaderboard.policy import Policy, load_policy, parse_policy

        given = self.asked.policy
        if given is None:
            return Policy()
        if isinstance(given, Mapping):
            return parse_policy(given, "policy of the mark")
        return load_policy(self.folder / given)

    def _floor(self) -> dict[str, float]:
        """The floor of the suite's score, where the mark names one."""
        from robobench.leaderboard.score import Scale
        from robobench.registry import build_formula, build_metric
        from robobench.suite.load import load_suite

        score = load_suite(self.suite).score
        if self.asked.min_score is None:
            return {}
        if not Scale.of(build_formula(score.formula), build_metric(score.of)).higher_is_better:
            raise RobobenchError(
                f"min_score: {score.name} is better when it is lower: hold it to a baseline, with max_drop"
            )
        return {score.name: self.asked.min_score}

    def _run(self, model: nn.Module | str, name: str) -> Results:
        from robobench import api

        results = api.run(
            self.suite, {name: model}, data=self.asked.data, limit=self.asked.limit, out=self.results
        )
        alone = replace(results.record, models=tuple(m for m in results.record.models if m.name == name))
        results = replace(results, record=alone)  # a kept folder has the models of other tests
        if results.outcome.failures:
            first = results.outcome.failures[0]
            raise RobobenchError(
                f"{len(results.outcome.failures)} cells of {name} failed; {first.condition}: {first.reason}"
            )
        return results

    def _write(self, results: Results, name: str) -> NoReturn:
        """Keep the answers as the new baseline. The test is skipped: it has compared nothing."""
        from robobench.leaderboard.baseline import write_baseline

        path = self._baseline or self.default
        path.parent.mkdir(parents=True, exist_ok=True)
        write_baseline(results.store, results.record, name, path)
        pytest.skip(f"robobench: wrote {path}: commit it")

    def _judge(self, results: Results) -> Report:
        from robobench.leaderboard.baseline import read_baseline
        from robobench.leaderboard.collect import collect
        from robobench.leaderboard.gate import FAIL, FLOOR, PASS, gate

        candidate, rule, path = collect(results.record, results.store), self.policy(), self._baseline
        if path is None:  # a model is as good as itself: what is left are the floors
            report = gate(candidate, candidate, rule)
            floors = tuple(c for c in report.checks if c.kind == FLOOR)
            failed = any(c.verdict == FAIL for c in floors)
            return replace(report, baseline="its floors", checks=floors, verdict=FAIL if failed else PASS)
        if not path.is_file():
            raise RobobenchError(
                f"there is no baseline {path}: write it with `pytest --robobench-update`, then commit it"
            )
        kept = read_baseline(path)
        return replace(gate(collect(kept.record, kept), candidate, rule), baseline=path.name)

    def _tell(self, report: Report) -> None:
        from robobench.leaderboard.gate_text import sentence, to_text

        __tracebackhide__ = True
        self.properties.append(("robobench_verdict", report.verdict))
        if report.exit_code:
            raise _failure(f"{report.suite}, protocol {report.fingerprint}\n\n{to_text(report)}")
        if report.verdict != "pass":
            warnings.warn(pytest.PytestWarning(f"robobench: {sentence(report)}"), stacklevel=3)


_JUDGE = pytest.StashKey[Judge]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line's options."""
    group = parser.getgroup("robobench", "robustness of models")
    group.addoption(
        "--robobench-results", metavar="DIR",
        help="Keep results in DIR and compute only what it lacks. A module in memory is known by its weights "
        "and its class's name there: code that changes below them is not seen. By default tests start anew.",
    )  # fmt: skip
    group.addoption(
        "--robobench-update", action="store_true",
        help="Write the baselines of marked tests anew, from the models as they are, and compare nothing.",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the mark."""
    config.addinivalue_line(
        "markers",
        "robobench(suite, max_drop, baseline, min_score, data, limit, policy): fail when the model that the "
        "test gives to the fixture `robobench` has become worse than its baseline, or misses its floors",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A mark without its fixture would check nothing."""
    if item.get_closest_marker(MARK) and MARK not in getattr(item, "fixturenames", (MARK,)):
        raise _failure(
            "the test is marked but takes no `robobench`: write `def test(robobench): robobench(model)`"
        )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A marked test that gave no model has checked nothing, so it does not pass."""
    outcome: Any = yield
    report = outcome.get_result()
    judge = item.stash.get(_JUDGE, None)
    if judge is not None and report.when == "call" and report.passed and not judge.called:
        report.outcome = "failed"
        report.longrepr = "robobench: the test gave no model: call `robobench(model)` in it"


@pytest.fixture(name=MARK)
def _robobench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Evaluate a model under the suite of the test's mark: `robobench(model)` fails when it became worse."""
    item, config = request.node, request.config
    kept = config.getoption("--robobench-results")
    try:
        judge = Judge(
            asked=_asked(item),
            folder=item.path.parent,
            default=item.path.with_suffix("") / f"{_own_name(item.nodeid)}.baseline",
            results=Path(kept).absolute() if kept else tmp_path_factory.mktemp("robobench"),
            update=config.getoption("--robobench-update"),
            properties=item.user_properties,
        )
        judge.policy()  # reads the suite, too: mistakes are told before the model is built
    except RobobenchError as error:
        raise _failure(str(error)) from None
    item.stash[_JUDGE] = judge
    return judge


def _own_name(nodeid: str) -> str:
    """A file's name that no other test of the file has: its classes, itself, its parameters.

    >>> _own_name("tests/test_it.py::TestA::test_it[vit-0.5]")
    'TestA.test_it-vit-0.5'
    """
    names, _, parameters = nodeid.partition("::")[2].partition("[")
    given = parameters.removesuffix("]")
    plain = re.sub(r"[^\w.-]+", "_", given)[:_LONGEST]
    mark = "" if plain == given else f"-{hashlib.sha256(given.encode()).hexdigest()[:8]}"
    return names.replace("::", ".") + (f"-{plain}" if plain else "") + mark


def _asked(item: pytest.Item) -> Asked:
    """What the marks of a test, its class and its module say, the nearest first. Raises RobobenchError."""
    known = [f.name for f in fields(Asked)]
    said: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers(MARK))):
        if len(mark.args) > 1:
            raise RobobenchError(f"the mark takes the suite and keywords, as in {_EXAMPLE}")
        said.update(zip(known, mark.args, strict=False))
        said.update(mark.kwargs)
    unknown = [k for k in said if k not in known]
    if unknown:
        raise RobobenchError(f"the mark has no {unknown[0]!r}; {nearest(unknown[0], known)}")
    if not isinstance(said.get("suite"), str):
        raise RobobenchError(f"the test needs a mark that names a suite, as in {_EXAMPLE}")
    return Asked(**said)


def _failure(message: str) -> BaseException:
    """What ends a test, without a traceback."""
    return pytest.fail.Exception(f"robobench: {message}", pytrace=False)
