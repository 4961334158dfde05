"""Every attack of the torchattacks package by its name, on robobench's terms.

What can be asked is written down here instead of being read from the package, so that a suite is
checked without importing torch; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.contracts import Model
from robobench.draws import Draws
from robobench.errors import AttackError, BadParameter, RobobenchError, nearest
from robobench.keys import digest
from robobench.params import Radius, check_linf, read_radius
from robobench.randomness import global_seed
from robobench.registry import attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "torchattacks.any"


@dataclass(frozen=True)
class Entry:
    """One attack of the package.

    norm: of its budget, None when it has none (it looks for the smallest change, or ignores size).
    params: what its constructor takes, parted by spaces; `name=10` is a whole number with that default,
    `name=a|b` a choice. passes: the price of one step in forward passes. required: what must be given,
    because the package's default is not what the attack's name stands for.
    """

    norm: str | None
    params: str
    passes: int = 3
    required: tuple[str, ...] = ()

    @property
    def specs(self) -> Mapping[str, str]:
        """Each parameter and what stands behind its `=`."""
        parts = (part.partition("=") for part in self.params.split())
        return {name: spec for name, _, spec in parts}


_ITERATED = "eps alpha steps=10"
_PUBLISHED = ("steps",)

CATALOGUE: Mapping[str, Entry] = {
    "VANILA": Entry(None, "", 0),
    "GN": Entry(None, "std", 0),
    "FGSM": Entry("linf", "eps"),
    "BIM": Entry("linf", _ITERATED),
    "RFGSM": Entry("linf", _ITERATED),
    "PGD": Entry("linf", f"{_ITERATED} random_start"),
    "EOTPGD": Entry("linf", f"{_ITERATED} eot_iter=2 random_start"),
    "FFGSM": Entry("linf", "eps alpha"),
    "TPGD": Entry("linf", _ITERATED),
    "MIFGSM": Entry("linf", f"{_ITERATED} decay"),
    "UPGD": Entry("linf", f"{_ITERATED} random_start loss=ce|dlr|margin decay eot_iter=1"),
    "APGD": Entry(
        "linf", "norm=Linf|L2 eps steps=10 n_restarts=1 loss=ce|dlr eot_iter=1 rho", required=_PUBLISHED
    ),
    "APGDT": Entry(
        "linf", "norm=Linf|L2 eps steps=10 n_restarts=1 eot_iter=1 rho n_classes=10", required=_PUBLISHED
    ),
    "DIFGSM": Entry("linf", f"{_ITERATED} decay resize_rate diversity_prob random_start"),
    "TIFGSM": Entry(
        "linf",
        f"{_ITERATED} decay kernel_name=gaussian|linear|uniform len_kernel=15 nsig resize_rate "
        "diversity_prob random_start",
    ),
    "Jitter": Entry("linf", f"{_ITERATED} scale std random_start"),
    "NIFGSM": Entry("linf", f"{_ITERATED} decay"),
    "PGDRS": Entry(
        "linf", f"{_ITERATED} noise_type=guassian|uniform noise_sd noise_batch_size=5 batch_max=2048"
    ),
    "SINIFGSM": Entry("linf", f"{_ITERATED} decay m=5"),
    "VMIFGSM": Entry("linf", f"{_ITERATED} decay N=5 beta"),
    "VNIFGSM": Entry("linf", f"{_ITERATED} decay N=5 beta"),
    "CW": Entry(None, "c kappa steps=50 lr"),
    "PGDL2": Entry("l2", f"{_ITERATED} random_start eps_for_division"),
    "DeepFool": Entry(None, "steps=50 overshoot", 21),  # a backward pass for each of ten classes
    "PGDRSL2": Entry(
        "l2",
        f"{_ITERATED} noise_type=guassian|uniform noise_sd noise_batch_size=5 batch_max=2048 "
        "eps_for_division",
    ),
    "SparseFool": Entry(None, "steps=10 lam overshoot", 210),  # each step is some steps of DeepFool
    "OnePixel": Entry(None, "pixels=1 steps=10 popsize=10 inf_batch=128", 1),
    "Pixle": Entry(
        None,
        "x_dimensions y_dimensions pixel_mapping=random|similarity|similarity_random|distance|"
        "distance_random restarts=20 max_iterations=10 update_each_iteration",
        1,
    ),
    "FAB": Entry(
        "linf",
        "norm=Linf|L2 eps steps=10 n_restarts=1 alpha_max eta beta multi_targeted n_classes=10",
        required=_PUBLISHED,
    ),
    "Square": Entry(
        "linf",
        "norm=Linf|L2 eps n_queries=5000 n_restarts=1 p_init loss=margin|ce resc_schedule",
        1,
        required=("resc_schedule",),
    ),
}

REFUSED: Mapping[str, str] = {
    "AutoAttack": "torchattacks' AutoAttack makes 10 steps where the published one makes 100, rescales "
    "Square's schedule and attacks n_classes - 1 targets instead of 9; take APGD, APGDT and FAB with "
    "`steps: 100` and Square with `resc_schedule: false` as conditions of their own",
    "MultiAttack": "it combines attack objects, which a suite cannot hold; take each as a condition",
    "LGV": "it trains models on a data loader, which a suite cannot hold",
}
_OURS = {
    "seed": "every random number follows from the suite's `seed` and the images",
    "verbose": "an attack prints nothing",
}
_WHY = {
    "steps": "its default of 10 is not the published 100",
    "resc_schedule": "the published attack has false, the package's default is true",
    "eps": "a budget is always stated",
}
_FLAGS = ("random_start", "resc_schedule", "multi_targeted", "update_each_iteration")
_PAIRS = ("x_dimensions", "y_dimensions")
_REPEATS = {"steps", "eot_iter", "m", "N", "noise_batch_size", "n_restarts", "n_queries"}
_REPEATS |= {"restarts", "max_iterations", "popsize", "n_classes"}


@attacks.register("any", version=1)
@dataclass(frozen=True, kw_only=True)
class AnyTorchattack:
    """Run an attack of the torchattacks package, by its name there, on a whole lot of images.

    Covers single-step, momentum, diverse-input and smoothed variants of PGD, APGD, FAB, Square, CW,
    DeepFool, one-pixel attacks and more. Parameters are those of its constructor, checked strictly;
    `eps` and `alpha` may be written 8/255. The model is given un-normalised pixels. Randomness is seeded
    from the ids of the lot, because the package draws for all images at once: an image's result depends
    on the lot it is in, but not on what ran before, and the global random states are left as they were.

    Raises BadParameter for an attack or a parameter that the package does not have, for a missing budget,
    and for `AutoAttack` and others whose defaults are not what their name stands for; AttackError when
    the package fails, and under an intervention for attacks that ask about single images (DeepFool,
    APGD, FAB, Square and others), whose dropped parts would then not be known.

    Source: Kim, Torchattacks: A PyTorch Repository for Adversarial Attacks, arXiv 2010.01950; version
    3.3. The paper of each attack is named in its docstring there.
    """

    attack: str  # its name in torchattacks, such as MIFGSM
    eps: Radius | None = None  # radius of its budget in [0, 1] pixel units, for an attack that has one
    params: dict[str, Any] = field(default_factory=dict)  # its other parameters by their names there

    nested: ClassVar[str | None] = "eps"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"attack": "MIFGSM", "eps": "8/255", "params": {"steps": 2, "alpha": "4/255"}},
        {"attack": "DIFGSM", "params": {"eps": "8/255", "steps": 2}},
        {"attack": "DeepFool", "params": {"steps": 2}},
        {"attack": "Square", "eps": 0.1, "params": {"n_queries": 5, "resc_schedule": False}},
        {"attack": "VANILA"},
    )

    def __post_init__(self) -> None:
        specs, given = _specs(self.attack), dict(self.params)
        if self.eps is not None:
            if "eps" in given:
                raise _bad("eps: given twice, as a field and in `params`", "eps")
            if "eps" not in specs:
                raise _bad(f"eps: {self.attack} has no budget that could be set, got {self.eps!r}", "eps")
            given["eps"] = self.eps
        values = _checked(self.attack, specs, given)
        object.__setattr__(self, "eps", values.pop("eps", None))
        object.__setattr__(self, "params", values)
        check_linf("torchattacks.any", self.norm, self.eps)

    @property
    def norm(self) -> str | None:
        """The norm of the budget: linf, l2, or None for an attack without one."""
        chosen = self.params.get("norm")
        return str(chosen).lower() if chosen else CATALOGUE[self.attack].norm

    @property
    def identity(self) -> bool:
        """It is the package's attack that does nothing."""
        return self.attack == "VANILA"

    @property
    def cost(self) -> int:
        """At most so many forward passes per image, a backward one counted as two; an estimate."""
        entry = CATALOGUE[self.attack]
        counts = {k: self.params.get(k, int(s)) for k, s in entry.specs.items() if s.isdecimal()}
        repeats = math.prod(int(counts[k]) for k in _REPEATS if k in counts)
        return entry.passes * repeats + 1

    def __call__(self, model: Model, batch: ImageBatch, draws: Draws) -> Tensor:
        import torch
        import torchattacks

        seed = int(digest(draws.seeds(NAME)), 16)
        options = dict(self.params) | ({} if self.eps is None else {"eps": self.eps})
        if self.attack in ("APGD", "APGDT", "FAB", "Square"):  # they seed torch themselves
            options["seed"] = seed % 2**31
        with global_seed(seed), _frozen(model.module), torch.enable_grad():
            try:
                attack = getattr(torchattacks, self.attack)(_logits_of(model, batch), **options)
                found: Tensor = attack(batch.pixels, batch.labels)
            except (TypeError, ValueError, IndexError, AttributeError, AssertionError) as error:
                raise AttackError(
                    f"{NAME}: {self.attack} failed inside torchattacks {torchattacks.__version__}: "
                    f"{type(error).__name__}: {error}"
                ) from error
        return found.detach().to(batch.pixels)


