import pytest
import torch
from torch import nn

from robobench.errors import BadParameter, ModelError
from robobench.registry import interventions
from tests.fakes import FakeModel, conv_model, make_batch, make_draws, mixer_model, resnet_model, vit_model


def tokens(**params):
    return interventions.build("drop.tokens", params)


def positions(**params):
    return interventions.build("drop.positions", params)


def seen_by(module, run):
    """What a sub-module is given, and what it gives, while `run` is called."""
    seen = []
    handle = module.register_forward_hook(lambda m, args, out: seen.append((args[0].clone(), out)))
    run()
    handle.remove()
    return seen[-1]


def hooks(module):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


VITS = [
    (vit_model, {}, 1),
    (vit_model, {"reg_tokens": 2}, 3),
    (vit_model, {"class_token": False, "global_pool": "avg"}, 0),
    (mixer_model, {}, 0),
]


@pytest.mark.parametrize(("make", "options", "prefix"), VITS)
@pytest.mark.parametrize("fraction", [0.25, 0.3, 1.0])
def test_the_first_tokens_of_the_drawn_order_are_zero_and_the_prefix_is_kept(make, options, prefix, fraction):
    model, batch = make(**options), make_batch()
    draws = make_draws(batch)
    block = model.module.blocks[1]
    clean, _ = seen_by(block, lambda: model(batch))
    dropped, _ = seen_by(block, lambda: tokens(fraction=fraction, block=1)(model, batch, draws))
    count = {0.25: 4, 0.3: 4, 1.0: 16}[fraction]  # of 16 tokens
    expected = clean.clone()
    for i, order in enumerate(draws.permutation("tokens", 16)):
        expected[i, order[:count] + prefix] = 0
    assert torch.equal(dropped, expected)
    assert (clean[:, prefix:] != 0).any(2).all()


def test_dropping_before_another_block_changes_another_block():
    model, batch = vit_model(), make_batch()
    draws = make_draws(batch)
    first = seen_by(model.module.blocks[0], lambda: tokens(fraction=0.5)(model, batch, draws))[0]
    later = seen_by(model.module.blocks[0], lambda: tokens(fraction=0.5, block=2)(model, batch, draws))[0]
    assert (first == 0).any(2).any()
    assert not (later == 0).all(2).any()


@pytest.mark.parametrize(
    "module", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "mixer_s32_224"]
)
def test_models_as_timm_names_them(module):
    import timm

    model = FakeModel(timm.create_model(module, pretrained=False, num_classes=3))
    batch = make_batch(n=1, side=224)
    step = tokens(fraction=0.5, block=1)
    step.check(model)
    with torch.no_grad():
        assert step(model, batch, make_draws(batch)).shape == (1, 3)


@pytest.mark.parametrize(
    ("after", "watched"), [("stem", "layer1"), ("layer1", "layer2"), ("layer2", "layer3")]
)
def test_positions_below_the_fraction_are_zero_in_every_channel(after, watched):
    model, batch = resnet_model(), make_batch(side=64)
    draws = make_draws(batch)
    stage = model.module.get_submodule(watched)
    clean, _ = seen_by(stage, lambda: model(batch))
    dropped, _ = seen_by(stage, lambda: positions(fraction=0.5, after=after)(model, batch, draws))
    kept = draws.uniform("positions", *clean.shape[2:]) >= 0.5
    assert torch.equal(dropped, clean * kept[:, None])
    assert 0.2 < kept.float().mean() < 0.8
    assert len({tuple(k.flatten().tolist()) for k in kept}) == len(batch)


def test_positions_of_any_named_sub_module():
    model, batch = conv_model(), make_batch()
    draws = make_draws(batch)
    clean, _ = seen_by(model.module[2], lambda: model(batch))
    dropped, _ = seen_by(model.module[2], lambda: positions(fraction=0.4, after="1")(model, batch, draws))
    assert torch.equal(dropped, clean * (draws.uniform("positions", 16, 16) >= 0.4)[:, None])


def test_positions_of_a_map_with_channels_last():
    class Last(nn.Module):
        output_fmt = "NHWC"

        def __init__(self):
            super().__init__()
            self.stage = nn.Identity()

        def forward(self, pixels):
            return self.stage(pixels.permute(0, 2, 3, 1)).amax((1, 2))

    model, batch = FakeModel(Last()), make_batch(side=8)
    draws = make_draws(batch)
    kept = draws.uniform("positions", 8, 8) >= 0.5
    expected = (batch.pixels * kept[:, None]).amax((2, 3))
    assert torch.equal(positions(fraction=0.5, after="stage")(model, batch, draws), expected)


def test_positions_nest_along_the_fraction():
    model, batch = resnet_model(), make_batch(side=64)
    draws = make_draws(batch)
    stage = model.module.layer2
    masks = []
    for fraction in (0.1, 0.5, 0.9):
        given, _ = seen_by(
            stage, lambda f=fraction: positions(fraction=f, after="layer1")(model, batch, draws)
        )
        masks.append((given == 0).all(1))
    assert not (masks[0] & ~masks[1]).any()
    assert not (masks[1] & ~masks[2]).any()
    assert masks[0].sum() < masks[1].sum() < masks[2].sum()


