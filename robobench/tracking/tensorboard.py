"""TensorBoard: event files in a folder for each suite and model, with the board beside them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robobench.leaderboard.render_markdown import escaped
from robobench.tracking.told import Told, safe


@dataclass(frozen=True)
class TensorBoard:
    """folder: where `tensorboard --logdir` looks; by default `runs`."""

    folder: str = ""

    def keep(self, model: Told, files: Sequence[Path]) -> None:
        """One folder of events. Raises what the client raises."""
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(self.folder or "runs") / safe(model.suite) / model.place
        with SummaryWriter(str(folder)) as writer:
            for number in model.numbers:
                writer.add_scalar(number.name, number.value, number.step)
            lines = [f"- {escaped(k)}: {escaped(v)}" for k, v in model.params.items()]
            writer.add_text("params", "\n".join(lines))
            if model.doubts:
                writer.add_text("doubts", "\n".join(f"- {escaped(d)}" for d in model.doubts))
        for path in files:
            shutil.copyfile(path, folder / path.name)
