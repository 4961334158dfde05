"""Patch-Fool against a loop with torch's own Adam and attention worked out from queries and keys."""

import pytest
import torch
from torch import nn

from robobench.attacks.patch.drawn import Drawn, without_conflict
from robobench.engine.assault import run_attack
from robobench.engine.lots import distance
from robobench.errors import BadParameter, ModelError, Unsupported
from robobench.params import read_grid
from robobench.registry import attacks
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch
from tests.fakes import FakeModel, conv_model, make_batch, make_draws, run_stepped

SIDE, PATCH, GRID = 16, 4, 4
WEIGHT = 0.5  # so large that the attention decides some pixels


def vit(depth=6, **options):
    """A transformer deep enough for three blocks of drawn attention, far from even."""
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        sizes = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 16, "num_heads": 2, "num_classes": 5}
        module = VisionTransformer(depth=depth, **sizes, **options)
        nn.init.normal_(module.head.weight, std=0.5)
        for block in module.blocks:
            block.attn.qkv.weight.data.mul_(15)
    return FakeModel(module.requires_grad_(False), "vit", 5)


def fool(**params):
    return attacks.build("patch.fool", {"grid": GRID, "layer": 2, "steps": 4, "attention": WEIGHT, **params})


def draws_of(batch):
    return make_draws(batch, "patch.fool")