@pytest.mark.parametrize(
    ("step", "model"),
    [
        (tokens(fraction=0.0, block=1), vit_model()),
        (tokens(fraction=0.05, block=1), vit_model()),  # none of 16 tokens
        (positions(fraction=0.0, after="layer1"), resnet_model()),
    ],
)
def test_nothing_dropped_is_the_model_itself(step, model):
    batch = make_batch(side=32 if "layer1" in dict(model.module.named_children()) else 16)
    assert torch.equal(step(model, batch, make_draws(batch)), model(batch))
    assert step.identity == (step.fraction == 0)


@pytest.mark.parametrize("step", [tokens(fraction=0.5), tokens(fraction=0.5, block=2)])
def test_the_model_is_left_as_it_was(step):
    model, batch = vit_model(), make_batch()
    before = model(batch)
    assert not torch.equal(step(model, batch, make_draws(batch)), before)
    assert hooks(model.module) == 0
    assert torch.equal(model(batch), before)


def test_the_model_is_left_as_it_was_when_it_raises():
    class Failing(nn.Module):
        def forward(self, x):
            raise RuntimeError("out of luck")

    vit, batch = vit_model(), make_batch()
    vit.module.blocks[2] = Failing()
    with pytest.raises(RuntimeError, match="out of luck"):
        tokens(fraction=0.5)(vit, batch, make_draws(batch))
    resnet, batch = resnet_model(), make_batch(side=32)
    resnet.module.layer3 = Failing()
    with pytest.raises(RuntimeError, match="out of luck"):
        positions(fraction=0.5, after="layer1")(resnet, batch, make_draws(batch))
    assert hooks(vit.module) == hooks(resnet.module) == 0


def test_gradients_pass_through_what_is_kept():
    model, batch = vit_model(), make_batch(n=2)
    pixels = batch.pixels.clone().requires_grad_(True)
    draws = make_draws(batch)
    tokens(fraction=0.5)(model, batch.with_pixels(pixels), draws).sum().backward()
    touched = nn.functional.max_pool2d(pixels.grad.abs().sum(1), 4) > 0  # one flag per patch of 4x4
    for i, order in enumerate(draws.permutation("tokens", 16)):
        assert sorted(order[8:].tolist()) == touched[i].flatten().nonzero().flatten().tolist()


def test_a_model_without_blocks_is_refused():
    with pytest.raises(
        ModelError, match=r"drop.tokens: ResNet has no sequence of `blocks`; it works on vision"
    ):
        tokens(fraction=0.5).check(resnet_model())


def test_a_block_that_is_not_there_is_refused():
    message = "drop.tokens: block: expected at most 2, because VisionTransformer has 3 blocks, got 3"
    with pytest.raises(ModelError, match=message):
        tokens(fraction=0.5, block=3).check(vit_model())


def test_blocks_that_are_not_given_tokens_are_refused():
    class Maps(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(nn.Identity())

        def forward(self, pixels):
            return self.blocks(pixels).mean((2, 3))

    batch = make_batch()
    with pytest.raises(
        ModelError, match=r"a tensor of shape \(6, 3, 16, 16\), not tokens \(6, 0 \+ N, d\); for feature maps"
    ):
        tokens(fraction=0.5)(FakeModel(Maps()), batch, make_draws(batch))


def test_a_stage_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ModelError, match="after: ResNet has no sub-module 'layr2'; did you mean 'layer2'"):
        positions(fraction=0.5, after="layr2").check(resnet_model())
    with pytest.raises(ModelError, match="VisionTransformer has no sub-module 'stem'"):
        positions(fraction=0.5, after="stem").check(vit_model())
    with pytest.raises(ModelError, match="has no sub-module ''"):
        positions(fraction=0.5, after="").check(resnet_model())


def test_a_stage_that_gives_no_map_is_refused():
    batch = make_batch()
    with pytest.raises(
        ModelError, match=r"'patch_embed' gives a tensor of shape \(6, 16, 24\), not a feature map"
    ):
        positions(fraction=0.5, after="patch_embed")(vit_model(), batch, make_draws(batch))


def test_a_sub_module_that_gives_several_tensors_is_refused():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, pixels):
            return self.pair(pixels)[0].mean((2, 3))

    batch = make_batch()
    with pytest.raises(ModelError, match=r"drop.positions: 'pair' handles tuple, expected one tensor"):
        positions(fraction=0.5, after="pair")(FakeModel(Net()), batch, make_draws(batch))


def test_a_hook_that_never_fires_is_an_error():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(nn.Identity())

        def forward(self, pixels):
            return pixels.mean((2, 3))

    batch = make_batch()
    message = "drop.tokens: block 0 was not reached in the forward pass, so nothing was dropped"
    with pytest.raises(ModelError, match=message):
        tokens(fraction=0.5)(FakeModel(Skips()), batch, make_draws(batch))


def test_parameters_are_checked():
    with pytest.raises(
        BadParameter, match=r"drop.tokens: fraction: expected less than or equal to 1, got 1.5"
    ):
        tokens(fraction=1.5)
    with pytest.raises(BadParameter, match=r"drop.positions: the parameter 'after' is missing"):
        positions(fraction=0.5)