def _bad(message: str, *path: str) -> BadParameter:
    return BadParameter(f"{NAME}: {message}", path)


def _specs(attack: str) -> Mapping[str, str]:
    """What an attack's constructor takes. Raises BadParameter for one that is unknown or not offered."""
    if attack in REFUSED:
        raise _bad(f"attack: {attack} is not offered: {REFUSED[attack]}", "attack")
    if attack not in CATALOGUE:
        same = {n.lower(): n for n in CATALOGUE}.get(attack.lower())
        near = f"did you mean {same!r}?" if same else nearest(attack, CATALOGUE)
        raise _bad(f"attack: torchattacks has no {attack!r}; {near}", "attack")
    return CATALOGUE[attack].specs


def _checked(attack: str, specs: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an attack as its constructor wants them. Raises BadParameter."""
    for name in given:
        if name in _OURS:
            raise _bad(f"{attack}: {name!r} cannot be set: {_OURS[name]}", "params", name)
        if name not in specs:
            raise _bad(f"{attack}: unknown parameter {name!r}; {nearest(name, specs)}", "params", name)
    required = ("eps",) * ("eps" in specs) + CATALOGUE[attack].required
    for name in required:
        if name not in given:
            raise _bad(f"{attack}: the parameter {name!r} is missing: {_WHY[name]}")
    return {name: _value(attack, name, specs[name], value) for name, value in sorted(given.items())}


def _value(attack: str, name: str, spec: str, value: Any) -> Any:
    """One parameter, read as what its spec says."""
    try:
        return _reader(name, spec)(value)
    except ValueError as error:
        raise _bad(f"{attack}: {name}: expected {error}, got {value!r}", "params", name) from None


def _reader(name: str, spec: str) -> Callable[[Any], Any]:
    if name in ("eps", "alpha"):
        return read_radius
    if "|" in spec:
        return lambda value: _one_of(spec.split("|"), value)
    if spec:
        return _count
    if name in _FLAGS:
        return _flag
    return _pair if name in _PAIRS else _number


def _one_of(options: list[str], value: Any) -> str:
    if value not in options:
        raise ValueError("one of " + ", ".join(options))
    return str(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number of at least 1")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("a finite number")
    return value


def _pair(value: Any) -> list[float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError("two numbers")
    return [_number(v) for v in value]


def _logits_of(model: Model, batch: ImageBatch) -> nn.Module:
    """The model as a module from pixels to logits, for any number of images."""
    import torch
    from torch import nn

    class Logits(nn.Module):
        """Holds the model outside of torch's sight: nothing here can change its mode or weights."""

        def __init__(self) -> None:
            super().__init__()
            # torchattacks asks the first parameter for the device
            place = torch.empty(0, device=batch.pixels.device)
            self.place = nn.Parameter(place, requires_grad=False)

        def forward(self, pixels: Tensor) -> Tensor:
            n = len(pixels)
            if n == len(batch):
                return model(ImageBatch(pixels.float(), batch.ids, batch.labels))
            try:  # which images these are is not known: what draws by id must not be given wrong ones
                return model(ImageBatch(pixels.float(), (), batch.labels.new_zeros(n)))
            except RobobenchError as error:
                raise AttackError(
                    f"{NAME}: asked about {n} of {len(batch)} images at once, which a model under an "
                    f"intervention cannot answer ({error}); gradient.pgd can be used there"
                ) from error

    return Logits().eval()


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Weights that collect no gradients for a while: some attacks call `backward`."""
    learning = [p for p in module.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
