"""The handle: normalises once, answers in a label space, has gradients, stays frozen."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robobench.errors import ModelError
from robobench.models.family import family_of
from robobench.models.handle import Described, Handle, seeded, wrap
from robobench.models.state import weights_digest
from robobench.types import ImageBatch, LabelSpace, View

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
TEN = LabelSpace("ten", tuple("abcdefghij"), 10)


def network(outputs: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, 3, padding=1),
            bn=nn.BatchNorm2d(4),
            act=nn.ReLU(),
            drop=nn.Dropout(0.5),
            flat=nn.Flatten(),
            head=nn.Linear(4 * 64, outputs),
        )
    )


def batch(n: int = 5, side: int = 8) -> ImageBatch:
    g = torch.Generator().manual_seed(1)
    return ImageBatch(
        torch.rand(n, 3, side, side, generator=g), tuple(map(str, range(n))), torch.arange(n) % 10
    )


def handle(module: nn.Module | None = None, **more: object) -> Handle:
    return Handle("m", Described(module or network(), MEAN, STD, **more))  # type: ignore[arg-type]


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def by_hand(module: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    channels = [(pixels[:, c] - MEAN[c]) / STD[c] for c in range(3)]
    return module(torch.stack(channels, 1))


def test_pixels_are_normalised_once_and_the_given_ones_left_alone():
    given = batch()
    before = given.pixels.clone()
    h = handle()
    assert torch.allclose(h(given), by_hand(h.module, before), atol=1e-6)
    assert torch.equal(given.pixels, before)
    plain = Handle("m", Described(network()))
    assert torch.equal(plain(given), plain.module(before))


def test_it_is_in_eval_mode_with_frozen_float32_parameters():
    h = handle(network().double().train())
    assert not any(m.training for m in h.module.modules())
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in h.module.parameters())
    assert h(batch()).dtype == torch.float32


def test_gradient_is_autograds_and_leaves_nothing_behind():
    h, given = handle(), batch()
    pixels = given.pixels.clone().requires_grad_(True)
    loss(by_hand(h.module, pixels), given.labels).sum().backward()
    logits, found = h.reading(TEN).gradient(given, loss)
    assert torch.allclose(found, pixels.grad, atol=1e-6)
    assert torch.allclose(logits, by_hand(h.module, given.pixels), atol=1e-6)
    assert (found.dtype, found.requires_grad, logits.requires_grad) == (torch.float32, False, False)
    assert all(p.grad is None for p in h.module.parameters())
    assert given.pixels.grad is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradient_works_whatever_mode_the_caller_is_in(mode):
    h = handle()
    expected = h.gradient(batch(), loss)
    with mode():
        found = h.gradient(batch(), loss)
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[0], expected[0])


def test_a_tensor_kept_in_a_passive_call_still_takes_part_in_a_gradient():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.kept, self.net = None, network()

        def forward(self, x):
            if self.kept is None:
                self.kept = torch.ones(x.shape[1:]) * 2
            return self.net(x * self.kept)

    h = handle(Keeps())
    with torch.inference_mode():
        h(batch())
    assert h.gradient(batch(), loss)[1].abs().sum() > 0


def test_logits_are_differentiable_for_attacks_with_loops_of_their_own():
    given = batch()
    pixels = given.pixels.clone().requires_grad_(True)
    out = handle().reading(TEN)(given.with_pixels(pixels))
    assert torch.autograd.grad(out.sum(), pixels)[0].abs().sum() > 0


def test_a_model_without_a_gradient_says_so():
    class Cut(nn.Module):
        def forward(self, x):
            return x.detach().mean((2, 3))

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return torch.zeros(len(x), 3) + self.w

    for module in (Cut(), Constant()):
        with pytest.raises(
            ModelError, match=r"m: its outputs do not depend differentiably on the pixels.*detach"
        ):
            handle(module).gradient(batch(), lambda logits, _: logits.sum(1))


def test_a_reading_masks_and_checks_the_number_of_outputs():
    space = LabelSpace("three", ("a", "b", "c"), 10, ((0,), (4,), (9,)))
    h = handle()
    assert torch.equal(h.reading(space)(batch()), h(batch())[:, [0, 4, 9]])
    assert h.reading(space).gradient(batch(), lambda logits, _: logits[:, 0])[0].shape == (5, 3)


def test_wrong_outputs_are_named_at_once_when_known_and_else_in_the_first_call():
    space = LabelSpace("imagenet-1k", ("x",) * 1000, 1000)
    said = r"m has 10 outputs, the label space 'imagenet-1k' needs 1000: choose a model"
    with pytest.raises(ModelError, match=said):
        handle(outputs=10).reading(space)
    reading = handle().reading(space)
    with pytest.raises(ModelError, match=said):
        reading(batch())


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda y: (y, y), r"m returned a tuple; expected a tensor of logits \(b, classes\)"),
        (lambda y: [y], r"m returned a list; expected"),
        (lambda y: {"out": y}, r"m returned a dict; expected"),
        (
            lambda y: y[0],
            r"m returned float32 \(3,\) for 5 images; expected floating point logits \(5, classes\)",
        ),
        (lambda y: y[:2], r"m returned float32 \(2, 3\) for 5 images"),
        (lambda y: y.argmax(1, keepdim=True), r"m returned int64 \(5, 1\) for 5 images; expected floating"),
    ],
)
def test_outputs_that_are_not_logits_are_refused(make, said):
    with pytest.raises(ModelError, match=said):
        handle(Returns(make))(batch())


def test_an_object_with_logits_is_opened_and_nan_is_nobodys_business_here():
    opened = handle(Returns(lambda y: SimpleNamespace(logits=y)))(batch())
    assert torch.equal(opened, handle(Returns(lambda y: y))(batch()))
    assert handle(Returns(lambda y: y * float("nan")))(batch()).isnan().all()
    assert handle(Returns(lambda y: y.half()))(batch()).dtype == torch.float32


def test_frozen_holds_after_use_and_trips_on_train_mode():
    h = handle()
    h(batch())
    h.gradient(batch(), loss)
    h.check_frozen()
    h.module.bn.train()
    with pytest.raises(ModelError, match=r"m left eval mode \(bn\): dropout and batch statistics"):
        h.check_frozen()


def _write(m):
    with torch.no_grad():
        m.head.weight[0, 0] += 1


def _write_data(m):
    m.head.weight.data.mul_(1.001)


def _running(m):
    F.batch_norm(torch.rand(4, 4, 8, 8), m.bn.running_mean, m.bn.running_var, training=True)


def _replace(m):
    m.head.bias = nn.Parameter(m.head.bias.clone())


def _remove(m):
    del m.head


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_write, "head.weight"),
        (_write_data, "head.weight"),
        (_running, "bn.running_mean, bn.running_var"),
        (_replace, "head.bias"),
        (_remove, "head.bias, head.weight"),
    ],
)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_frozen_trips_on_every_way_to_change_a_tensor(change, named, mode):
    h = handle()
    with mode():
        change(h.module)
    with pytest.raises(ModelError, match=rf"m was changed since it was loaded \({named}\)"):
        h.check_frozen()


def test_pixels_are_resized_only_for_a_model_that_needs_a_size_and_it_is_recorded():
    h = handle(side=8)
    same = h(batch())
    assert h.resized == set()
    assert torch.equal(same, handle()(batch()))
    found = h(batch(side=12))
    small = F.interpolate(batch(side=12).pixels, (8, 8), mode="bilinear", antialias=True)
    assert torch.equal(found, handle()(batch().with_pixels(small)))
    assert h.resized == {(12, 12)}
    assert h.gradient(batch(side=12), loss)[1].shape == (5, 3, 12, 12)


def test_taps_give_outputs_while_open_and_only_then():
    h = handle()
    reading = h.reading(TEN)
    with reading.taps("conv", "head") as seen:
        logits = reading(batch())
        assert torch.equal(seen["head"], logits)
        assert torch.equal(seen["conv"], h.module.conv((batch().pixels - h._mean) / h._std))
        with pytest.raises(TypeError):
            seen["conv"] = 0
        kept = seen["head"]
    reading(batch(3))
    assert seen["head"] is kept
    assert not h.module.conv._forward_hooks


def test_taps_name_the_nearest_module_and_open_tuples():
    with (
        pytest.raises(ModelError, match=r"m has no sub-module 'hed'; did you mean 'head'\?"),
        handle().taps("hed"),
    ):
        pass
    h = Handle("m", Described(Returns(lambda y: (y, 0))))
    with h.taps("") as seen, pytest.raises(ModelError, match="returned a tuple"):
        h(batch())
    assert seen[""].shape == (5, 3)
    h = Handle("m", Described(Returns(lambda y: {"a": y})))
    with h.taps(""), pytest.raises(ModelError, match=r"the sub-module '' gives a dict, not a tensor"):
        h(batch())


def test_the_card():
    h = handle(view=View(resize=10, crop=8))
    assert h.card.parameters == 112 + 8 + 2570
    assert (h.card.family, h.card.input_size, h.card.view) == ("cnn", 8, View(resize=10, crop=8))
    assert h.card.weights == weights_digest(network().eval())
    assert handle(family="other").card.family == "other"
    with pytest.raises(ModelError, match=r"m: unknown family 'vitt'; did you mean 'vit'\?"):
        handle(family="vitt")


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        ((0.5, 0.5), STD, r"m: mean: expected three numbers, one per RGB channel, got \(0.5, 0.5\)"),
        (MEAN, (0.5, 0.0, 0.5), r"m: std: expected three numbers above 0"),
        ((0.5, float("nan"), 0.5), STD, r"m: mean: expected three numbers"),
    ],
)
def test_a_normalisation_that_cannot_be_one(mean, std, said):
    with pytest.raises(ModelError, match=said):
        Handle("m", Described(network(), mean, std))


def test_weights_digest_sees_every_part_of_a_tensor_and_nothing_else():
    a = network()
    assert weights_digest(a) == weights_digest(network()) == weights_digest(a.train())
    seen = {weights_digest(a), weights_digest(network().double()), weights_digest(network().bfloat16())}
    a.bn.running_mean[0] += 1e-3
    seen.add(weights_digest(a))
    renamed = nn.Sequential(OrderedDict((f"x{k}", m) for k, m in network().named_children()))
    seen.add(weights_digest(renamed))
    assert len(seen) == 5
    with pytest.raises(ModelError, match=r"bias: a lazy layer without weights yet; run the model once"):
        weights_digest(nn.LazyLinear(3))


def test_wrap_leaves_the_callers_module_in_training():
    mine = network().train()
    who, h = wrap(mine, name="mine", mean=MEAN, std=STD)
    assert mine.training
    assert mine.bn.training
    assert all(p.requires_grad for p in mine.parameters())
    before = h(batch())
    with torch.no_grad():
        mine.head.weight.zero_()
    mine(torch.rand(4, 3, 8, 8))
    assert torch.equal(h(batch()), before)
    h.check_frozen()
    assert (who.name, who.spec, who.family) == ("mine", "memory:mine", None)


def test_wrap_identity_is_weights_class_and_normalisation():
    def key(module=None, **more):
        return wrap(module or network(), name=more.pop("name", "a"), **more)[0].digest

    class Other(nn.Sequential):
        pass

    assert key() == key() == key(name="b") == key(family="cnn") == key(nn.DataParallel(network()))
    changed = network()
    changed.head.bias.data += 1
    distinct = {
        key(), key(changed), key(Other(OrderedDict(network().named_children()))), key(mean=MEAN), key(std=STD)
    }  # fmt: skip
    assert len(distinct) == 5


def test_wrap_refuses_what_is_no_module_or_cannot_be_copied():
    with pytest.raises(ModelError, match=r"x: expected a torch.nn.Module, got function"):
        wrap(network, name="x")  # type: ignore[arg-type]
    module = network()
    module.cache = module.head.weight * 2  # type: ignore[assignment]
    with pytest.raises(ModelError, match=r"x: the module cannot be copied .*register_buffer"):
        wrap(module, name="x")


def test_seeded_is_keyed_and_leaves_the_generator_as_it_was():
    def draw(key):
        with seeded(key):
            return torch.rand(3)

    torch.manual_seed(5)
    first = torch.rand(1)
    torch.manual_seed(5)
    a = draw("a")
    assert torch.equal(torch.rand(1), first)
    assert torch.equal(draw("a"), a)
    assert not torch.equal(draw("b"), a)


def test_families_are_read_off_the_parts():
    patches = nn.Conv2d(3, 8, 4, stride=4)
    attention = nn.MultiheadAttention(8, 2)
    conv = nn.Conv2d(8, 8, 3)
    assert family_of(nn.ModuleList([patches, attention, nn.Linear(8, 8)])) == "vit"
    assert family_of(nn.ModuleList([patches, attention, conv])) == "hybrid"
    assert family_of(nn.ModuleList([conv, nn.Linear(8, 8)])) == "cnn"
    assert family_of(nn.ModuleList([patches, nn.Linear(8, 8)])) == "mlp"
    assert family_of(nn.ModuleList([nn.ReLU()])) == "other"