def attention_by_hand(model, pixels):
    """Logits, and every block's attention (b, n, n), the mean over heads, with gradients."""
    given, net = [], model.module
    handles = [b.attn.qkv.register_forward_hook(lambda _m, _a, out: given.append(out)) for b in net.blocks]
    logits = net(pixels)
    for handle in handles:
        handle.remove()
    found = []
    for out in given:
        b, n, width = out.shape
        queries, keys, _ = out.view(b, n, 3, 2, width // 6).permute(2, 0, 3, 1, 4)
        found.append((queries @ keys.transpose(2, 3) * (width // 6) ** -0.5).softmax(3).mean(1))
    return logits, found


def pick(model, one, choose, count):
    """The chosen patches of one image, best first."""
    if choose == "random":
        return draws_of(one).permutation("choice", GRID**2)[0, :count].tolist()
    pixels = one.pixels.clone().requires_grad_(True)
    logits, attention = attention_by_hand(model, pixels)
    if choose == "attention":
        scores = attention[2][0].mean(0)[model.module.num_prefix_tokens :]
    else:
        loss = nn.functional.cross_entropy(logits, one.labels)
        (gradient,) = torch.autograd.grad(loss, pixels)
        scores = nn.functional.avg_pool2d(gradient.abs().sum(1, keepdim=True), PATCH).flatten()
    return scores.argsort(descending=True)[:count].tolist()


def gradients(model, one, pixels, leaf, token, weight):
    """That of the cross-entropy in a leaf that the pixels are made of, then of each drawn block's attention."""
    logits, attention = attention_by_hand(model, pixels)
    loss = nn.functional.cross_entropy(logits, one.labels)
    found = [torch.autograd.grad(loss, leaf, retain_graph=True)[0]]
    for block in range(1, len(attention) // 2) if weight else ():
        paid = attention[block][:, :, token + model.module.num_prefix_tokens].log().mean()
        found.append(torch.autograd.grad(paid, leaf, retain_graph=True)[0])
    return found


def summed(own, *drawn, weight=WEIGHT):
    total = own.clone()
    for gradient in drawn:
        dot = (gradient * own).sum()
        if dot < 0:
            gradient = gradient - dot / (own**2).sum() * own
        total += weight * gradient
    return total


def by_hand(model, one, *, choose="attention", count=1, steps=4, weight=WEIGHT, mild=None, mild_norm="linf"):
    """One image, without a mask that is learned."""
    chosen = pick(model, one, choose, count)
    where = torch.zeros(1, 1, SIDE, SIDE)
    for cell in chosen:
        y, x = PATCH * (cell // GRID), PATCH * (cell % GRID)
        where[:, :, y : y + PATCH, x : x + PATCH] = 1
    free = draws_of(one).uniform("noise", 3, SIDE, SIDE)
    if mild and mild_norm == "linf":
        free = one.pixels + mild * (2 * free - 1)

    def bounded(values):
        change = (values - one.pixels) * where
        if mild and mild_norm == "linf":
            change = change.clamp(-mild, mild)
        elif mild:
            for plane in change[0]:
                plane *= min(1.0, mild / float(plane.norm()))
        return (one.pixels + change).clamp(0, 1)

    leaf = bounded(free).requires_grad_(True)
    adam = torch.optim.Adam([leaf], lr=0.05)
    slower = torch.optim.lr_scheduler.StepLR(adam, 10, 0.95)
    for _ in range(steps):
        pixels = one.pixels * (1 - where) + leaf * where
        leaf.grad = -summed(*gradients(model, one, pixels, leaf, chosen[0], weight), weight=weight)
        adam.step()
        slower.step()
        leaf.data = bounded(leaf.data)
    return (one.pixels * (1 - where) + leaf * where).detach()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"steps": 12},
        {"choose": "saliency", "patches": 3},
        {"choose": "random", "patches": 2},
        {"mild": 0.1},
        {"mild": 0.4, "mild_norm": "l2", "patches": 2},
    ],
)
def test_steps_are_those_of_a_loop_with_torchs_adam(params):
    model, batch = vit(), make_batch(n=3, side=SIDE)
    found = run_stepped(fool(**params), model, batch, draws_of(batch))
    given = {("count" if k == "patches" else k): v for k, v in params.items()}
    expected = torch.cat([by_hand(model, batch.select([i]), **given) for i in range(3)])
    close = (found - expected).abs() < 2e-4
    assert close.float().mean() > 0.999  # Adam makes much of gradients that are all rounding
    assert ((found != batch.pixels).any(1).flatten(1).sum(1) <= params.get("patches", 1) * PATCH**2).all()
    without = run_stepped(fool(**{**params, "attention": 0.0}), model, batch, draws_of(batch))
    assert (without - found).abs().max() > 0.01


def test_a_mask_is_learned_as_by_a_loop_with_torchs_adam():
    model, batch = vit(), make_batch(n=2, side=SIDE)
    attack = fool(sparse=0.1, patches=3, steps=6, freeze=4)
    found = run_stepped(attack, model, batch, draws_of(batch))
    for i in range(2):
        one = batch.select([i])
        chosen = pick(model, one, "attention", 3)
        where = torch.zeros(1, 1, SIDE, SIDE)
        for cell in chosen:
            y, x = PATCH * (cell // GRID), PATCH * (cell % GRID)
            where[:, :, y : y + PATCH, x : x + PATCH] = 1
        mask = (draws_of(one).uniform("mask", 1, SIDE, SIDE) * where).requires_grad_(True)
        leaf = draws_of(one).uniform("noise", 3, SIDE, SIDE).clone().requires_grad_(True)
        adam, mask_adam = torch.optim.Adam([leaf], lr=0.05), torch.optim.Adam([mask], lr=0.01)
        for step in range(6):
            if step <= 4:
                shown = (mask >= mask.flatten().sort(descending=True).values[24]).float().detach()
            through = (shown - mask).detach() + mask if step < 4 else shown
            pixels = one.pixels * (1 - shown) + leaf * through * where
            leaf.grad = -summed(*gradients(model, one, pixels, leaf, chosen[0], WEIGHT))
            if step < 4:
                pixels = one.pixels * (1 - shown) + leaf * through * where
                mask.grad = -summed(*gradients(model, one, pixels, mask, chosen[0], WEIGHT))
                mask_adam.step()
                mask.data = (mask.data - mask.data.min() + 1e-6) * where
            adam.step()
            leaf.data.clamp_(0, 1)
        expected = (one.pixels * (1 - shown) + leaf * shown).detach()[0]
        assert shown.sum() == 25
        assert ((found[i] - expected).abs() < 2e-4).float().mean() > 0.995
    assert (distance(batch.pixels, found, "l0") <= attack.eps).all()
    assert attack.eps == 0.1


def test_the_gradient_of_the_attention_is_its_difference_quotient():
    model, batch = vit(), make_batch(n=2, side=SIDE)
    token = torch.tensor([5, 9])
    state = {
        "steps_made": torch.zeros(2, dtype=torch.long),
        "chosen": torch.ones(2, 1, SIDE, SIDE, dtype=torch.bool),
        "token": token,
    }
    at = ImageBatch(batch.pixels, batch.ids, batch.labels, state)
    drawn = Drawn.of(model, "x", read_grid(GRID), None, 1.0)

    def nothing(logits, labels):
        return 0 * logits.sum(1)

    _, found = drawn.gradient(at, nothing)
    exact = vit()
    exact.module.double()

    def paid(pixels):
        with torch.no_grad():
            _, attention = attention_by_hand(exact, pixels)
        rows = torch.arange(2)
        return sum(attention[b][rows, :, token + 1].log().mean(1) for b in (1, 2))

    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        way = torch.randn(batch.pixels.shape, generator=generator, dtype=torch.float64)
        pixels, small = batch.pixels.double(), 1e-6
        quotient = (paid(pixels + small * way) - paid(pixels - small * way)) / (2 * small)
        slope = (found.double() * way).flatten(1).sum(1)
        torch.testing.assert_close(slope, quotient, rtol=1e-3, atol=1e-3)


def test_a_conflict_is_projected_away_with_the_square_of_the_length():
    one = torch.tensor([[1.0, 0.0], [-3.0, 4.0], [-1.0, 1.0]])
    two = torch.tensor([[2.0, 1.0], [5.0, 0.0], [0.0, 0.0]])
    found = without_conflict(one, two)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [0.0, 4.0], [-1.0, 1.0]]))


def test_larger_numbers_of_patches_hold_smaller_ones():
    model, batch = vit(), make_batch(n=4, side=SIDE)
    for choose in ("attention", "saliency", "random"):
        last = torch.zeros(4, SIDE, SIDE, dtype=torch.bool)
        for patches in (1, 2, 5):
            found = run_stepped(fool(choose=choose, patches=patches, steps=1), model, batch, draws_of(batch))
            changed = (found != batch.pixels).any(1)
            assert not (last & ~changed).any()
            assert (changed.flatten(1).sum(1) == patches * PATCH**2).all()
            last = changed


@pytest.mark.parametrize("options", [{"reg_tokens": 3}, {"class_token": False, "global_pool": "avg"}])
def test_other_tokens_than_those_of_patches_are_left_out(options):
    model, batch = vit(**options), make_batch(n=2, side=SIDE)
    found = run_stepped(fool(), model, batch, draws_of(batch))
    expected = torch.cat([by_hand(model, batch.select([i])) for i in range(2)])
    assert ((found - expected).abs() < 2e-4).float().mean() > 0.999


def test_a_model_without_attention_is_said_to_be_unsupported():
    model, batch = conv_model(), make_batch(n=2, side=SIDE)
    with pytest.raises(
        Unsupported, match=r"^patch.fool: Sequential has no `blocks` with .* there is `attention"
    ):
        fool().within(model)
    assert (
        run_stepped(fool(choose="saliency", attention=0.0), model, batch, draws_of(batch)).shape
        == batch.pixels.shape
    )


def test_a_wrong_block_or_grid_or_number_is_refused():
    batch = make_batch(n=2, side=SIDE)
    with pytest.raises(ModelError, match=r"^patch.fool: layer: expected at most 5, got 6"):
        fool(layer=6).within(vit())
    with pytest.raises(ModelError, match=r"^patch.fool: grid: 2x2 are 4 cells, and the model attends to 16"):
        run_stepped(fool(grid=2), vit(), batch, draws_of(batch))
    with pytest.raises(
        BadParameter, match=r"^patch.fool: patches: expected at most the 16 of the grid, got 17"
    ):
        fool(patches=17)
    with pytest.raises(BadParameter, match=r"^patch.fool: mild: expected at most 1 in linf, got 8"):
        fool(mild=8)


class Bypassed(nn.Module):
    """Attention that never shows its weights."""

    def __init__(self, inner):
        super().__init__()
        self.attn_drop = inner.attn_drop

    def forward(self, x, *_args, **_options):
        return x


def test_a_hook_that_does_not_fire_is_noticed_and_no_hook_stays():
    model, batch = vit(), make_batch(n=2, side=SIDE)
    fused = [b.attn.fused_attn for b in model.module.blocks]
    run_stepped(fool(steps=1), model, batch, draws_of(batch))
    assert [b.attn.fused_attn for b in model.module.blocks] == fused
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())
    model.module.blocks[1].attn = Bypassed(model.module.blocks[1].attn)
    with pytest.raises(ModelError, match="1 of 2 attention layers were seen at work"):
        run_stepped(fool(steps=1), model, batch, draws_of(batch))


def test_an_image_ends_the_same_whoever_shares_its_lot():
    """Some places of a lot still choose their patches while others climb."""
    model, batch = vit(), make_batch(n=7, side=SIDE)
    with torch.no_grad():
        logits = model(batch)
    batch = ImageBatch(batch.pixels, batch.ids, logits.argmax(1))
    attack = fool(steps=3, patches=2)
    results = [
        run_attack(attack, model, batch, logits, range(7), draws_of(batch), lot, Classification())
        for lot in (1, 3, 7)
    ]
    assert 0 < results[0].fell.sum() < 7
    for other in results[1:]:
        assert torch.equal(other.fell, results[0].fell)
        assert torch.equal(other.queries, results[0].queries)
        torch.testing.assert_close(other.pixels, results[0].pixels, atol=2e-3, rtol=0)
