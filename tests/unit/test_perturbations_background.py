import pytest
import torch

from robobench.errors import BadParameter, DataError
from robobench.registry import perturbations
from tests.fakes import make_batch, make_draws


def build(**params):
    return perturbations.build("background.drop", params)


def with_mask(n=4, side=16, width=None, **inputs):
    mask = torch.zeros(n, side, width or side)
    for i in range(n):
        mask[i, i : i + 5, 2 : 6 + i] = 1
    return make_batch(n=n, side=side, width=width, mask=mask, **inputs)


@pytest.mark.parametrize("width", [16, 23])
def test_foreground_and_background_add_up_to_the_image(width):
    batch = with_mask(width=width)
    draws = make_draws(batch)
    front, back = (build(keep=keep)(batch, draws) for keep in ("foreground", "background"))
    inside = batch.inputs["mask"].bool()[:, None]
    assert torch.equal(front.pixels, torch.where(inside, batch.pixels, 0.0))
    assert torch.equal(back.pixels, torch.where(inside, 0.0, batch.pixels))
    assert torch.equal(front.pixels + back.pixels, batch.pixels)
    share = torch.tensor([5 * (4 + i) / (16 * width) for i in range(4)])
    assert torch.equal(front.facts["area"], share)
    assert torch.equal(back.facts["area"], share)


def test_a_donor_is_a_foreign_background():
    batch = with_mask(donor=make_batch(n=4, seed=7).pixels)
    step = build(keep="foreground", fill="donor")
    assert step.wants == ("mask", "donor")
    out = step(batch, make_draws(batch))
    inside = batch.inputs["mask"].bool()[:, None]
    assert torch.equal(out.pixels, torch.where(inside, batch.pixels, batch.inputs["donor"]))
    assert build(keep="foreground").wants == ("mask",)


@pytest.mark.parametrize("fill", ["grey", "mean", "noise", "blur"])
def test_fills_are_those_of_occlusion(fill):
    batch = with_mask()
    draws = make_draws(batch)
    whole = perturbations.build("occlusion.square", {"fraction": 1.0, "fill": fill})(batch, draws).pixels
    inside = batch.inputs["mask"].bool()[:, None]
    out = build(keep="foreground", fill=fill)(batch, draws).pixels
    torch.testing.assert_close(out, torch.where(inside, batch.pixels, whole), atol=1e-7, rtol=0)


def test_an_empty_mask_is_all_background_and_a_full_one_all_foreground():
    for value, whole, none in ((0.0, "background", "foreground"), (1.0, "foreground", "background")):
        batch = make_batch(n=2, mask=torch.full((2, 16, 16), value))
        kept = build(keep=whole)(batch, make_draws(batch))
        assert torch.equal(kept.pixels, batch.pixels)
        assert kept.facts["area"].tolist() == [value, value]
        assert (build(keep=none)(batch, make_draws(batch)).pixels == 0).all()


def test_a_half_is_foreground():
    mask = torch.full((1, 16, 16), 0.5)
    mask[0, 0] = 0.49
    batch = make_batch(n=1, mask=mask)
    assert build(keep="foreground")(batch, make_draws(batch)).facts["area"].item() == 15 / 16


def test_what_is_kept_has_to_be_said():
    with pytest.raises(BadParameter, match=r"background\.drop: the parameter 'keep' is missing"):
        build()


def test_a_missing_misfitting_or_damaged_mask_is_refused():
    step = build(keep="foreground")
    for inputs, got in (({}, "none"), ({"mask": torch.ones(6, 8, 8)}, r"\(6, 8, 8\)")):
        batch = make_batch(**inputs)
        with pytest.raises(
            BadParameter, match=rf"expected a mask of shape \(6, 16, 16\) .* got {got}; name a"
        ):
            step(batch, make_draws(batch))
    mask = torch.ones(6, 16, 16)
    mask[3, 0, 0] = float("nan")
    batch = make_batch(mask=mask)
    with pytest.raises(DataError, match=r"the mask of image 'img/003\.png' holds NaN or infinity"):
        step(batch, make_draws(batch))
