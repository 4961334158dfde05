"""The Square Attack against the same told image by image and pixel by pixel, and what it promises."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from robobench.contracts import Seen
from robobench.engine.assault import run_attack
from robobench.engine.stepped import ask
from robobench.errors import BadParameter
from robobench.registry import attacks
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch
from tests.fakes import conv_model, make_batch, make_draws, run_stepped

NORMS = pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 1.0), ("l1", 6.0)])
ORDER = {"linf": math.inf, "l2": 2, "l1": 1}


def square(**params):
    return attacks.build("blackbox.square", params)


def scene(n=4, side=16, seed=3, width=None):
    model, batch = conv_model(), make_batch(n, side, seed=seed, width=width)
    return model, ImageBatch(batch.pixels, batch.ids, model(batch).argmax(1))


# The attack as it is written down: one image, one channel, one square at a time.


def coin(word: int, bit: int) -> bool:
    return bool((word >> bit) & 1)


def signs(word: int) -> list[int]:
    return [-1 if coin(word, 31 - channel) else 1 for channel in range(3)]


def area(p: float, number: int) -> float:
    for last in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        if number > last:
            p /= 2
    return p


def side_of(norm: str, p: float, height: int, width: int) -> int:
    side = int(round(math.sqrt(p * height * width)))  # noqa: RUF046
    if norm == "linf":
        return min(max(side, 1), height, width)
    side = max(side, 3)
    return min(side if side % 2 else side + 1, height, width)


def rectangle(rows: int, columns: int, norm: str) -> torch.Tensor:
    """Smaller and smaller rectangles laid on one another around (rows // 2, columns // 2)."""
    height = torch.zeros(rows, columns)
    power = {"l2": 2, "l1": 4}[norm]
    for k in range(max(rows // 2, columns // 2) + 1):
        for i in range(rows):
            for j in range(columns):
                if abs(i - rows // 2) <= k and abs(j - columns // 2) <= k:
                    height[i, j] += 1 / (k + 1) ** power
    return height / height.norm(p=ORDER[norm]) if height.numel() else height


@cache
def bump(side: int, norm: str, turned: bool) -> torch.Tensor:
    both = torch.zeros(side, side)
    for half, sign in ((slice(0, side // 2), 1), (slice(side // 2, side), -1)):
        both[half] = sign * rectangle(*both[half].shape, norm)
    both = both / both.norm(p=ORDER[norm])
    return both.T if turned else both


def l1_cut(image: torch.Tensor, change: torch.Tensor, eps: float) -> torch.Tensor:
    """Every entry shrunk by one amount, which is found by halving, after it was cut to [0, 1]."""
    image, change = image.double(), change.double()
    room = torch.where(change > 0, 1 - image, image)

    def at(amount: float) -> torch.Tensor:
        return torch.minimum((change.abs() - amount).clamp(min=0), room)

    low, high = 0.0, float(change.abs().max())
    if at(0).sum() > eps:
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if at(middle).sum() > eps else (low, middle)
    return (image + at(high if at(0).sum() > eps else 0) * change.sign()).float()


def filled(norm: str, eps: float, image: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    if norm == "l1":
        return l1_cut(image, change, eps * (1 - 1e-6))
    return (image + eps * change / change.norm()).clamp(0, 1)


def first(attack, image, draws) -> torch.Tensor:
    _, height, width = image.shape
    change = torch.zeros_like(image)
    if attack.norm == "linf":
        words = draws.bits("stripes", 3, 1, width)[0]
        for channel in range(3):
            for column in range(width):
                change[channel, :, column] = -1 if coin(int(words[channel, 0, column]), 31) else 1
        return (image + attack.eps * change).clamp(0, 1)
    side = height // 5
    edge = (height - 5 * side) // 2
    words = draws.bits("tiles", height // side, width // side)[0]
    for i in range(height // side):
        for j in range(width // side):
            word, top, left = int(words[i, j]), edge + i * side, edge + j * side
            for channel, sign in enumerate(signs(word)):
                if top + side <= height and left + side <= width:
                    tile = sign * bump(side, attack.norm, coin(word, 28))
                    change[channel, top : top + side, left : left + side] = tile
    return filled(attack.norm, attack.eps, image, change)


def proposal(attack, image, best, number, draws) -> torch.Tensor:
    norm, eps = attack.norm, attack.eps
    _, height, width = image.shape
    when = int(number / attack.queries * 10000) if attack.rescale_schedule else number
    side = side_of(norm, area(attack.p_init, when), height, width)
    places = draws.uniform("places", attack.queries, 1 if norm == "linf" else 2, 2)[0, number]
    word = int(draws.bits("signs", attack.queries)[0, number])
    windows = [
        (slice(None), *(slice(at, at + side) for at in corner))
        for corner in [(int(p[0] * (height - side)), int(p[1] * (width - side))) for p in places]
    ]
    new = best.clone()
    if norm == "linf":
        for channel, sign in enumerate(signs(word)):
            new[channel][windows[0][1:]] += 2 * eps * sign
        return new.clamp(image - eps, image + eps).clamp(0, 1)
    change, order = best - image, ORDER[norm]
    either = torch.zeros_like(image, dtype=torch.bool)
    for window in windows:
        either[window] = True
    fresh = torch.zeros(3, side, side)
    for channel, sign in enumerate(signs(word)):
        old = change[windows[0]][channel]
        piece = sign * bump(side, norm, coin(word, 28)) + old / (1e-12 + old.norm(p=order))
        taken = (change[channel] * either[channel]).norm(p=order)
        if norm == "l2":
            free = max(eps**2 - float(change.norm() ** 2), 0) / 3
            room = (free + taken**2).sqrt()
        else:
            room = max(eps - float(change.abs().sum()), 0) + 3 * taken
        fresh[channel] = piece / piece.norm(p=order) * room
    change[windows[1]] = 0
    change[windows[0]] = fresh
    return filled(norm, eps, image, change)


@NORMS
@pytest.mark.parametrize(("side", "width"), [(16, None), (15, 20)])
def test_each_proposal_is_the_one_that_is_written_down(norm, eps, side, width):
    """From the best point so far, because rounding decides which of two equal proposals is kept."""
    model, batch = scene(n=2, side=side, width=width)
    attack = square(eps=eps, norm=norm, queries=30)
    draws = make_draws(batch)
    state = dict(attack.start(batch, model(batch), 0, draws))
    alone = [draws.select((image,)) for image in batch.ids]
    for k, image in enumerate(batch.pixels):
        torch.testing.assert_close(state["pixels"][k], first(attack, image, alone[k]), atol=5e-6, rtol=0)
    for number in range(attack.queries):
        state = dict(attack.step(batch, state, ask(attack, model, batch, state, state["pixels"])))
        for k, image in enumerate(batch.pixels):
            expected = proposal(attack, image, state["best"][k], number, alone[k])
            torch.testing.assert_close(state["pixels"][k], expected, atol=5e-6, rtol=0)
    assert (state["asked"] == attack.queries).all()


@NORMS
@pytest.mark.parametrize("rescale", [False, True])
def test_squares_shrink_by_the_schedule(norm, eps, rescale):
    """Images at different proposals, as they are in a lot."""
    numbers = [0, 10, 11, 51, 201, 501, 999]
    batch = make_batch(len(numbers), 48, seed=1)
    attack = square(eps=eps, norm=norm, queries=1000, p_init=0.6, rescale_schedule=rescale)
    state = dict(attack.start(batch, torch.zeros(len(batch), 5), 0, make_draws(batch)))
    state["asked"] = torch.tensor(numbers)
    seen = Seen(torch.zeros(len(batch), 5), torch.full((len(batch),), -1.0), None)
    state = dict(attack.step(batch, state, seen))
    for k, number in enumerate(numbers):
        draws = make_draws(batch).select((batch.ids[k],))
        expected = proposal(attack, batch.pixels[k], state["best"][k], number, draws)
        torch.testing.assert_close(state["pixels"][k], expected, atol=1e-4, rtol=0)
        changed = (state["pixels"][k] != state["best"][k]).any(0)
        when = number * 10 if rescale else number
        side = side_of(norm, area(0.6, when), 48, 48)
        if norm == "linf":
            assert changed.any(0).sum() <= side


def test_a_proposal_is_kept_when_the_margin_rises_or_the_model_is_fooled():
    _, batch = scene(n=5)
    attack = square(eps=0.1, queries=9)
    state = dict(attack.start(batch, torch.zeros(5, 5), 0, make_draws(batch)))
    logits = torch.zeros(5, 5)
    state = dict(attack.step(batch, state, Seen(logits, torch.full((5,), -2.0), None)))
    before = state["best"], state["pixels"]
    loss = torch.tensor([-1.0, -2.0, -3.0, 0.0, float("nan")])
    state = dict(attack.step(batch, state, Seen(logits, loss, None)))
    for k, kept in enumerate([True, False, False, True, False]):
        assert torch.equal(state["best"][k], before[1][k] if kept else before[0][k])
    assert state["margin"].tolist() == [-1.0, -2.0, -2.0, 0.0, -2.0]


@NORMS
def test_budgets_and_query_counts_share_their_draws(norm, eps):
    _, batch = scene()
    few, many, wide = (
        square(norm=norm, **p)
        for p in (
            {"eps": eps, "queries": 5},
            {"eps": eps, "queries": 50},
            {"eps": min(2 * eps, 1), "queries": 50},
        )
    )
    states = [a.start(batch, torch.zeros(4, 5), 0, make_draws(batch)) for a in (few, many, wide)]
    for name in ("places", "signs"):
        assert torch.equal(states[0][name], states[1][name][:, :5])
        assert torch.equal(states[1][name], states[2][name])
    change = [state["pixels"] - batch.pixels for state in states]
    assert torch.equal(change[0], change[1])
    assert torch.equal(change[0].sign() * change[2].sign() >= 0, torch.ones_like(change[0], dtype=torch.bool))
    assert not torch.equal(states[0]["places"][0], states[0]["places"][1])


@NORMS
def test_more_queries_are_never_worse_and_restarts_differ(norm, eps):
    model, batch = scene(n=8, side=12)
    clean, eps = model(batch), {"linf": 0.3, "l2": 10.0, "l1": 150.0}[norm]
    standing = []
    for queries in (1, 10, 40):
        attack = square(eps=eps, norm=norm, queries=queries)
        found = run_attack(attack, model, batch, clean, range(8), make_draws(batch), 3, Classification())
        standing.append(set((~found.fell).nonzero()[:, 0].tolist()))
        assert (found.queries[found.fell] <= queries + 1).all()
        assert (found.queries[~found.fell] >= queries + 1).all()
        margins = model(batch.with_pixels(found.pixels)).argmax(1) == batch.labels
        assert torch.equal(margins, ~found.fell)
    assert standing[0] >= standing[1] >= standing[2]
    assert len(standing[0]) > len(standing[2])
    one, other = (
        run_stepped(square(eps=eps, norm=norm, queries=3), model, batch, make_draws(batch).at(k))
        for k in (0, 1)
    )
    assert not torch.equal(one, other)


def test_it_asks_for_no_gradient():
    model, batch = scene(n=2)
    model.gradient = None
    found = run_attack(
        square(eps=0.01, queries=4),
        model,
        batch,
        model(batch),
        range(2),
        make_draws(batch),
        2,
        Classification(),
    )
    assert found.grad_zero.isnan().all()


def test_a_linf_radius_above_1_is_refused_and_an_l2_radius_is_not():
    with pytest.raises(BadParameter, match="did you mean 8/255"):
        square(eps=8)
    assert square(eps=8, norm="l2").eps == 8
