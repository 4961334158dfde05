"""`robobench zoo train`: the zoo's models from nothing, on real digits, the same from the same seed.

All see the same 4,000 digits under the same light augmentation, AdamW (Loshchilov & Hutter, 2019) and
a one-cycle schedule (Smith & Topin, 2019). Two things are done for the transformers, which would need far
more images otherwise: fixed sine-cosine positions to begin with and mean pooling (Beyer et al., "Better
plain ViT baselines", 2022), and attention weights that start near the identity (Trockman & Kolter, "Mimetic
initialization of self-attention layers", 2023).

cnn-robust sees, instead of each augmented digit, the worst pixels around it (Madry et al., 2018); the
radius grows from 0 over the first half of the steps, without which such training may not begin at all.
PGD overrates it near the radius it was trained at: at 51/255 it leaves 90 % of the digits standing, Auto-PGD
67 of 100; at 38/255 Auto-PGD on two losses and targets, then Square, leave 87 of 100.

Each model is trained on one core, so its arithmetic does not depend on how many there are; several are
trained at once.

Shipped of each model is the one with the median held-out accuracy of seeds 0, 1 and 2, not the best: then
another training is as likely to come out above as below it. Of 1,000 digits the three seeds got right: vit
966, 976, 974; hybrid 977, 978, 980; resnet 983, 982, 982; mixer 967, 966, 965; cnn-robust 979, 980, 983.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from robobench import registry
from robobench.checks.adversarial_training import standing, worst
from robobench.errors import StoreError, UnknownName, nearest
from robobench.models import zoo
from robobench.models.handle import Handle
from robobench.models.runtime import version
from robobench.stats import wilson

if TYPE_CHECKING:
    from torch import Tensor, nn

Say = Callable[[str], None]
TRAIN = "digits:mnist?split=train"
HELD_OUT = "digits:mnist?split=test"


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    rate, decay: of AdamW, warmup: share of the steps. The augmentation's largest amounts: rotate in
    degrees, shift as a share of the side, scale and shear relative to 1.
    """

    epochs: int
    batch: int = 50
    rate: float = 3e-3
    decay: float = 0.05
    smoothing: float = 0.1
    warmup: float = 0.25
    rotate: float = 10.0
    shift: float = 0.07
    scale: float = 0.1
    shear: float = 0.1


@dataclass(frozen=True)
class Hardened(Recipe):
    """How a model is trained adversarially.

    eps: the linf radius in [0, 1] pixel units. steps: of the search for the worst pixels, each stride x eps
    long. ramp: the share of the training over which the radius grows to eps.
    """

    rate: float = 2e-3
    smoothing: float = 0.0
    eps: float = 51 / 255
    steps: int = 5
    stride: float = 0.5
    ramp: float = 0.5


RECIPES: dict[str, Recipe] = {
    "vit": Recipe(epochs=18),
    "hybrid": Recipe(epochs=8),
    "resnet": Recipe(epochs=6),
    "mixer": Recipe(epochs=10),
    "cnn-robust": Hardened(epochs=12),
}
ATTACKED: dict[str, Any] = {"eps": 51 / 255, "steps": 50, "stride": 0.25, "restarts": 2}  # PGD, linf
ATTACKED_DIGITS = 500


