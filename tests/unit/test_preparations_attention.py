"""Attention maps against the softmax of queries and keys worked out by hand, and against timm's own hooks."""

import numpy as np
import pytest
import torch
from torch import nn

from robobench.errors import ModelError
from robobench.registry import preparations
from tests.fakes import FakeModel, conv_model, make_batch, make_draws, mixer_model, vit_model

SIDE, PATCH = 16, 4
KINDS = {
    "class token": {},
    "class and registers": {"reg_tokens": 3},
    "registers only": {"class_token": False, "global_pool": "avg", "reg_tokens": 2},
    "patches only": {"class_token": False, "global_pool": "avg"},
}


def run(name, model, batches, **params):
    batches = list(batches)
    draws = make_draws(batches[0]) if batches else None
    return preparations.build(f"saliency.{name}", params)(model, batches, draws)["saliency"]


def attention_by_hand(model, pixels):
    """Every block's attention (b, heads, n, n) in float64, from the tokens that the block is given."""
    net, given = model.module, {}

    def keep(index):
        return lambda _module, args: given.__setitem__(index, args[0].detach().double())

    handles = [b.attn.qkv.register_forward_pre_hook(keep(i)) for i, b in enumerate(net.blocks)]
    net(pixels)
    for handle in handles:
        handle.remove()
    found = []
    for i, block in enumerate(net.blocks):
        x, qkv = given[i], block.attn.qkv
        b, n, d = x.shape
        heads = block.attn.num_heads
        out = x @ qkv.weight.double().T + qkv.bias.double()
        queries, keys = out[..., :d], out[..., d : 2 * d]
        weights = torch.empty(b, heads, n, n, dtype=torch.float64)
        for head in range(heads):
            part = slice(head * d // heads, (head + 1) * d // heads)
            scores = queries[..., part] @ keys[..., part].transpose(1, 2) / (d // heads) ** 0.5
            weights[:, head] = scores.softmax(2)
        found.append(weights)
    return found


def as_pixels(row):
    """(b, 16) as (b, 16, 16): each patch 4 by 4 pixels."""
    return row.view(-1, 4, 4).repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)


def row_of(weights, model):
    """The class token's row over the patches, else the mean over the patches' rows."""
    prefix = model.module.num_prefix_tokens
    if model.module.cls_token is not None:
        return weights[:, 0, prefix:]
    return weights[:, prefix:, prefix:].mean(1)


def sharp(**options):
    """A transformer whose attention is far from even."""
    model = vit_model(side=SIDE, patch=PATCH, **options)
    with torch.no_grad():
        for block in model.module.blocks:
            block.attn.qkv.weight.mul_(15)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("params", "block", "head"), [({}, 2, None), ({"block": 0, "head": 1}, 0, 1)])
def test_attention_is_the_softmax_of_queries_and_keys(kind, params, block, head):
    model, batch = sharp(**KINDS[kind]), make_batch(n=3, side=SIDE)
    weights = attention_by_hand(model, batch.pixels)[block]
    weights = weights.mean(1) if head is None else weights[:, head]
    expected = as_pixels(row_of(weights, model))
    assert expected.std() > 0.005
    shown = run("attention", model, [batch], **params)
    assert shown.dtype == torch.float32
    torch.testing.assert_close(shown.double(), expected, atol=1e-5, rtol=1e-4)


def test_attention_is_what_timms_own_hooks_extract():
    from timm.utils import AttentionExtract

    model, batch = sharp(), make_batch(n=3, side=SIDE)
    for block in model.module.blocks:
        block.attn.fused_attn = False
    extract = AttentionExtract(model.module, method="hook")
    with torch.no_grad():
        maps = extract(batch.pixels)
    (last,) = (v for k, v in maps.items() if k.startswith("blocks.2."))
    expected = as_pixels(last.mean(1)[:, 0, 1:])
    torch.testing.assert_close(run("attention", sharp(), [batch]), expected, atol=1e-5, rtol=1e-4)


def rollout_by_hand(model, pixels, fuse, discard):
    """In numpy, one image and one row at a time."""
    prefix, shown = model.module.num_prefix_tokens, []
    blocks = [w.numpy() for w in attention_by_hand(model, pixels)]
    for image in range(len(pixels)):
        flow = np.eye(blocks[0].shape[-1])
        for weights in blocks:
            fused = getattr(weights[image], fuse)(axis=0)
            flat = np.sort(fused[:, prefix:].ravel())
            count = int(discard * flat.size + 1e-9)
            if count:
                patches = fused[:, prefix:]
                patches[patches <= flat[count - 1]] = 0
            mixed = fused + np.eye(len(fused))
            for row in mixed:
                row /= row.sum()
            flow = mixed @ flow
        shown.append(torch.from_numpy(flow))
    return torch.stack(shown)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("fuse", "discard"), [("mean", 0.0), ("max", 0.5), ("min", 0.9)])
