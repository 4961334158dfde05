"""What to cite for a leaderboard: the suite, the models and robobench, as BibTeX."""

from __future__ import annotations

import re

from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.render_latex import latex_text
from robobench.leaderboard.text import shown

_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_WORD = re.compile(r"[A-Za-z]+")
_SHORT = frozenset({"a", "an", "and", "by", "et", "for", "in", "of", "on", "the", "to", "via", "with"})


def to_bibtex(board: Leaderboard) -> str:
    """One entry for each thing that was cited when the board was made, each once.

    Citations are kept as their authors' own words in `howpublished`, because a suite holds text and not
    fields; the year is a field where the text has one.
    """
    suite = board.suite
    version = suite.versions.get("robobench", "")
    entries = [
        _entry("robobench", f"robobench {version}".strip(), f"Protocol {suite.fingerprint}", suite.date)
    ]
    taken = {"robobench"}
    cited = [(suite.citation, f"the suite {suite.name}")]
    cited += [(e.citation or "", f"the model {e.name}") for e in board.entries]
    for text in dict.fromkeys(c for c, _ in cited if c):
        used = [what for c, what in cited if c == text]
        key = _free(_key(text), taken)
        taken.add(key)
        entries.append(_entry(key, text, f"Cited for {', '.join(used)}", text))
    return "\n".join(entries)


def _entry(key: str, text: str, note: str, dated: str) -> str:
    year = _YEAR.search(dated)
    fields = [f"  title = {{{{{latex_text(text)}}}}}"] if key == "robobench" else []
    fields += [] if key == "robobench" else [f"  howpublished = {{{latex_text(text)}}}"]
    fields += [f"  note = {{{latex_text(note)}}}"]
    fields += [f"  year = {{{year[0]}}}"] if year else []
    return "@misc{" + key + ",\n" + ",\n".join(fields) + "\n}\n"


def _key(text: str) -> str:
    """First author, year and first long word of the text, in letters and digits."""
    words = _WORD.findall(shown(text))
    name = words[0].lower() if words else "source"
    year = _YEAR.search(text)
    later = (w.lower() for w in words[1:] if w.lower() not in _SHORT and len(w) > 3)
    return f"{name}{year[0] if year else ''}{next(later, '')}"


def _free(key: str, taken: set[str]) -> str:
    number = 2
    found = key
    while found in taken:
        found, number = f"{key}{number}", number + 1
    return found
