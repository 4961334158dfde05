"""The attacks on vision transformers against networks and loops written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robobench.engine.stepped import Stepped
from robobench.errors import ModelError, Unsupported
from robobench.registry import attacks, data, models
from robobench.specs import parse_spec
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch, LabelSpace
from tests.fakes import FakeModel, conv_model, linear_model, make_batch, make_draws, run_stepped, vit_model

PNA, ENSEMBLE = "vit.pna_patchout", "vit.self_ensemble"
KINDS = {"class token": {}, "average": {"class_token": False, "global_pool": "avg"}}


def right(model, n=4, side=16):
    batch = make_batch(n, side)
    return ImageBatch(batch.pixels, batch.ids, model(batch).argmax(1))


def sharp(**options):
    """A ViT whose attention is far from even, so that it carries gradient."""
    model = vit_model(**options)
    for block in model.module.blocks:
        block.attn.qkv.weight.data.mul_(20)
        block.attn.proj.weight.data.mul_(10)
    return model


def tokens_by_hand(vit, pixels, *, detached):
    """What a timm VisionTransformer computes: the tokens after each block, attention written out."""
    x = vit.patch_embed.proj(pixels).flatten(2).transpose(1, 2)
    if vit.cls_token is not None:
        x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], dim=1)
    x, found = x + vit.pos_embed, []
    for block in vit.blocks:
        heads, y = block.attn.num_heads, block.norm1(x)
        q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in block.attn.qkv(y).chunk(3, dim=2))
        attention = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(dim=3)
        attention = attention.detach() if detached else attention
        x = x + block.attn.proj((attention @ v).transpose(1, 2).flatten(2))
        x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))
        found.append(x)
    return found


def read_by_hand(vit, tokens):
    if vit.cls_token is not None:
        return vit.head(vit.norm(tokens)[:, 0])
    return vit.head(vit.fc_norm(vit.norm(tokens).mean(1)))


def gradient_by_hand(vit, batch, *, detached, every):
    pixels = batch.pixels.clone().requires_grad_()
    tokens = tokens_by_hand(vit, pixels, detached=detached)
    answers = [read_by_hand(vit, t) for t in (tokens if every else tokens[-1:])]
    loss = sum(F.cross_entropy(a, batch.labels, reduction="sum") for a in answers)
    return torch.autograd.grad(loss, pixels)[0]


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_skip_the_attention(kind):
    model = sharp(**KINDS[kind])
    batch = right(model)
    attack = attacks.build(PNA, {"eps": "16/255"})
    logits, found = attack.within(model).gradient(batch, cross_entropy)
    torch.testing.assert_close(logits, model(batch), atol=1e-5, rtol=1e-5)
    expected = gradient_by_hand(model.module, batch, detached=True, every=False)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-3)
    _, plain = model.gradient(batch, cross_entropy)
    assert (plain - found).abs().max() > 0.1 * plain.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_all_blocks_are_added_up(kind):
    model = sharp(**KINDS[kind])
    batch = right(model)
    attack = attacks.build(ENSEMBLE, {"eps": "16/255"})
    logits, found = attack.within(model).gradient(batch, cross_entropy)
    torch.testing.assert_close(logits, model(batch), atol=1e-5, rtol=1e-5)
    expected = gradient_by_hand(model.module, batch, detached=False, every=True)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-3)
    last = attacks.build(ENSEMBLE, {"eps": "16/255", "index": "last"})
    assert last.within(model) is model
    alone = gradient_by_hand(model.module, batch, detached=False, every=False)
    torch.testing.assert_close(model.gradient(batch, cross_entropy)[1], alone, atol=2e-5, rtol=1e-3)
    assert (alone - found).abs().max() > 0.1 * alone.abs().max()


@pytest.mark.parametrize("objective", ["ce", "dlr"])
def test_the_objective_is_that_of_every_block(objective):
    model = sharp()
    batch = right(model)
    attack = attacks.build(ENSEMBLE, {"eps": "16/255", "objective": objective, "target": "second"})
    state = attack.start(batch, model(batch), 0, make_draws(batch))
    inside = ImageBatch(batch.pixels, batch.ids, batch.labels, state)
    asked = []

    def loss(logits, labels):
        asked.append(attack.loss(logits, labels, state))
        return asked[-1]

    _, found = attack.within(model).gradient(inside, loss)
    pixels = batch.pixels.clone().requires_grad_()
    tokens = tokens_by_hand(model.module, pixels, detached=False)
    answers = [read_by_hand(model.module, t) for t in tokens]
    total = sum(attack.loss(a, batch.labels, state).sum() for a in answers)
    torch.testing.assert_close(found, torch.autograd.grad(total, pixels)[0], atol=2e-5, rtol=1e-3)
    assert len(asked) == 1, "what is noted as the loss is the model's own"


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_pna_patchout_is_the_published_loop(decay):
    """One image, as the authors run it: loss and length in one graph, torch.norm's gradient, their order."""
    model = sharp()
    batch = right(model, 1)
    steps, eps, rows = 4, 16 / 255, 4
    params = {"eps": eps, "steps": steps, "grid": rows, "decay": decay, "share": 0.6}
    attack, draws = attacks.build(PNA, params), make_draws(batch)
    order = draws.uniform("cells", steps, rows * rows).argsort(dim=2, stable=True)[0]
    images, change = batch.pixels, torch.zeros_like(batch.pixels)
    momentum = torch.zeros_like(change)
    for step in range(steps):
        mask = torch.zeros(rows * rows)
        mask[order[step, :9]] = 1  # floor(.6 * 16)
        mask = mask.view(1, 1, rows, rows).repeat_interleave(4, 2).repeat_interleave(4, 3)
        change.requires_grad_()
        answer = read_by_hand(
            model.module, tokens_by_hand(model.module, images + change * mask, detached=True)[-1]
        )
        cost = F.cross_entropy(answer, batch.labels) + 0.1 * torch.norm(change)
        (gradient,) = torch.autograd.grad(cost, change)
        if decay:
            gradient = gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True) + momentum * decay
            momentum = gradient
        change = (change.detach() + eps / steps * gradient.sign()).clamp(-eps, eps)
        change = (images + change).clamp(0, 1) - images
    found = run_stepped(attack, model, batch, draws)
    apart = (found - (images + change)).abs() > 1e-6
    assert apart.float().mean() < 0.002, "but for signs of gradients that are nearly 0"


