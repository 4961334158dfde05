"""What promise 1 says of the random stream, for any ids, sizes, orders and companies."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robobench.draws import Draws

FEW = settings(max_examples=25)

ids_ = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=9, unique=True)
kinds = st.sampled_from(["bits", "uniform", "normal", "permutation", "integers"])
names = st.text(max_size=8)


def draw(draws: Draws, kind: str, name: str, size: int) -> torch.Tensor:
    if kind == "permutation":
        return draws.permutation(name, size)
    if kind == "integers":
        return draws.integers(name, 0, 11, size)
    return getattr(draws, kind)(name, size)


@FEW
@given(ids_, kinds, names, st.integers(1, 300), st.integers(0, 2**63), st.randoms(use_true_random=False))
def test_order_and_company_do_not_matter(ids, kind, name, size, seed, rng):
    whole = draw(Draws(seed, "s", tuple(ids)), kind, name, size)
    rows = list(range(len(ids)))
    rng.shuffle(rows)
    cut = rng.randint(0, len(rows))
    for part in (rows[:cut], rows[cut:]):
        drawn = draw(Draws(seed, "s", tuple(ids[r] for r in part), memo={}), kind, name, size)
        assert torch.equal(drawn, whole[part])


@FEW
@given(ids_, kinds, names, st.integers(1, 300))
def test_drawing_twice_gives_the_same_and_other_names_in_between_do_not_matter(ids, kind, name, size):
    draws = Draws(0, "s", tuple(ids), memo={})
    first = draw(draws, kind, name, size).clone()
    draw(draws, kind, name + "x", size)
    assert torch.equal(draw(draws, kind, name, size), first)
    assert torch.equal(draw(Draws(0, "s", tuple(ids)), kind, name, size), first)


@FEW
@given(ids_, names, st.integers(1, 200), st.floats(0, 1), st.floats(0, 1))
def test_masks_below_a_threshold_nest(ids, name, size, one, other):
    low, high = sorted((one, other))
    drawn = Draws(0, "s", tuple(ids)).uniform(name, size)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert not ((drawn < low) & ~(drawn < high)).any()


@FEW
@given(ids_, st.integers(1, 300))
def test_a_permutation_holds_every_place_once(ids, size):
    drawn = Draws(0, "s", tuple(ids)).permutation("p", size)
    assert torch.equal(drawn.sort(dim=1).values, torch.arange(size).expand(len(ids), size))


@FEW
@given(ids_)
def test_images_and_streams_draw_differently(ids):
    words = Draws(0, "s", tuple(ids)).bits("n", 4)
    assert len({tuple(w.tolist()) for w in words}) == len(ids)
    assert not torch.equal(words, Draws(0, "t", tuple(ids)).bits("n", 4))
