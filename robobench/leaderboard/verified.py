"""Which models of a board somebody has verified, and what that says of their numbers.

As soon as one model of a board is verified, every one is said to be `verified` or `claimed`; on other boards
nothing is said. A model is verified as long as the rows behind its numbers are those that were looked at.
"""

from __future__ import annotations

from typing import Any

from robobench.engine.record import ModelRecord, RunRecord
from robobench.engine.verified import Source, Verification, standing_verification
from robobench.leaderboard.board import Entry, Leaderboard, Verified
from robobench.leaderboard.text import shown

VERIFIED, CLAIMED = "verified", "claimed"
CHECK = "✓"


def outcome(
    record: RunRecord, model: ModelRecord, source: Source, kept: Any
) -> tuple[Verified | None, tuple[str, ...]]:
    """From what was kept about a model: that it is verified, or a warning that it failed; else neither."""
    found = None if kept is None else standing_verification(record, model, source, kept)
    if found is None:
        return None, ()
    return (_verified(found), ()) if found.passed else (None, (_failed(found),))


def _verified(found: Verification) -> Verified:
    return Verified(
        date=found.time[:10],
        rows=found.rows,
        drawn=found.drawn,
        chance=found.chance,
        attacked=found.searched,
        attacked_drawn=found.searched_drawn,
        attacked_same=found.same,
        hardware=f"{found.device} ({found.hardware})",
        versions=dict(found.versions),
        seed=found.seed,
    )


def _failed(found: Verification) -> str:
    if found.disagree:
        why = f"{found.disagree:,} of {found.drawn + found.searched_drawn:,} rows computed again are false"
    else:
        why = "; ".join(found.faults)
    return f"failed its verification on {found.time[:10]}: {why}"


def word(board: Leaderboard, entry: Entry) -> str:
    """`verified` or `claimed`; nothing on a board where no model is verified."""
    if all(e.verified is None for e in board.entries):
        return ""
    return CLAIMED if entry.verified is None else VERIFIED


def rule(board: Leaderboard) -> str:
    """What verified means, where a model is."""
    number = sum(e.verified is not None for e in board.entries)
    if not number:
        return ""
    rest = "" if number == len(board.entries) else " The others are as whoever ran them claims."
    return (
        f"{CHECK} Verified ({number} of {len(board.entries)} models): a random sample of the model's rows "
        f"was computed again and is as claimed.{rest}"
    )


def _percent(chance: float) -> str:
    return "100 %" if chance == 1 else "more than 99.9 %" if chance > 0.999 else f"{100 * chance:.1f} %"


def details(entry: Entry) -> str:
    """What was computed again, when and where; nothing for a model that is claimed."""
    v = entry.verified
    if v is None:
        return ""
    text = (
        f"{v.drawn:,} of {v.rows:,} rows computed again on {v.date}, {v.hardware}, none of them false; of "
        f"false answers in 1 % of the rows one would have been seen with a chance of {_percent(v.chance)}"
    )
    if v.attacked_drawn:
        same = "all" if v.attacked_same == v.attacked_drawn else f"{v.attacked_same:,}"
        text += (
            f"; of {v.attacked:,} attack rows, which that chance is not about, {v.attacked_drawn:,}, {same} "
            "of them exactly as claimed"
        )
    versions = ", ".join(f"{k} {x}" for k, x in sorted(v.versions.items()))
    return shown(f"{text}. Seed {v.seed}; {versions}")
