"""Weights & Biases: a run for each model, in the group of its suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robobench.tracking.told import Told, safe

_STEP = "level"  # the step along a ladder; W&B's own only counts calls


@dataclass(frozen=True)
class WandB:
    """project: by default `robobench`. Account, server and WANDB_MODE are those of the environment."""

    project: str = ""

    def keep(self, model: Told, files: Sequence[Path]) -> None:
        """One run. Raises what the client raises."""
        import wandb

        with wandb.init(
            project=self.project or "robobench", group=model.suite, name=model.model, job_type="robobench",
            config=dict(model.params), notes="\n".join(model.doubts), reinit="create_new",
        ) as run:  # fmt: skip
            run.define_metric("*", step_metric=_STEP)
            for step in sorted({n.step for n in model.numbers}):
                run.log({_STEP: step, **{n.name: n.value for n in model.numbers if n.step == step}})
            run.summary["doubts said"] = list(model.doubts)
            kept = wandb.Artifact(safe(f"leaderboard-{model.suite}").replace(" ", "_"), type="leaderboard")
            for path in files:
                kept.add_file(str(path))
            run.log_artifact(kept)