@dataclass(frozen=True, eq=False)
class Digits:
    """pixels: (n, 1, 28, 28) float32 in [0, 1], one of three equal channels. labels: (n,) int64."""

    pixels: Tensor
    labels: Tensor
    revision: str


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model and its record, which is written beside the weights."""

    module: nn.Module
    record: dict[str, Any]


def train(name: str, *, seed: int = 0, epochs: int | None = None, progress: Say = lambda _: None) -> Trained:
    """Train one model on this thread and measure it on the held-out digits.

    The same seed gives the same weights on one machine and one version of torch. Raises UnknownName.
    """
    recipe = _recipe(name, epochs)
    seen, held = digits(TRAIN), digits(HELD_OUT)
    with _one_thread():
        module = _fitted(name, recipe, seed, seen, progress)
        handle = Handle(f"zoo:{name}", zoo.described(module, name))
        hits = correct(handle, held)
        attacked = _attacked(handle, held) if isinstance(recipe, Hardened) else {}
    record = {
        "name": name,
        "family": handle.card.family,
        "parameters": handle.card.parameters,
        "weights": handle.card.weights,
        "seed": seed,
        "recipe": asdict(recipe),
        "trained_on": {"data": TRAIN, "n": len(seen.labels), "revision": seen.revision},
        "held_out": {
            "data": HELD_OUT,
            "n": len(held.labels),
            "revision": held.revision,
            **_share(hits, len(held.labels)),
            **attacked,
        },
        "versions": {p: version(p) for p in ("robobench", "torch", "timm", "numpy")},
    }
    return Trained(module, record)


def train_all(
    out: Path, names: Sequence[str] | None = None, *, seed: int = 0, progress: Say = lambda _: None
) -> dict[str, Any]:
    """Train models side by side; write NAME.safetensors and NAME.json of each into a folder.

    Every file is written whole or not at all, the recipe after the weights it describes. Returns the
    records by name. Raises UnknownName, StoreError when the folder cannot be written.
    """
    wanted = list(dict.fromkeys(names or zoo.NAMES))
    for name in wanted:
        _recipe(name, None)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{out}: cannot be made: {error.strerror}") from error
    longest_first = sorted(wanted, key=lambda n: -RECIPES[n].epochs)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        lines = manager.Queue()
        with ProcessPoolExecutor(min(len(wanted), os.cpu_count() or 1), mp_context=context) as pool:
            jobs = {n: pool.submit(_job, n, seed, out, lines) for n in longest_first}
            _relay(list(jobs.values()), lines, progress)
            records = {n: jobs[n].result() for n in wanted}
    return records


def correct(handle: Handle, held: Digits) -> int:
    """How many digits a model names rightly."""
    import torch

    with torch.inference_mode():
        found = [handle.raw(part.expand(-1, 3, -1, -1)).argmax(1) for part in torch.split(held.pixels, 250)]
    return int((torch.cat(found) == held.labels).sum())


def _attacked(handle: Handle, held: Digits) -> dict[str, Any]:
    """What stands of some held-out digits, every class among them, under PGD."""
    rows = slice(None, None, max(len(held.labels) // ATTACKED_DIGITS, 1))
    pixels, labels = held.pixels[rows], held.labels[rows]
    stand = standing(lambda x: handle.raw(x.expand(-1, 3, -1, -1)), pixels, labels, **ATTACKED, seed=0)
    return {"attacked": {**ATTACKED, "n": len(labels), **_share(stand, len(labels))}}


def _share(hits: int, n: int) -> dict[str, Any]:
    low, high = (float(edge) for edge in wilson(hits, n))
    return {"correct": hits, "accuracy": hits / n, "low": low, "high": high}


def digits(spec: str) -> Digits:
    """The images of a digits SPEC as one tensor."""
    import numpy as np
    import torch

    from robobench.specs import parse_spec

    read = parse_spec(spec)
    source = registry.data.build(read.source, {"path": read.path, **read.params})
    index = source.index()
    stored = np.stack([source.read(i)[:, :, 0] for i in index.ids])
    pixels = torch.from_numpy(stored).float().div_(255)
    return Digits(pixels[:, None], torch.tensor(index.labels), index.revision)


def augment(pixels: Tensor, recipe: Recipe, generator: Any) -> Tensor:
    """(b, 1, h, w) turned, moved, scaled and sheared at random, each image by its own amounts."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    def between(most: float) -> Tensor:
        return (torch.rand(len(pixels), generator=generator) * 2 - 1) * most

    angle, scale, shear = (
        between(math.radians(recipe.rotate)),
        1 + between(recipe.scale),
        between(recipe.shear),
    )
    right, down = between(2 * recipe.shift), between(2 * recipe.shift)  # the grid spans [-1, 1]
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = [torch.stack([cosine, shear - sine, right], 1), torch.stack([sine, cosine, down], 1)]
    grid = affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, align_corners=False)


def _recipe(name: str, epochs: int | None) -> Recipe:
    if name not in RECIPES:
        raise UnknownName(f"the zoo has no model {name!r}; {nearest(name, RECIPES)}")
    recipe = RECIPES[name]
    return replace(recipe, epochs=epochs) if epochs else recipe