def test_self_ensemble_is_mi_fgsm_on_the_summed_gradient():
    model = sharp()
    batch = right(model, 2)
    steps, eps = 4, 16 / 255
    found = run_stepped(
        attacks.build(ENSEMBLE, {"eps": eps, "steps": steps}), model, batch, make_draws(batch)
    )
    pixels, noise = batch.pixels.clone(), 0
    for _ in range(steps):
        gradient = gradient_by_hand(model.module, batch.with_pixels(pixels), detached=False, every=True)
        noise = noise + gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
        pixels = (pixels + eps / steps * noise.sign()).clamp(0, 1)
    apart = (found - pixels).abs() > 1e-6
    assert apart.float().mean() < 0.002, "but for signs of gradients that are nearly 0"


def test_a_step_sees_the_change_on_a_share_of_the_cells_drawn_per_image_and_step():
    model = vit_model(side=28, patch=4)
    batch = right(model, 3, 28)
    attack = attacks.build(PNA, {"eps": "16/255", "steps": 3, "grid": 7})
    state = attack.start(batch, model(batch), 0, make_draws(batch))
    moved = {**state, "pixels": 1 - batch.pixels}
    looks = []
    for taken in range(3):
        probe = attack.probe(batch, {**moved, "taken": torch.full((3,), taken)})
        changed = (probe != batch.pixels).any(1).view(3, 7, 4, 7, 4)
        cells = changed.any(dim=4).any(dim=2)
        assert (cells == changed.all(dim=4).all(dim=2)).all()
        assert cells.flatten(1).sum(1).tolist() == [32] * 3  # floor(130 / 196 * 49)
        looks += list(cells.flatten(1))
    assert len({tuple(c.tolist()) for c in looks}) == 9
    published = attacks.build(PNA, {"eps": "16/255"})
    big = make_batch(1, 28)
    assert published.start(big, model(big), 0, make_draws(big))["seen"].sum(2).tolist() == [[130] * 10]


@pytest.mark.parametrize("name", [PNA, ENSEMBLE])
def test_an_image_does_not_depend_on_its_company(name):
    model = vit_model()
    batch = right(model, 5)
    attack = attacks.build(name, {"eps": "16/255", "steps": 3})
    whole = run_stepped(attack, model, batch, make_draws(batch))
    for rows in ([3], [4, 1]):
        part = batch.select(rows)
        found = run_stepped(attack, model, part, make_draws(part))
        assert ((found - whole[rows]).abs() > 1e-6).float().mean() < 0.002


def hooks_of(module):
    return [n for n, m in module.named_modules() if m._forward_hooks or m._forward_pre_hooks]


@pytest.mark.parametrize("name", [PNA, ENSEMBLE])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(name, fails):
    model = vit_model()
    batch = right(model)
    before = model(batch)
    assert all(b.attn.fused_attn for b in model.module.blocks), "the fused path is the one to be switched off"
    opened = attacks.build(name, {"eps": "16/255"}).within(model)

    def loss(logits, labels):
        if fails:
            raise RuntimeError("on the way")
        return cross_entropy(logits, labels)

    if fails:
        with pytest.raises(RuntimeError, match="on the way"):
            opened.gradient(batch, loss)
    else:
        opened.gradient(batch, loss)
    assert not hooks_of(model.module)
    assert all(b.attn.fused_attn for b in model.module.blocks)
    assert torch.equal(model(batch), before)
    assert torch.equal(opened(batch), before)


