"""Whether more attacked images fall than a result claims: counted over all, by ladder and by condition."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from robobench.asides import Asides
from robobench.checks.verify import Verdict
from robobench.checks.verify_attacks import Pair, _signs, weigh
from robobench.cli.verify import _about_attacks, _exit_code
from robobench.engine.verified import Verification
from robobench.errors import ExitCode

LEVELS = [f"PGD eps={n}/255" for n in (1, 2, 4, 8, 16)]


def pairs(image: str, claimed: str, ours: str) -> list[Pair]:
    """An image's rows, a level each: `s` where it stands, `f` where it fell."""
    return [
        Pair("PGD", image, one == "s", two == "s", level)
        for level, one, two in zip(LEVELS, claimed, ours, strict=True)
    ]


def test_levels_that_were_forged_do_not_hide_behind_honest_differences():
    """Rows claimed to stand at four levels of 20 images; 20 others lie one level the other way."""
    forged = [p for i in range(20) for p in pairs(f"a{i}", "sssss", "sffff")]
    honest = [p for i in range(20) for p in pairs(f"b{i}", "sffff", "ssfff")]
    counts = weigh([*forged, *honest])
    assert _signs([*forged, *honest]) == (20, 20), "each image by its sign: nothing is seen"
    assert counts.refuted
    assert counts.where in LEVELS[2:]
    assert counts.there == (20, 0)
    assert (counts.fell, counts.stood) == (20, 20)


def test_as_many_either_way_at_every_level_is_no_forgery():
    one = [p for i in range(20) for p in pairs(f"a{i}", "sssff", "ssfff")]
    two = [p for i in range(20) for p in pairs(f"b{i}", "ssfff", "sssff")]
    assert weigh([*one, *two]).p == 1.0
    assert weigh([]).p == 1.0


def test_a_test_that_is_the_same_twice_is_corrected_for_once():
    alone = [Pair("PGD", str(i), True, False, "PGD") for i in range(7)]
    assert weigh(alone).p == pytest.approx(0.5**7)
    assert weigh(alone).refuted


FOUND = Verification(
    "f", "m", "a", True, 9, 9, 1.0, 0, 0, 0, 0, 0, 0, 1.0, 1.0, 1, 0.05, "float32", "cpu", "x", "t"
)
PASSED = Verdict("m", FOUND, (), weigh([]), 0, (), {})
FAILED = replace(PASSED, found=replace(FOUND, passed=False, faults=("other weights",)))
OPEN = replace(PASSED, found=replace(FOUND, passed=False), open=("gone",))


def test_what_could_not_be_computed_hides_no_false_model():
    assert _exit_code([PASSED]) == ExitCode.OK
    assert _exit_code([PASSED, OPEN]) == ExitCode.FAILED_CELLS
    assert _exit_code([OPEN, FAILED]) == ExitCode.CHECK
    assert _exit_code([replace(FAILED, open=("gone",))]) == ExitCode.CHECK


def test_what_of_attack_rows_cannot_be_judged_is_said():
    found = replace(FOUND, searched=40, searched_drawn=18, same=18, fell=5, stood=3, p=0.4, power=0.5)
    assert list(_about_attacks(replace(PASSED, found=found))) == ["m: attack rows: all 18 as claimed"]
    (line,) = _about_attacks(replace(PASSED, found=replace(found, same=0)))
    assert "0 of 18 came out exactly as claimed" in line
    assert "log-probabilities, queries and distances without kept images cannot" in line
    assert "5 images are claimed to stand and fell here, 3 the other way round (p = 0.4)" in line


def test_a_verification_that_came_along_is_taken_away(tmp_path):
    asides = Asides(tmp_path)
    asides.put_verified("f", "m", None)
    asides.put_verified("f", "m", {"passed": True})
    assert asides.verified("f", "m") == {"passed": True}
    asides.put_verified("f", "m", None)
    assert asides.verified("f", "m") is None


def test_numbers_that_no_float_holds_count_as_nothing(tmp_path):
    asides, huge = Asides(tmp_path), 10**400
    (tmp_path / "yardsticks").mkdir()
    (tmp_path / "yardsticks" / "k.json").write_text(json.dumps({"psnr": huge, "ssim": 1.0, "images": 1}))
    assert asides.yardstick("k") is None
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "m.json").write_text(json.dumps([{"images_per_second": huge}]))
    assert asides.speeds("m") == ()
