import inspect
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from robobench.attacks import torchattacks as adapter
from robobench.attacks.torchattacks import CATALOGUE, REFUSED
from robobench.errors import AttackError, BadParameter, ModelError
from robobench.params import read_radius
from robobench.registry import attacks, interventions
from tests.fakes import FakeModel, conv_model, make_batch, make_draws, run_stepped, vit_model

package = pytest.importorskip("torchattacks")


def build(attack, eps=None, **params):
    given = {"attack": attack, "params": params} | ({} if eps is None else {"eps": eps})
    return attacks.build("torchattacks.any", given)


def small(name):
    """An attack of the catalogue with few steps."""
    specs, params = CATALOGUE[name].specs, {}
    if "eps" in specs:
        params["eps"] = "16/255" if CATALOGUE[name].norm == "linf" else 0.5
    params |= {
        k: v
        for k, v in {"steps": 3, "n_queries": 20, "restarts": 2, "max_iterations": 2}.items()
        if k in specs
    }
    if "resc_schedule" in specs:
        params["resc_schedule"] = False
    return build(name, **params)


def scene(classes=10, n=4, seed=0):
    """A model and images that it gets right, as the engine gives them to an attack."""
    model, batch = conv_model(classes), make_batch(n=n, classes=classes, seed=seed)
    return model, batch.__class__(batch.pixels, batch.ids, model(batch).argmax(1))


def signature(name):
    parameters = dict(inspect.signature(getattr(package, name).__init__).parameters)
    return {k: v.default for k, v in parameters.items() if k not in ("self", "model")}


def test_the_catalogue_is_that_of_the_package():
    assert set(CATALOGUE) | set(REFUSED) == set(package.__all__)
    assert not set(CATALOGUE) & set(REFUSED)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_parameters_are_those_of_the_constructor(name):
    expected = {k: v for k, v in signature(name).items() if k not in adapter._OURS}
    specs = CATALOGUE[name].specs
    assert set(specs) == set(expected)
    for parameter, default in expected.items():
        spec = specs[parameter]
        if spec.isdecimal():
            assert type(default) is int
            assert default == int(spec)
        # the package's own default is read by the same reader without complaint, and unchanged
        read = adapter._reader(parameter, spec)(list(default) if isinstance(default, tuple) else default)
        assert read == (list(default) if isinstance(default, tuple) else default)


@pytest.mark.parametrize("name", CATALOGUE)
def test_norms_are_those_of_the_budget_there(name):
    has_eps = "eps" in signature(name)
    assert has_eps == (CATALOGUE[name].norm is not None)
    if has_eps:
        doc = inspect.getdoc(getattr(package, name))
        named = "L2" if CATALOGUE[name].norm == "l2" else "Linf"
        assert f"Distance Measure : {named}" in doc


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # SparseFool's
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_attack_runs_in_range_and_budget_and_the_same_twice(name):
    model, batch = scene()
    attack = small(name)
    draws = make_draws(batch)
    found = attack(model, batch, draws)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    again = attack(model, batch, draws)
    assert torch.equal(found, again)
    assert found.shape == batch.pixels.shape
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert (found >= 0).all()
    assert (found <= 1).all()
    change = (found - batch.pixels).flatten(1)
    if attack.norm == "linf":
        assert change.abs().max() <= attack.eps + 1e-6
    elif attack.norm == "l2":
        assert change.norm(dim=1).max() <= attack.eps + 1e-6
    assert attack.cost >= 1


