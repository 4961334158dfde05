"""One results folder of the quickstart for all tests of what runs in people's CI."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from robobench import api
from robobench.leaderboard.baseline import write_baseline

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LIMIT = 20
GOOD, WORSE = "zoo:mixer", "own_model.py:plain?width=4"  # trained, and guessing


@dataclass(frozen=True)
class Quickstart:
    """Both models' rows, and the good one's baseline."""

    results: Path
    baseline: Path

    def workspace(self, folder: Path, *, computed: bool = True) -> Path:
        """A user's checkout: the code of the worse model, the baseline, and perhaps rows from before."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLES / "own_model.py", folder)
        shutil.copy(self.baseline, folder / "quickstart.baseline")
        if computed:
            shutil.copytree(self.results, folder / "results")
        return folder


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    root = tmp_path_factory.mktemp("quickstart")
    models = {"good": GOOD, "worse": f"{EXAMPLES}/{WORSE}"}
    results = api.run("quickstart", models, limit=LIMIT, out=root / "results")
    write_baseline(results.store, results.record, "good", root / "quickstart.baseline")
    return Quickstart(root / "results", root / "quickstart.baseline")
