"""How long work goes on: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from robobench.leaderboard.text import shown
from robobench.types import WorkItem

_EVERY = 10.0  # seconds between plain lines


@dataclass
class Bar:
    """Progress of a run in forward passes, the unit its cost is counted in."""

    console: Console = field(default_factory=lambda: Console(stderr=True))
    _done: int = 0
    _total: int = 0
    _failed: int = 0
    _name: str = ""
    _began: float = 0.0
    _said: float = 0.0
    _bar: Progress | None = None
    _task: TaskID | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, cost: int) -> None:
        self._total = cost
        self._began = self._said = time.monotonic()
        if not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._task = self._bar.add_task("loading", total=cost, rate="")
        self._bar.start()

    def model(self, name: str) -> None:
        self._name = name = shown(name)  # a result may come from anybody
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=_safe(name))
        else:
            self._say(f"{name}: ", force=True)

    def advance(self, item: WorkItem, failures: int) -> None:
        self._done += item.cost
        self._failed += failures
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, rate=f"{rate:,.0f} passes/s")
        else:
            self._say(f"{self._name}: {rate:,.0f} passes/s, ")

    def spare(self, item: WorkItem) -> None:
        """An item that is not needed: less is left, nothing was done."""
        self._total -= item.cost
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=self._total)

    def _say(self, lead: str, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._said >= _EVERY:
            self._said = now
            share = 100 * self._done / max(self._total, 1)
            sys.stderr.write(f"{lead}{share:.0f} % of {self._total:,} forward passes done\n")
            sys.stderr.flush()


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(text)
