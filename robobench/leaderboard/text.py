"""How numbers, names and rules of a leaderboard are said, the same in every format."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from robobench.leaderboard.board import Entry, Health, Ladder, Leaderboard, Level, Measured
from robobench.types import Score

DASH = "–"  # what is undefined; never 0
_UNSEEN = ("Cc", "Cf", "Cs")  # categories: controls, formats, halves of surrogate pairs
_NONE = "\ufffe\uffff"


def shown(text: str) -> str:
    r"""Text from outside on one line: line breaks become spaces, invisible controls become visible.

    So do the two characters that no XML can hold.

    >>> shown("a\nb") + shown("\u202e")
    'a b\ufffd'
    """
    return "".join(
        " " if c in "\r\n\t" else "\ufffd" if unicodedata.category(c) in _UNSEEN or c in _NONE else c
        for c in text
    )


def number(value: float, unit: str) -> str:
    """A number as tables show it: per cent with one decimal for a fraction, else three decimals.

    A unit that starts with % is per cent already.

    >>> number(0.71349, "fraction"), number(1.5, "nats"), number(float("nan"), "fraction")
    ('71.3', '1.500', '–')
    >>> number(76.7, "% of AlexNet")
    '76.7'
    """
    if not math.isfinite(value):
        return DASH
    decimals = 1 if unit == "fraction" or unit.startswith("%") else 3
    text = f"{100 * value if unit == 'fraction' else value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def span(score: Score) -> str:
    """The interval, empty for a score that is undefined."""
    if not math.isfinite(score.value):
        return ""
    return f"[{number(score.low, score.unit)}, {number(score.high, score.unit)}]"


def unit_sign(unit: str) -> str:
    """What stands behind a number of this unit."""
    return "%" if unit == "fraction" else unit


def said(score: Score) -> str:
    """A score in full: value, unit, interval and n."""
    if not math.isfinite(score.value):
        return f"undefined, n = {score.n}"
    return f"{number(score.value, score.unit)} {unit_sign(score.unit)} {span(score)}, n = {score.n}"


def coverage(cell: Measured) -> str:
    """How many images a cell that is not complete has."""
    return "" if cell.complete else f"{cell.present} of {cell.expected}"


def ranks(entry: Entry) -> str:
    """The ranks a model may hold: `1`, `1–2`, or a dash."""
    if entry.rank is None:
        return DASH
    low, high = entry.rank
    return str(low) if low == high else f"{low}–{high}"


def count(parameters: int | None) -> str:
    """Parameters of a model, three digits.

    >>> count(5_717_416), count(812_000), count(None)
    ('5.72 M', '0.81 M', '–')
    """
    if parameters is None:
        return DASH
    size = parameters / 1e6
    return f"{size:.2f} M" if size < 10 else f"{size:.1f} M" if size < 100 else f"{size:.0f} M"


def images(levels: Sequence[Level]) -> str:
    """How many images each level has: `n = 500`, or the range over the levels."""
    sizes = sorted({level.expected for level in levels})
    return f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]}–{sizes[-1]}" if sizes else ""


def level_name(ladder: Ladder, level: Level) -> str:
    """A level as a column head."""
    return shown(level.label) if level.label else shown(ladder.name)


def headline(board: Leaderboard) -> str:
    """Who leads, and whether anybody does."""
    ranked = board.ranked
    if not ranked:
        return "No model is complete yet, so none is ranked."
    first = [e for e in ranked if e.rank is not None and e.rank[0] == 1]
    name, best = shown(ranked[0].name), ranked[0].score
    value = f"{number(best.value, best.unit)} {unit_sign(best.unit)} {span(best)}"
    if len(ranked) == 1:
        return f"{name} has a {board.suite.score.name} of {value}."
    if len(first) == 1:
        return f"{name} leads with a {board.suite.score.name} of {value}, clear of every other model."
    if len(first) == len(ranked):
        return f"{name} has the best {board.suite.score.name}, {value}, but no model is clearly worse."
    others = len(first) - 1
    with_it = f"{others} other models are" if others > 1 else "one other model is"
    return f"{name} has the best {board.suite.score.name}, {value}; {with_it} not clearly worse."


def score_rule(board: Leaderboard) -> str:
    """What the composite score is."""
    spec = board.suite.score
    better = "higher" if board.higher_is_better else "lower"
    what = (
        "the mean over ladders, each the mean of its levels, without clean"
        if spec.formula == "mean"
        else f"the formula {spec.formula!r} over {spec.over}"
    )
    return f"{spec.name} = {what}; of {spec.of}; {better} is better."


def columns_rule(board: Leaderboard) -> str:
    """What stands beside the score, where that is read in another way; else nothing."""
    of = board.suite.score.of
    found = next((e.cells[r.condition].score(of) for e in board.entries for r in board.references), None)
    total = next((e.score for e in board.entries), None)
    if found is None or total is None:
        return ""
    if (found.unit, found.higher_is_better) == (total.unit, total.higher_is_better):
        return ""
    better = "higher" if found.higher_is_better else "lower"
    return f"The other columns are {of} ({unit_sign(found.unit)}); there {better} is better."


def interval_rule(board: Leaderboard) -> str:
    """How intervals are made."""
    return (
        f"Brackets are {board.level:.0%} intervals: Wilson's for the share of images that are right, "
        f"elsewhere from {board.resamples:,} resamples of the images, the same ones for every model and "
        "condition, corrected for skewness. n is the number of images."
    )


def tie_rule(board: Leaderboard) -> str:
    """When models are tied."""
    return (
        f"Two models are told apart only when their difference on the same resampled images excludes 0 "
        f"at {board.level:.0%} jointly over all pairs. Models that share a letter are tied; a rank such as "
        "1–2 names every place a model may hold."
    )


def problems(board: Leaderboard) -> list[tuple[str, str]]:
    """(model, what is wrong) for every incomplete, undefined or flagged model, as shown."""
    found = []
    for entry in board.entries:
        if entry.missing:
            lacks = [f"{c} ({present} of {expected} images)" for c, present, expected in entry.missing]
            found.append((shown(entry.name), shown(f"is not ranked, it is incomplete: {listed(lacks)}")))
        elif entry.rank is None:
            found.append((shown(entry.name), f"is not ranked, its {board.suite.score.name} is undefined"))
        found += [(shown(entry.name), shown(flag)) for flag in entry.flags]
    return found


MARK = "†"  # beside a number that should not be taken at its word


def mark(entry: Entry, levels: Sequence[Level]) -> str:
    """The mark, where a check of an attack behind the number failed."""
    return MARK if entry.doubts(v.condition for v in levels) else ""


def marks(board: Leaderboard, entry: Entry) -> str:
    """The mark of a composite score."""
    return mark(entry, [v for ladder in board.ladders for v in ladder.levels])


def mark_rule(board: Leaderboard) -> str:
    """What the mark means, where there is one."""
    if not any(marks(board, e) for e in board.entries):
        return ""
    return f"{MARK} A check of the attack failed: the number may flatter the model."


def summary_heads(board: Leaderboard) -> list[str]:
    """The suite's further numbers as column heads, each with its unit and which way is better."""
    first = next((e.summaries for e in board.entries), ())
    return [
        f"{shown(s.name)} ({unit_sign(s.unit)}{'' if s.higher_is_better else ', lower is better'})"
        for s in first
    ]