@pytest.mark.parametrize(
    ("name", "eps", "params"),
    [
        ("MIFGSM", 0.3, {"steps": 10, "alpha": 0.1}),
        ("DIFGSM", 0.3, {"steps": 10, "alpha": 0.1}),
        ("APGD", 0.3, {"steps": 10}),
        ("APGD", 6.0, {"steps": 10, "norm": "L2"}),
        ("FAB", 0.6, {"steps": 10}),
        ("Square", 0.6, {"n_queries": 200, "resc_schedule": False}),
        ("DeepFool", None, {"steps": 20}),
        ("CW", None, {"steps": 60, "c": 10, "lr": 0.05}),
        ("PGDL2", 6.0, {"steps": 10, "alpha": 1.5}),
    ],
)
def test_attacks_that_should_succeed_do(name, eps, params):
    model, batch = scene()
    found = build(name, eps, **params)(model, batch, make_draws(batch))
    fallen = model(batch.with_pixels(found)).argmax(1) != batch.labels
    assert fallen.any()
    assert (found != batch.pixels).flatten(1).any(1)[fallen].all()


def test_fgsm_and_pgd_equal_our_own():
    model, batch = scene()
    draws = make_draws(batch)
    ours = run_stepped(attacks.build("gradient.fgsm", {"eps": "8/255"}), model, batch, draws)
    torch.testing.assert_close(build("FGSM", "8/255")(model, batch, draws), ours, atol=1e-6, rtol=0)
    pgd = attacks.build("gradient.pgd", {"eps": 0.1, "alpha": 0.02, "steps": 5, "random_start": False})
    theirs = build("PGD", 0.1, alpha=0.02, steps=5, random_start=False)(model, batch, draws)
    torch.testing.assert_close(theirs, run_stepped(pgd, model, batch, draws), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["PGD", "Square", "APGD", "Pixle", "OnePixel", "DIFGSM", "FAB"])
def test_global_random_states_are_left_as_they_were(name):
    model, batch = scene()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    states = torch.get_rng_state().clone(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    small(name)(model, batch, make_draws(batch))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_global_random_states_are_left_as_they_were_when_it_raises():
    def fail(batch):
        torch.rand(3)
        raise ModelError("no more memory")

    model, batch = scene()
    before = torch.get_rng_state().clone()
    model._module.forward = fail
    with pytest.raises(ModelError, match="no more memory"):
        small("PGD")(model, batch, make_draws(batch))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("GN", {"std": 0.1}),
        ("PGD", {"eps": 0.9, "steps": 1, "alpha": 0.001}),
        ("APGD", {"eps": 0.9, "steps": 1}),
        ("Square", {"eps": 0.9, "n_queries": 1, "resc_schedule": False}),
    ],
)
def test_seeds_follow_the_ids_the_seed_and_the_repetition(name, params):
    model, batch = scene(seed=3)
    attack, same = build(name, **params), make_draws(batch)
    base = attack(model, batch, same)
    assert torch.equal(attack(model, batch, make_draws(batch)), base)
    for draws in (make_draws(batch, seed=1), same.at(1), same.select(["a", "b", "c", "d"])):
        assert not torch.equal(attack(model, batch, draws), base)


@pytest.mark.parametrize("name", ["CW", "DeepFool", "FAB", "PGD"])
def test_the_model_is_left_as_it_was(name):
    model, batch = scene()
    model.module.requires_grad_(True)
    model.module[0].weight.requires_grad_(False)
    model.module.train()
    weights = {k: v.clone() for k, v in model.module.state_dict().items()}
    small(name)(model, batch, make_draws(batch))
    assert all(p.grad is None for p in model.module.parameters())
    assert [p.requires_grad for p in model.module.parameters()][:2] == [False, True]
    assert model.module.training
    assert all(torch.equal(v, weights[k]) for k, v in model.module.state_dict().items())


def test_it_works_without_gradients_around_it_and_on_a_transformer():
    model = vit_model(10)
    batch = make_batch(n=3, classes=10)
    with torch.no_grad():
        found = build("MIFGSM", "8/255", steps=2)(model, batch, make_draws(batch))
    assert (found != batch.pixels).any()


