"""A run that kills itself with SIGKILL at a chosen point: `python -m tests.e2e.killed ROOT POINT [N]`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from tests.bench import ATTACKS, PASSIVE, carry_out, resolved
from tests.fakes import conv_model

TEXT = PASSIVE + ATTACKS.removeprefix("conditions:\n")
ATTACKED = """lot: 8
conditions:
  - {use: gradient.fgsm, name: fgsm, ladder: {eps: [4/255, 8/255]}}
  - {use: gradient.fgsm, name: more, with: {eps: 48/255}}
"""


def main(root: Path, point: str, number: int) -> None:
    torch.set_num_threads(1)
    model = conv_model(10)
    strike = _Strike(number)
    {
        "image": _image,
        "between": _rename,
        "rename": _rename,
        "write": _write,
        "forward": _forward,
        "plan": _plan,
        "never": lambda s, m: None,
    }[point](strike, model)
    if point in ("image", "between"):  # with the images of an attack; before them, and before their rows
        carry_out(resolved(ATTACKED, model, limit=100), root, keep="fallen")
    else:
        carry_out(resolved(TEXT, model), root)


class _Strike:
    """Kills this process, hard, at the n-th call."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _rename(strike: _Strike, model: Any) -> None:
    """Between the temporary file and its rename, for row files."""
    replace = Path.replace

    def struck(self: Path, target: Any) -> Path:
        if str(target).endswith(".parquet"):
            strike()
        return replace(self, target)

    Path.replace = struck  # type: ignore[method-assign]


def _image(strike: _Strike, model: Any) -> None:
    """Between the temporary file and its rename, for files of attacked images."""
    replace = Path.replace

    def struck(self: Path, target: Any) -> Path:
        if str(target).endswith(".safetensors"):
            strike()
        return replace(self, target)

    Path.replace = struck  # type: ignore[method-assign]


def _write(strike: _Strike, model: Any) -> None:
    """Inside a write: half of the file is there."""
    from robobench import rowfiles

    write = rowfiles.write

    def struck(table: Any, where: Path) -> None:
        write(table, where)
        if strike.left == 1:
            with Path(where).open("rb+") as file:
                file.truncate(Path(where).stat().st_size // 2)
        strike()

    rowfiles.write = struck


def _forward(strike: _Strike, model: Any) -> None:
    model.module.register_forward_pre_hook(lambda *_: strike())


def _plan(strike: _Strike, model: Any) -> None:
    import robobench.engine.plan as planning

    items = planning._items

    def struck(*args: Any) -> Any:
        strike()
        return items(*args)

    planning._items = struck


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1)
