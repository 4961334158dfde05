"""A page of attacked images: each clean, its change ten times enlarged, and as the model was fooled by it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.checks.adversarial import Stock, given_images
from robobench.data.digests import cache_folder
from robobench.engine.frames import Frames, open_frames
from robobench.engine.local import Local
from robobench.engine.resolve import Resolved
from robobench.engine.sets import DataSet
from robobench.errors import RobobenchError
from robobench.store import Store
from robobench.tasks.classification import Classification
from robobench.types import Cell, ImageBatch

TIMES = 10  # how much differences are enlarged
SIDE = 168  # pixels of the screen that a picture may take; smaller ones are enlarged by whole factors

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Shot:
    """An attacked image as the gallery shows it; pictures are (h, w, 3) uint8.

    change: ten times the difference around grey. at: the smaller level it fell at, where it did. coarse: it
    also fools when rounded to 8 bits, as the picture is.
    """

    image: str
    label: str
    answer: str
    fell: bool
    linf: float
    l2: float
    queries: int
    at: str
    coarse: bool
    clean: Picture
    change: Picture
    adversarial: Picture


@dataclass(frozen=True)
class Panel:
    """A condition of the gallery. what: its steps in words."""

    model: str
    condition: str
    what: str
    images: int
    attacked: int
    fell: int
    lacking: int
    shots: tuple[Shot, ...]
    faults: tuple[str, ...]


def gallery(resolved: Resolved, store: Store, stocks: Sequence[Stock], images: int) -> list[Panel]:
    """Pictures of the first images of each attack, those that fell at this very level before others.

    No model is loaded, unless the view is its own or a preparation goes into the images.
    """
    local = Local(resolved, store, Classification(), "cpu")
    return [_panel(stock, local, images) for stock in stocks]


def _panel(stock: Stock, local: Local, images: int) -> Panel:
    rows, cell = stock.rows, stock.cell
    ranked = sorted(
        (i for i in rows if i in stock.where),
        key=lambda i: (not rows[i]["fooled"], bool(rows[i]["inherited"])),
    )
    chosen, faults, shots = set(ranked[:images]), list(stock.faults), dict[str, Shot]()
    levels = {key: name for key, name in zip(cell.lower, cell.condition.lower, strict=True)}
    for path, held in stock.files().items():
        ids = [i for i in held if i in chosen]
        if not ids:
            continue
        try:
            kept = local.store.images(path)
            given = given_images(cell, _bench(local, cell, tuple(ids)), ids)
        except RobobenchError as error:
            faults.append(str(error))
            continue
        at = levels.get(path.parent.name, "")
        clean = given.pixels.cpu().numpy()
        for place, image in enumerate(given.ids):
            names = local.resolved.data[cell.condition.data].space.classes
            pixels = kept.pixels([image])[0]
            shots[image] = _shot(image, rows[image], names, at, clean[place], pixels)
    return Panel(
        cell.model.name, cell.condition.name, _steps(cell), stock.images, len(rows), stock.fell,
        len(stock.lacking), tuple(shots[i] for i in ranked if i in shots), tuple(dict.fromkeys(faults)),
    )  # fmt: skip


def _bench(local: Local, cell: Cell, ids: tuple[str, ...]) -> Any:
    """What images are made with; without a model where the view and the inputs need none."""
    data = local.resolved.data[cell.condition.data]
    if data.view is None or any(step.inputs for step in cell.condition.steps):
        return local.bench(local.load(cell.model), cell.model, data, [cell], ids)[0]
    frames = open_frames(data, data.view, cache_folder())
    return _Modelless(data, frames, local.resolved.suite.seed, local.device)


@dataclass(frozen=True)
class _Modelless:
    """The part of a bench that makes images."""

    data: DataSet
    frames: Frames
    seed: int
    device: str

    def inputs(self, cell: Cell, batch: ImageBatch) -> Mapping[str, Any]:
        return {}


def _shot(image: str, row: Mapping[str, Any], names: Sequence[str], at: str, clean: Any, pixels: Any) -> Shot:
    answer = names[row["top1"]] if row["top1"] >= 0 else "not a number"
    change = 0.5 + TIMES * (pixels - clean)
    return Shot(
        image, names[row["label"]], answer, bool(row["fooled"]), float(row["linf"]), float(row["l2"]),
        int(row["queries"]), at, bool(row["fooled_8bit"]),
        _picture(clean), _picture(change), _picture(pixels),
    )  # fmt: skip


def _picture(pixels: Any) -> Picture:
    """(3, h, w) in [0, 1] -> (h, w, 3) uint8."""
    scaled = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(scaled.transpose(1, 2, 0))


def _steps(cell: Cell) -> str:
    """A condition's steps with their parameters, for people."""
    parts, condition = [], cell.condition
    for step in condition.steps:
        params = dict(step.params)
        if condition.along in params:
            params[condition.along] = condition.level  # as the suite writes it: 8/255
        said = ", ".join(f"{k}: {_short(v)}" for k, v in params.items() if v is not None)
        parts.append(f"{step.name} ({said})" if said else step.name)
    return " then ".join(parts)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def page(title: str, panels: Sequence[Panel]) -> str:
    """HTML that asks nobody for anything; pictures are PNG inside the file, so without loss at 8 bits."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("robobench.checks", "site"), autoescape=True, undefined=StrictUndefined
    )
    shown = [
        {"panel": panel, "rows": [{"shot": s, "pictures": list(_pictures(s))} for s in panel.shots]}
        for panel in panels
    ]
    return environment.get_template("adversarial.html.j2").render(title=title, panels=shown, times=TIMES)


def _pictures(shot: Shot) -> Iterable[Mapping[str, Any]]:
    parts = (
        ("clean", shot.clean, f"{shot.image}, clean: {shot.label}"),
        (
            f"change x{TIMES}",
            shot.change,
            f"{shot.image}, what the attack changed, {TIMES} times; grey is nothing",
        ),
        ("attacked", shot.adversarial, f"{shot.image}, attacked: {shot.answer} for {shot.label}"),
    )
    for name, pixels, alt in parts:
        height, width = pixels.shape[:2]
        scale = max(1, SIDE // max(height, width))
        yield {
            "name": name,
            "small": scale > 1,
            "alt": alt,
            "src": _data(pixels),
            "width": width * scale,
            "height": height * scale,
        }


def _data(pixels: Picture) -> str:
    from PIL import Image

    with BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