def test_a_failure_of_the_package_is_ours_to_explain():
    model, batch = scene(classes=2)
    with pytest.raises(
        AttackError, match=r"^torchattacks\.any: APGDT failed inside torchattacks 3\.\S+: IndexError: "
    ):
        build("APGDT", 0.1, steps=2)(model, batch, make_draws(batch))


class Dropping:
    """A model under an intervention, as the engine makes one: what is dropped follows the images' ids."""

    def __init__(self, model, draws):
        self.inner, self.module, self.draws = model, model.module, draws

    def __call__(self, batch):
        step = interventions.build("drop.tokens", {"fraction": 0.5})
        return step(self.inner, batch, self.draws.select(batch.ids))


def test_under_an_intervention_it_sees_the_right_images_or_says_that_it_cannot():
    model, batch = vit_model(10), make_batch(n=3, classes=10)
    draws = make_draws(batch)
    changed = Dropping(model, draws)
    batch = batch.__class__(batch.pixels, batch.ids, changed(batch).argmax(1))
    asked = []
    model.module.blocks[0].register_forward_pre_hook(lambda m, args: asked.append((args[0] == 0).all(2)))
    build("PGD", 0.1, steps=2)(changed, batch, draws)
    changed(batch)
    assert len(asked) == 3
    assert all(torch.equal(mask, asked[-1]) for mask in asked)
    with pytest.raises(
        AttackError, match=r"^torchattacks\.any: asked about 1 of 3 images at once, which a model"
    ):
        build("DeepFool", steps=2)(changed, batch, draws)


def test_memory_that_runs_out_is_not_a_failure_of_the_package():
    class Full(nn.Module):
        def forward(self, pixels):
            raise torch.OutOfMemoryError("too much")

    batch = make_batch()
    with pytest.raises(torch.OutOfMemoryError):
        build("FGSM", 0.1)(FakeModel(Full()), batch, make_draws(batch))


def test_eps_is_one_value_wherever_it_is_written():
    field, inside = build("MIFGSM", "8/255", steps=3), build("MIFGSM", eps="8/255", steps=3)
    assert inside.eps == field.eps == read_radius("8/255")
    assert inside == attacks.build(
        "torchattacks.any", {"attack": "MIFGSM", "params": {"eps": "8/255", "steps": 3}}
    )
    assert field.params == {"steps": 3}
    again = attacks.build(
        "torchattacks.any", {"attack": field.attack, "eps": field.eps, "params": field.params}
    )
    assert again == field


@pytest.mark.parametrize(
    ("attack", "norm", "nested"),
    [
        (("MIFGSM", 0.1, {}), "linf", "eps"),
        (("PGDL2", 3.0, {}), "l2", "eps"),
        (("APGD", 3.0, {"steps": 100, "norm": "L2"}), "l2", "eps"),
        (("APGD", 0.1, {"steps": 100, "norm": "Linf"}), "linf", "eps"),
        (("CW", None, {}), None, "eps"),
        (("Pixle", None, {}), None, "eps"),
    ],
)
def test_norms(attack, norm, nested):
    name, eps, params = attack
    built = build(name, eps, **params)
    assert built.norm == norm
    assert built.nested == nested
    assert built.eps == eps


def test_costs_grow_with_what_is_repeated():
    assert build("FGSM", 0.1).cost == 4
    assert build("MIFGSM", 0.1).cost == 31
    assert build("EOTPGD", 0.1, steps=5, eot_iter=4).cost == 61
    assert build("Square", 0.1, resc_schedule=False).cost == 5001
    assert build("VANILA").cost == 1
    assert build("VANILA").identity


