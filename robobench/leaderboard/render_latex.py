r"""A leaderboard as a LaTeX table (booktabs) that goes into a paper as it is.

Every interval is the argument of \rbinterval: `\renewcommand{\rbinterval}[2]{}` before the table leaves
them out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from robobench.leaderboard.board import Entry, Leaderboard
from robobench.leaderboard.text import DASH, count, images, mark, marks, number, ranks, shown, unit_sign
from robobench.types import Score

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_",
    "%": r"\%", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "`": r"\textasciigrave{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}", "[": "{[}", "]": "{]}", "–": r"\textendash{}", "—": r"\textemdash{}",
    "†": r"\textdagger{}", "‡": r"\textdaggerdbl{}", "×": r"\texttimes{}", "±": r"\textpm{}", "−": r"$-$",
    "≤": r"$\le$", "≥": r"$\ge$", "…": r"\ldots{}", "°": r"\textdegree{}", "µ": r"\textmu{}",
}  # fmt: skip
_LAST_LETTER = 0x17F  # of Latin Extended-A, the last that every LaTeX sets


def latex_text(text: str) -> str:
    r"""Text that LaTeX sets as it is written: no command, no cell, no group can come of it.

    Letters beyond Latin are given by their number, since not every font has them.

    >>> print(latex_text(r"50% of a_b & \input{x}"))
    50\% of a\_b \& \textbackslash{}input\{x\}
    >>> print(latex_text("模型"))
    (U+6A21)(U+578B)
    """
    return "".join(_letter(c) for c in shown(text)).replace("--", "-{}-")


def to_latex(board: Leaderboard) -> str:
    """One table: ranks, models, clean accuracies, ladders and the score. The best of a column is bold.

    So is every value of the score that these images cannot tell from the best, and in other columns every
    value whose interval reaches the best one.
    """
    heads = _heads(board)
    bold = _bold(board)
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage[T1]{fontenc}, \usepackage{textcomp} on old systems",
        r"\providecommand{\rbinterval}[2]{{\scriptsize\,{[}#1, #2{]}}}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_caption(board)}}}",
        rf"  \label{{tab:robobench-{_key(board.suite.name)}}}",
        rf"  \begin{{tabular}}{{rl{'r' * (len(heads) - 2)}}}",
        r"    \toprule",
        f"    {' & '.join(latex_text(h) for h in heads)} " + r"\\",
        r"    \midrule",
        *(f"    {' & '.join(_row(board, e, bold))} " + r"\\" for e in board.entries),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _letter(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    return character if ord(character) <= _LAST_LETTER else f"(U+{ord(character):04X})"


def _key(name: str) -> str:
    """A label's key: letters, digits and hyphens."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)


def _heads(board: Leaderboard) -> list[str]:
    return [
        "Rank", "Model",
        *(r.condition for r in board.references),
        *(ladder.name for ladder in board.ladders),
        board.suite.score.name,
        "Params",
    ]  # fmt: skip


def _caption(board: Leaderboard) -> str:
    suite = board.suite
    sign = next((unit_sign(e.score.unit) for e in board.entries), "")
    levels = [*board.references, *(v for ladder in board.ladders for v in ladder.levels)]
    said = [
        f"{suite.title}.",
        f"{suite.score.name} in {sign}, {'higher' if board.higher_is_better else 'lower'} is better;",
        f"brackets are {board.level:.0%} intervals, {images(levels)}.",
        "Bold: the best, and what these images cannot tell from it.",
    ]
    if any(marks(board, e) for e in board.entries):
        said.append("†: a check of the attack failed, the number may flatter the model.")
    said.append(f"Made with robobench {suite.versions.get('robobench', '')}".strip() + ",")
    said.append(f"protocol {suite.fingerprint}.")
    return latex_text(" ".join(said))


def _row(board: Leaderboard, entry: Entry, bold: Sequence[frozenset[str]]) -> list[str]:
    cells = [
        *((s, mark(entry, [r])) for r, s in zip(board.references, _clean(board, entry), strict=True)),
        *((entry.ladders[ladder.name], mark(entry, ladder.levels)) for ladder in board.ladders),
        (entry.score, marks(board, entry)),
    ]
    values = [
        _number(score, entry.name in best, note) for (score, note), best in zip(cells, bold, strict=True)
    ]
    return [latex_text(ranks(entry)), latex_text(entry.name), *values, latex_text(count(entry.parameters))]


def _clean(board: Leaderboard, entry: Entry) -> list[Score]:
    return [entry.cells[r.condition].score(board.suite.score.of) for r in board.references]


def _number(score: Score, best: bool, note: str) -> str:
    if not math.isfinite(score.value):
        return latex_text(DASH)
    value = latex_text(number(score.value, score.unit) + note)
    low, high = (latex_text(number(v, score.unit)) for v in (score.low, score.high))
    return (rf"\textbf{{{value}}}" if best else value) + rf"\rbinterval{{{low}}}{{{high}}}"


def _bold(board: Leaderboard) -> list[frozenset[str]]:
    """For each column of numbers the models that share the first place."""
    columns: list[dict[str, Score]] = [
        *({e.name: _clean(board, e)[i] for e in board.entries} for i in range(len(board.references))),
        *({e.name: e.ladders[ladder.name] for e in board.entries} for ladder in board.ladders),
    ]
    first = frozenset(e.name for e in board.ranked if e.rank is not None and e.rank[0] == 1)
    return [*(frozenset(_reaching(c)) for c in columns), first]


def _reaching(scores: dict[str, Score]) -> Iterable[str]:
    """Whose interval reaches the best value."""
    known = {name: s for name, s in scores.items() if math.isfinite(s.value)}
    if not known:
        return ()
    higher = next(iter(known.values())).higher_is_better
    best = (max if higher else min)(s.value for s in known.values())
    return [n for n, s in known.items() if (s.high >= best if higher else s.low <= best)]