class OwnAttention(nn.Module):
    """Attention that has an `attn_drop` and goes around it, as a fused kernel does."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.attn_drop = inner, nn.Dropout(0.0)

    def forward(self, x, **options):
        return self.inner(x, **options)


def test_attention_that_is_not_seen_at_work_raises():
    model = vit_model()
    batch = right(model)
    model.module.blocks[1].attn = OwnAttention(model.module.blocks[1].attn)
    with pytest.raises(ModelError, match=r"^vit.pna_patchout: 2 of 3 attention layers were seen at work"):
        attacks.build(PNA, {"eps": "16/255"}).within(model).gradient(batch, cross_entropy)
    assert not hooks_of(model.module)


def test_a_block_that_is_not_seen_at_work_raises():
    model = vit_model()
    batch = right(model)
    first, *rest = model.module.blocks
    model.module.blocks = nn.Sequential(first, first, *rest)
    with pytest.raises(ModelError, match=r"^vit.self_ensemble: 2 of 4 blocks were seen at work"):
        attacks.build(ENSEMBLE, {"eps": "16/255"}).within(model).gradient(batch, cross_entropy)
    assert not hooks_of(model.module)


class Encoder(nn.Module):
    """A transformer of torch's own layers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, pixels):
        return self.head(self.encoder(self.embed(pixels).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("name", [PNA, ENSEMBLE])
@pytest.mark.parametrize("make", [conv_model, linear_model, lambda: FakeModel(Encoder(), "vit", 5)])
def test_a_model_without_such_blocks_is_not_supported(name, make):
    with pytest.raises(
        Unsupported, match=rf"^{name}: .* vision transformers as timm builds them, .*mi_fgsm$"
    ):
        attacks.build(name, {"eps": "16/255"}).within(make())


def test_a_model_whose_answer_is_not_read_from_its_last_block_is_not_supported():
    model = vit_model()
    batch = right(model)
    module = model.module
    module.forward_head = lambda x, head=module.head: head(x[:, 1])  # and the answer is head(x[:, 0])
    module.forward = lambda x: module.head(module.forward_features(x)[:, 0])
    with pytest.raises(Unsupported, match="through its norm and head, are not its answer"):
        attacks.build(ENSEMBLE, {"eps": "16/255"}).within(model).gradient(batch, cross_entropy)


def test_label_spaces_are_read_in_every_block():
    """Half of the outputs count: the early answers are read like the model's own."""
    space = LabelSpace("half", tuple("abc"), 5, ((0, 1), (2,), (4,)))
    model = vit_model().reading(space)
    batch = make_batch(3)
    batch = ImageBatch(batch.pixels, batch.ids, model(batch).argmax(1))
    _, found = attacks.build(ENSEMBLE, {"eps": "16/255"}).within(model).gradient(batch, cross_entropy)
    pixels = batch.pixels.clone().requires_grad_()
    tokens = tokens_by_hand(model.module, pixels, detached=False)
    answers = [space.answers(read_by_hand(model.module, t)) for t in tokens]
    total = sum(F.cross_entropy(a, batch.labels, reduction="sum") for a in answers)
    torch.testing.assert_close(found, torch.autograd.grad(total, pixels)[0], atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize(("name", "params"), [(PNA, {"grid": 7}), (ENSEMBLE, {})])
def test_the_shipped_vit_falls_inside_the_budget(name, params):
    source = models.build("zoo")
    handle = source.load(source.identify(parse_spec("zoo:vit"), allow_code=False), "cpu")
    model = handle.reading(LabelSpace("digits", tuple("0123456789"), 10))
    digits = data.build("digits", {"path": "mnist", "split": "test"})
    ids = digits.index().ids[:6]
    pixels = torch.stack([torch.from_numpy(digits.read(i)).permute(2, 0, 1) / 255 for i in ids])
    batch = ImageBatch(pixels, ids, torch.zeros(6, dtype=torch.int64))
    clean = model(batch)
    batch = ImageBatch(batch.pixels, batch.ids, clean.argmax(1))
    attack = attacks.build(name, {"eps": "80/255", **params})
    result = Stepped(attack, model, batch, clean, make_draws(batch), 4, Classification()).run(range(6))
    assert result.fell.any()
    assert ((result.pixels - batch.pixels).abs() <= 80 / 255 + 1e-6).all()
    assert (model(batch.with_pixels(result.pixels)).argmax(1) != batch.labels).equal(result.fell)
    handle.check_frozen()