def test_rollout_follows_attention_through_all_blocks(kind, fuse, discard):
    model, batch = sharp(**KINDS[kind]), make_batch(n=3, side=SIDE)
    expected = as_pixels(row_of(rollout_by_hand(model, batch.pixels, fuse, discard), model))
    shown = run("rollout", model, [batch], fuse=fuse, discard=discard)
    torch.testing.assert_close(shown.double(), expected, atol=1e-5, rtol=1e-4)


def test_without_discarding_a_rollout_is_a_share():
    model, batch = sharp(**KINDS["patches only"]), make_batch(n=3, side=SIDE)
    total = run("rollout", model, [batch]).sum((1, 2)) / PATCH**2
    torch.testing.assert_close(total, torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["attention", "rollout"])
def test_the_model_is_left_as_it_was_found(name):
    model, batch = vit_model(side=SIDE, patch=PATCH), make_batch(side=SIDE)
    model.module.blocks[1].attn.fused_attn = False
    before = [b.attn.fused_attn for b in model.module.blocks]
    logits = model(batch)
    run(name, model, [batch, batch])
    assert [b.attn.fused_attn for b in model.module.blocks] == before == [True, False, True]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())
    assert torch.equal(model(batch), logits)
    model.module.norm = None  # the forward pass fails after the blocks
    with pytest.raises(TypeError):
        run(name, model, [batch])
    assert [b.attn.fused_attn for b in model.module.blocks] == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())


@pytest.mark.parametrize("name", ["attention", "rollout"])
def test_rows_follow_the_batches(name):
    model, batch = sharp(), make_batch(n=5, side=SIDE)
    whole = run(name, model, [batch])
    parts = run(name, model, [batch.select(range(2)), batch.select(range(2, 5))])
    assert whole.shape == (5, SIDE, SIDE)
    torch.testing.assert_close(parts, whole)
    assert run(name, model, []).shape == (0, 0, 0)


def test_images_of_another_shape_have_a_grid_of_their_own():
    model = vit_model(side=SIDE, patch=PATCH, dynamic_img_size=True)
    batch = make_batch(n=2, side=8, width=24)
    shown = run("attention", model, [batch])
    weights = attention_by_hand(model, batch.pixels)[2].mean(1)[:, 0, 1:]
    expected = weights.view(2, 2, 6).repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    torch.testing.assert_close(shown.double(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["attention", "rollout"])
def test_models_without_such_attention_are_refused(name):
    batch = make_batch(side=SIDE)
    with pytest.raises(ModelError, match=f"saliency.{name} needs a model: name one in the suite's"):
        run(name, None, [batch])
    for model in (conv_model(), mixer_model(side=SIDE, patch=PATCH)):
        with pytest.raises(ModelError, match=r"has no `blocks` with `attn.attn_drop` in each; it works on"):
            run(name, model, [batch])


def test_a_block_or_head_that_is_not_there_is_refused():
    model, batch = vit_model(side=SIDE, patch=PATCH), make_batch(side=SIDE)
    with pytest.raises(ModelError, match=r"saliency\.attention: block: expected at most 2, got 3"):
        run("attention", model, [batch], block=3)
    with pytest.raises(ModelError, match=r"saliency\.attention: head: expected at most 1, got 2"):
        run("attention", model, [batch], head=2)


class Blocks(nn.Module):
    """Blocks whose attention is what a test says."""

    def __init__(self, attention, calls=1):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Module()])
        self.blocks[0].attn = nn.Module()
        self.blocks[0].attn.attn_drop = nn.Identity()
        self.attention, self.calls = attention, calls

    def forward(self, pixels):
        for _ in range(self.calls):
            self.blocks[0].attn.attn_drop(self.attention)
        return torch.zeros(len(pixels), 5)


def test_attention_that_is_no_map_of_the_image_is_refused():
    batch = make_batch(n=2, side=SIDE)
    even = torch.full((2, 1, 16, 16), 1 / 16)
    for attention, calls, message in (
        (even, 0, r"0 of 1 attention layers were seen at work"),
        (even, 2, r"2 of 1 attention layers were seen at work"),
        (even[:, :, :4], 1, r"the attention has shape \(2, 1, 4, 16\), expected \(2, heads, n, n\)"),
        (even[:, :, :4, :4].repeat(4, 1, 1, 1) * 4, 1, r"shape \(8, 1, 4, 4\), expected \(2, heads"),
        (even * 2, 1, r"the rows of the attention do not add up to 1"),
        (even, 1, r"16 tokens beside 0 prefix tokens are not the 16x16 patches of images of 16x16"),
    ):
        with pytest.raises(ModelError, match=message):
            run("attention", FakeModel(Blocks(attention, calls)), [batch])
