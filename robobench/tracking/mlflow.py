"""MLflow: a run for each model, in the experiment `robobench SUITE`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robobench.tracking.told import Told, safe

_BATCH = 500  # metrics in one request; servers take 1,000


@dataclass(frozen=True)
class MLflow:
    """uri: where MLflow keeps its runs, as http://host:5000 or file:///path; empty: MLflow's own default."""

    uri: str = ""

    def keep(self, model: Told, files: Sequence[Path]) -> None:
        """One run. Raises what the client raises."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.uri or None)
        tags = {
            "robobench.fingerprint": model.params["fingerprint"],
            "robobench.doubts": "; ".join(model.doubts),
        }
        run = client.create_run(_experiment(client, model.suite), run_name=model.model, tags=tags).info.run_id
        try:
            _fill(client, run, model, files)
        except BaseException:
            client.set_terminated(run, "FAILED")
            raise
        client.set_terminated(run)


def _experiment(client: Any, suite: str) -> str:
    name = f"robobench {safe(suite)}"
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _fill(client: Any, run: str, model: Told, files: Sequence[Path]) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    client.log_batch(run, params=[Param(k, v) for k, v in model.params.items()])
    numbers = [Metric(n.name, n.value, now, n.step) for n in model.numbers]
    for start in range(0, len(numbers), _BATCH):
        client.log_batch(run, metrics=numbers[start : start + _BATCH])
    for path in files:
        client.log_artifact(run, str(path))
