"""kill -9 loses at most the item in flight; the same run again finishes the rest and repeats nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from robobench.store import Store
from tests.bench import carry_out, left, resolved, rows, same_rows
from tests.e2e.killed import TEXT
from tests.fakes import conv_model

ROOT = Path(__file__).parents[2]


def run(root: Path, point: str, number: int) -> int:
    command = [sys.executable, "-m", "tests.e2e.killed", str(root), point, str(number)]
    return subprocess.run(command, cwd=ROOT, timeout=120, check=False).returncode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    found = resolved(TEXT, conv_model(10))
    carry_out(found, root)
    return rows(found, root)


@pytest.mark.parametrize(
    ("point", "number"),
    [("rename", 1), ("rename", 3), ("write", 2), ("forward", 10), ("forward", 60), ("plan", 1)],
)
def test_a_killed_run_is_finished_by_the_next(point, number, undisturbed, tmp_path):
    assert run(tmp_path, point, number) == -signal.SIGKILL
    found = resolved(TEXT, conv_model(10))
    store = Store.open(tmp_path, create=True)
    saved = sum(len(ids) for ids in store.have(c.key for c in left(found, store).cells).values())
    if point in ("rename", "write") and number > 1:
        assert saved > 0, "items before the one in flight are kept"
    total = sum(left(found, store).wanted.values())
    outcome = carry_out(found, tmp_path)
    assert outcome.rows == total - saved, "what was committed is not computed again"
    same_rows(rows(found, tmp_path), undisturbed)
    assert not left(found, store).items
    assert not list(tmp_path.rglob("*.part"))


def test_killed_again_and_again(undisturbed, tmp_path):
    """Each attempt dies a little further on; in the end the rows are the same."""
    for number in (20, 40, 45, 50):
        run(tmp_path, "forward", number)
    assert run(tmp_path, "never", 1) == 0
    found = resolved(TEXT, conv_model(10))
    same_rows(rows(found, tmp_path), undisturbed)