def health(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the health panel: a row for each attack on each model, a column for each check."""
    checks = list(dict.fromkeys(h.check for e in board.entries for h in e.health))
    rows = []
    for entry in board.entries:
        for condition in dict.fromkeys(h.condition for h in entry.health):
            own = {h.check: h for h in entry.health if h.condition == condition}
            rows.append([shown(entry.name), shown(condition), *(_checked(own.get(c)) for c in checks)])
    return ["Model", "Attack", *(f"{c} (≤ {_limit(board, c)})" for c in checks)], rows


def falls(board: Leaderboard) -> list[str]:
    """For each attack ladder, from which level on each model has no accuracy left."""
    found = []
    for ladder in board.ladders:
        names = {v.condition for v in ladder.levels}
        attacked = any(h.condition in names for e in board.entries for h in e.health)
        if attacked and ladder.along:
            where = [f"{shown(e.name)} {_zero_at(e, ladder, board.suite.score.of)}" for e in board.entries]
            found.append(f"{shown(ladder.name)} takes the last right answer from: {'; '.join(where)}.")
    return found


def _zero_at(entry: Entry, ladder: Ladder, of: str) -> str:
    levels = [(v.label, entry.cells[v.condition].score(of).value) for v in ladder.levels]
    first = next((label for label, value in levels if value == 0), None)
    return f"at {ladder.along} {first}" if first is not None else f"not up to {ladder.along} {levels[-1][0]}"


def _limit(board: Leaderboard, check: str) -> str:
    limit = next(h.limit for e in board.entries for h in e.health if h.check == check)
    return f"{limit:.0%}"


def _checked(found: Health | None) -> str:
    if found is None:
        return DASH
    return f"{number(found.score.value, 'fraction')} %" + ("" if found.ok else f" {MARK}")


HEALTH_RULE = (
    "Each column is a share of images that speaks against the attack; one above its limit, by two images or "
    "more, marks the attack's results. gradients, loss, repeats, rounding and logits are read off its own "
    "rows; noise, steps, restarts and black box are what random noise of the same size, twice the steps, "
    "two more restarts and 1,000 queries of Square fell beyond it; unbounded is what is right without a "
    "budget."
)


def listed(items: Sequence[str], most: int = 4) -> str:
    """The first of some items, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    head = ", ".join(items[:most])
    return head if len(items) <= most else f"{head} and {len(items) - most} more"


def failed(board: Leaderboard) -> list[tuple[str, str, str]]:
    """(model, condition, what happened) for every recorded failure, as shown."""
    return [
        (
            shown(f.model),
            shown(f.condition),
            shown(
                f"{'not supported: ' * f.unsupported}{f.reason} ({f.images} image{'s' * (f.images != 1)})"
                + (f"; {f.hint}" if f.hint else "")
            ),
        )
        for f in board.failures
    ]


def drops(board: Leaderboard, ladder: Ladder) -> str:
    """From which level of a ladder on each model is surely worse than on clean images; else empty."""
    known = [(e.name, e.drops[ladder.name]) for e in board.entries if ladder.name in e.drops]
    if not known or len(ladder.levels) < 2:
        return ""
    said = "; ".join(f"{shown(name)}: {shown(level)}" for name, level in known)
    return f"First level that is surely worse than clean (5 %, Holm's correction over the levels): {said}."


def stopped(board: Leaderboard) -> str:
    """Which models saw a part of the images only, and what that means for ranks; empty when none did."""
    levels = [*board.references, *(v for ladder in board.ladders for v in ladder.levels)]
    found = []
    for entry in board.entries:
        cells = [
            (entry.cells[v.condition].expected, v.expected) for v in levels if v.condition in entry.cells
        ]
        fewer = sorted({(own, whole) for own, whole in cells if own < whole})
        if fewer:
            sizes = listed([f"{own:,} of {whole:,}" for own, whole in fewer], most=2)
            found.append(f"{shown(entry.name)} at {sizes} images")
    if not found:
        return ""
    return (
        f"{'; '.join(found)}. Scores and intervals go by each model's own images, ranks and ties by those "
        "that all ranked models have."
    )


def protocol(board: Leaderboard) -> list[tuple[str, str]]:
    """Everything needed to repeat the numbers: (what, value)."""
    suite = board.suite
    lines = [
        ("Suite", suite.name),
        ("Command", suite.command),
        ("Score", score_rule(board)),
        ("View", suite.view),
        ("Seed", str(suite.seed)),
        ("Limit", "" if suite.limit is None else f"{suite.limit} images"),
        ("Stopped early", stopped(board)),
        *(
            (f"Data {d.name}", _data(d.title, d.images, d.label_space, d.digest, d.excluded))
            for d in suite.data
        ),
        *((f"Ladder {ladder.name}", _ladder(ladder)) for ladder in board.ladders),
        ("Versions", ", ".join(f"{k} {v}" for k, v in suite.versions.items())),
        ("Hardware", suite.hardware),
        ("Date", suite.date),
        ("Citation", suite.citation),
        ("Fingerprint", suite.fingerprint),
    ]
    return [(shown(k), shown(v)) for k, v in lines if v]


def _data(title: str, images: int, space: str, digest: str, excluded: Sequence[str]) -> str:
    lost = f"; cannot be decoded and left out: {', '.join(excluded)}" if excluded else ""
    return f"{title}; {images} images, label space {space}, digest {digest}{lost}"


def _ladder(ladder: Ladder) -> str:
    """The steps of a ladder's first level, and which levels there are."""
    if not ladder.levels:
        return ""
    first = ladder.levels[0]
    what = " then ".join(first.steps) or f"images of data set {first.data}"
    along = f"; {ladder.along}: {', '.join(level.label for level in ladder.levels)}" if ladder.along else ""
    return f"{what}{along}; {images(ladder.levels)} a level{_distances(ladder)}"


def _distances(ladder: Ladder) -> str:
    """How far each level is from the clean images, where that was measured for all."""
    marks = [level.yardstick for level in ladder.levels]
    known = [m for m in marks if m is not None]
    if len(known) < len(marks):
        return ""
    ratios = ", ".join(f"{m.psnr:.1f}" if math.isfinite(m.psnr) else "-" for m in known)
    likeness = ", ".join(f"{m.ssim:.2f}" for m in known)
    ssim = "" if any(math.isnan(m.ssim) for m in known) else f", SSIM {likeness}"
    return f"; PSNR {ratios} dB{ssim} to clean"