def _fitted(name: str, recipe: Recipe, seed: int, seen: Digits, progress: Say) -> nn.Module:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = zoo.architecture(name)
        _begin_like_trained(module)
    draws = torch.Generator().manual_seed(seed)
    steps = recipe.epochs * (len(seen.labels) // recipe.batch)
    optimiser = torch.optim.AdamW(module.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=steps, pct_start=recipe.warmup
    )
    module.train()
    for epoch in range(1, recipe.epochs + 1):
        loss = _epoch(module, recipe, seen, draws, optimiser, schedule, steps)
        progress(f"zoo:{name}: epoch {epoch} of {recipe.epochs}, loss {loss:.3f}")
    return module.eval()


def _epoch(
    module: nn.Module, recipe: Recipe, seen: Digits, draws: Any, optimiser: Any, schedule: Any, steps: int
) -> float:
    """One pass over the images in random order; a last short batch is left out. Gives the mean loss."""
    import torch
    from torch.nn.functional import cross_entropy

    mean, std = zoo.MEAN[0], zoo.STD[0]

    def logits(pixels: Tensor) -> Any:
        return module(pixels.sub(mean).div(std).expand(-1, 3, -1, -1))

    order = torch.randperm(len(seen.labels), generator=draws)
    losses = []
    for rows in torch.split(order, recipe.batch):
        if len(rows) < recipe.batch:
            break
        pixels, labels = augment(seen.pixels[rows], recipe, draws), seen.labels[rows]
        if isinstance(recipe, Hardened):
            eps = recipe.eps * min(1.0, schedule.last_epoch / (recipe.ramp * steps))
            pixels = worst(
                logits, pixels, labels, eps=eps, steps=recipe.steps, stride=recipe.stride, generator=draws
            )
        loss: Any = cross_entropy(logits(pixels), labels, label_smoothing=recipe.smoothing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses)


def _begin_like_trained(module: nn.Module) -> None:
    """Positions and attention of a transformer as trained ones look; other networks are left alone."""
    import torch

    blocks = [b for b in getattr(module, "blocks", []) if hasattr(b, "attn")]
    if not blocks:
        return
    with torch.no_grad():
        positions: Any = module.pos_embed
        positions.copy_(_sine_cosine(positions.shape[1], positions.shape[2]))
        for block in blocks:
            for linear in (m for m in block.modules() if isinstance(m, torch.nn.Linear)):
                torch.nn.init.xavier_uniform_(linear.weight)
            _near_identity(block.attn)


def _sine_cosine(count: int, dim: int) -> Tensor:
    """Positions (1, count, dim) of a square grid: a quarter each of sin x, cos x, sin y, cos y."""
    import torch

    side = math.isqrt(count)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = 100.0 ** -(torch.arange(dim // 4) / (dim // 4))
    angles = [place.reshape(-1, 1) * waves for place in (x, y)]
    return torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], dim=1)[None]


def _near_identity(attention: Any) -> None:
    """Queries times keys near 0.7 Z + 0.7 I, values times projection near 0.4 Z - 0.4 I, Z random."""
    import torch

    dim, heads = attention.qkv.weight.shape[1], attention.num_heads
    width = dim // heads

    def halves(noise: float, one: float) -> tuple[Tensor, Tensor]:
        goal = noise * torch.randn(dim, dim) / math.sqrt(dim) + one * torch.eye(dim)
        u, s, v = torch.linalg.svd(goal)
        return u * s.sqrt(), s.sqrt()[:, None] * v

    for head in range(heads):
        left, right = halves(0.7, 0.7)
        rows = slice(head * width, (head + 1) * width)
        attention.qkv.weight[:dim][rows] = left[:, :width].T
        attention.qkv.weight[dim : 2 * dim][rows] = right[:width]
    left, right = halves(0.4, -0.4)
    attention.qkv.weight[2 * dim :] = left.T
    attention.proj.weight.copy_(right.T)


def _job(name: str, seed: int, out: Path, lines: Any) -> dict[str, Any]:
    made = train(name, seed=seed, progress=lines.put)
    write(made, out)
    held = made.record["held_out"]
    lines.put(f"zoo:{name}: {held['correct']} of {held['n']} held-out digits right")
    return made.record


def write(made: Trained, out: Path) -> None:
    """Weights, then the record with their digest, each by a temporary file and a rename."""
    from safetensors.torch import save

    name = made.record["name"]
    data = save({k: v.contiguous() for k, v in made.module.state_dict().items()})
    _replace(out / f"{name}.safetensors", data)
    record = {**made.record, "sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    _replace(out / f"{name}.json", text.encode())


def _replace(path: Path, data: bytes) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error


def _relay(jobs: list[Future[dict[str, Any]]], lines: Any, progress: Say) -> None:
    """Pass on what the workers say until all are done; the first failure ends the wait."""
    while not all(j.done() for j in jobs) or not lines.empty():
        if any(j.done() and j.exception() for j in jobs):
            return
        try:
            progress(lines.get(timeout=0.2))
        except Empty:
            continue


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over several threads may round differently."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