BAD = [
    ({"attack": "pgd"}, "attack: torchattacks has no 'pgd'; did you mean 'PGD'?", ("attack",)),
    ({"attack": "MFGSM"}, "attack: torchattacks has no 'MFGSM'; did you mean 'MIFGSM'", ("attack",)),
    (
        {"attack": "AutoAttack"},
        "attack: AutoAttack is not offered: torchattacks' AutoAttack makes 10 steps",
        ("attack",),
    ),
    (
        {"attack": "MultiAttack"},
        "attack: MultiAttack is not offered: it combines attack objects",
        ("attack",),
    ),
    ({"attack": "LGV"}, "attack: LGV is not offered: it trains models", ("attack",)),
    ({"attack": "MIFGSM"}, "MIFGSM: the parameter 'eps' is missing: a budget is always stated", ()),
    ({"attack": "APGD", "eps": 0.1}, "APGD: the parameter 'steps' is missing: its default of 10 is not", ()),
    ({"attack": "APGDT", "eps": 0.1}, "APGDT: the parameter 'steps' is missing", ()),
    ({"attack": "FAB", "eps": 0.1}, "FAB: the parameter 'steps' is missing", ()),
    ({"attack": "Square", "eps": 0.1}, "Square: the parameter 'resc_schedule' is missing: the published", ()),
    (
        {"attack": "MIFGSM", "eps": 8},
        "eps: expected a radius in [0, 1] pixel units, such as 8/255 or 0.03 (did",
        ("eps",),
    ),
    ({"attack": "CW", "eps": 0.1}, "eps: CW has no budget that could be set, got 0.1", ("eps",)),
    ({"attack": "CW", "params": {"eps": 0.1}}, "CW: unknown parameter 'eps'", ("params", "eps")),
    (
        {"attack": "MIFGSM", "eps": 0.1, "params": {"eps": 0.1}},
        "eps: given twice, as a field and in `params`",
        ("eps",),
    ),
    (
        {"attack": "MIFGSM", "eps": 0.1, "params": {"stepz": 1}},
        "MIFGSM: unknown parameter 'stepz'; did you mean 'steps'",
        ("params", "stepz"),
    ),
    (
        {"attack": "MIFGSM", "eps": 0.1, "params": {"seed": 1}},
        "MIFGSM: 'seed' cannot be set: every random",
        ("params", "seed"),
    ),
    (
        {"attack": "FAB", "eps": 0.1, "params": {"steps": 1, "verbose": True}},
        "'verbose' cannot be set",
        ("params", "verbose"),
    ),
    (
        {"attack": "CW", "params": {"steps": 0}},
        "CW: steps: expected a whole number of at least 1, got 0",
        ("params", "steps"),
    ),
    ({"attack": "CW", "params": {"steps": True}}, "CW: steps: expected a whole number", ("params", "steps")),
    (
        {"attack": "CW", "params": {"lr": "0.1"}},
        "CW: lr: expected a finite number, got '0.1'",
        ("params", "lr"),
    ),
    (
        {"attack": "PGD", "eps": 0.1, "params": {"random_start": 1}},
        "expected true or false, got 1",
        ("params", "random_start"),
    ),
    (
        {"attack": "PGD", "eps": 0.1, "params": {"alpha": "a"}},
        "alpha: expected a number or a fraction",
        ("params", "alpha"),
    ),
    (
        {"attack": "APGD", "eps": 0.1, "params": {"steps": 3, "norm": "L1"}},
        "APGD: norm: expected one of Linf, L2, got 'L1'",
        ("params", "norm"),
    ),
    (
        {"attack": "Pixle", "params": {"x_dimensions": 3}},
        "expected two numbers, got 3",
        ("params", "x_dimensions"),
    ),
]


@pytest.mark.parametrize(("given", "message", "path"), BAD)
def test_bad_parameters(given, message, path):
    with pytest.raises(BadParameter) as caught:
        attacks.build("torchattacks.any", given)
    assert message in str(caught.value)
    assert caught.value.path == path


def test_a_suite_is_checked_without_torch():
    code = (
        "import sys; from robobench.registry import attacks;"
        "attacks.build('torchattacks.any', {'attack': 'MIFGSM', 'eps': '8/255', 'params': {'steps': 3}});"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
