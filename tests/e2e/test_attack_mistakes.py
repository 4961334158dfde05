"""What is wrong with an attack, or with the model it is given, is said plainly, and where it can be before a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from robobench.cli.main import _run
from robobench.engine import demands
from robobench.engine.local import RANDOM
from robobench.engine.resolve import cells
from robobench.errors import AttackError, MissingExtra
from robobench.params import Eps
from robobench.registry import attacks
from robobench.store import Store
from robobench.types import ImageBatch
from tests.bench import carry_out, resolved
from tests.fakes import FakeModel, conv_model, conv_net

HEAD = "schema: 1\nname: t\ntitle: T\ndata: {source: digits, path: mnist}\nconditions:\n"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def said(capsys):
    """Run a suite of one condition; what was written to standard error."""

    def run(condition: str, *more: str, code: int = 2) -> str:
        Path("s.yaml").write_text(f"{HEAD}  - {condition}\n")
        found = _run(["run", "s.yaml", *more])
        printed = capsys.readouterr()
        assert found == code, printed.out + printed.err
        assert "Traceback" not in printed.err
        return printed.err

    return run


PIXELS = "expected a radius in [0, 1] pixel units, such as 8/255 or 0.03"
RADIUS = "expected a number or a fraction such as 8/255"
BUDGETS = {
    "no fraction": ("gradient.fgsm", "'8/'", f"{PIXELS}, got '8/'"),
    "a word": ("gradient.fgsm", "small", f"{PIXELS}, got 'small'"),
    "by nothing": ("gradient.fgsm", "8/0", f"{PIXELS}, got '8/0'"),
    "a list": ("gradient.fgsm", "[1]", f"{PIXELS}, got [1]"),
    "not finite": ("gradient.fgsm", ".inf", f"{PIXELS}, got inf"),
    "negative": ("gradient.fgsm", "-1/255", f"{PIXELS}, got '-1/255'"),
    "in 8-bit steps": ("gradient.fgsm", "8", f"{PIXELS} (did you mean 8/255?), got 8"),
    "pgd: no fraction": ("gradient.pgd", "8/x", f"{RADIUS}, got '8/x'"),
    "pgd: negative": ("gradient.pgd", "-0.1", "expected a radius of at least 0, got -0.1"),
    "pgd: in 8-bit steps": ("gradient.pgd", "8", f"{PIXELS} (did you mean 8/255?), got 8"),
    "apgd: in 8-bit steps": ("gradient.apgd", "4.0", f"{PIXELS} (did you mean 4/255?), got 4"),
    "square: in 8-bit steps": ("blackbox.square", "4", f"{PIXELS} (did you mean 4/255?), got 4"),
    "autoattack: in 8-bit steps": ("autoattack.standard", "8", f"{PIXELS} (did you mean 8/255?), got 8"),
    "noise: in 8-bit steps": ("noise.uniform", "8", f"{PIXELS} (did you mean 8/255?), got 8"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "eps", "message"), BUDGETS.values(), ids=BUDGETS)
def test_a_budget_that_cannot_be_is_named_with_its_line(name, eps, message, said):
    norm = ", norm: linf" if "norm" in {f.name for f in fields(attacks.get(name).cls)} else ""
    error = said(f"{{use: {name}, with: {{eps: {eps}{norm}}}}}")
    assert error.startswith(f"robobench: s.yaml:6: {name}: eps: {message}"), error
    assert not Path("results").exists()


def three_classes(tmp_path: Path) -> str:
    """A folder of three classes with an image each, as a SPEC."""
    from PIL import Image

    for n, name in enumerate(("ant", "bee", "cow")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (28, 28), (n * 60, 90, 30)).save(tmp_path / "pictures" / name / "1.png")
    return f"folder:{tmp_path / 'pictures'}?label_space=own"


def test_fewer_classes_than_an_attack_needs(tmp_path, said):
    data = three_classes(tmp_path)
    Path("three.py").write_text(
        "from tests.fakes import conv_net\n\ndef build():\n    raise RuntimeError('nobody should load this')\n"
    )
    error = said(
        "{use: autoattack.standard, name: AA, with: {eps: 4/255}}", "-d", data, "-m", "three.py:build"
    )
    assert error.startswith(
        "robobench: condition 'AA': autoattack.standard works with 4 classes or more, and "
    )
    assert "has 3: leave this condition out, or take an attack that works with fewer" in error
    error = said("{use: gradient.fgsm, with: {eps: 4/255}}", "-d", data, "-m", "three.py:build", code=4)
    assert "nobody should load this" in error, (
        "an attack that works with two classes gets as far as the model"
    )


def test_a_package_that_is_not_installed(monkeypatch, said):
    real = demands.importlib.util.find_spec
    gone = lambda name, *rest: None if name == "foolbox" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(demands.importlib.util, "find_spec", gone)
    error = said("{use: blackbox.boundary, name: walk}", "-m", "zoo:vit")
    assert error == (
        "robobench: condition 'walk': blackbox.boundary needs the package 'foolbox', which is not installed: "
        "run `pip install 'robobench[foolbox]'`\n"
    )
    with pytest.raises(MissingExtra, match="preparation 'p': x needs the package 'foolbox'"):
        demands.check_extra(attacks.get("blackbox.boundary").cls, "preparation 'p': x")


def failures(found, root):
    return Store.open(root).failures([c.key for c in cells(found)])


FGSM = "conditions:\n  - {use: gradient.fgsm, name: fgsm, with: {eps: 8/255}}\n"
SQUARE = "conditions:\n  - {use: blackbox.square, name: square, with: {eps: 8/255, queries: 3}}\n"


def test_a_model_without_a_gradient_under_a_white_box_attack(said, capsys):
    Path("steps.py").write_text(
        "import torch\nfrom torch import nn\nfrom tests.fakes import conv_net\n\n"
        "class Steps(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.net = conv_net(10)\n\n"
        "    def forward(self, x):\n        with torch.no_grad():\n            return self.net(x).round()\n\n"
        "def build():\n    return Steps()\n"
    )
    more = ("-m", "m=steps.py:build", "-n", "40")
    error = said("{use: gradient.fgsm, name: fgsm, with: {eps: 8/255}}", *more, code=4)
    assert "failed: m, fgsm: " in error
    assert "gradient" in error
    error = said("{use: blackbox.square, with: {eps: 8/255, queries: 3}}", *more, "--out", "other", code=0)
    assert "failed" not in error


@attacks.register("outside", version=1)
@dataclass(frozen=True, kw_only=True)
class Outside:
    """An attack that goes twice as far as it may.

    Own: made for a test.
    """

    eps: Eps  # the budget it does not keep

    norm: ClassVar[str | None] = "linf"
    nested: ClassVar[str | None] = "eps"
    white: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    @property
    def cost(self) -> int:
        return 1

    def __call__(self, model: Any, batch: ImageBatch, draws: Any) -> torch.Tensor:
        return (batch.pixels + 2 * self.eps).clamp(0, 1)


def test_an_attack_outside_its_budget_is_a_failure_and_never_a_result(tmp_path):
    name = Outside.__module__.partition(".")[0] + "/test_attack_mistakes.outside"
    text = (
        f"conditions:\n  - {{use: {name}, name: out, ladder: {{eps: [8/255, 16/255]}}}}\n"
        "  - {use: gradient.fgsm, name: fgsm, with: {eps: 8/255}}\n"
    )
    found = resolved(text, conv_model(10), limit=40)
    outcome = carry_out(found, tmp_path)
    reasons = {f.condition: f.reason for f in failures(found, tmp_path)}
    assert reasons["out eps=8/255"].startswith("Outside: moved an image by 0.06")
    assert "in linf, budget 0.031372" in reasons["out eps=8/255"]
    assert reasons["out eps=16/255"].startswith("the smaller level 'out eps=8/255' failed: Outside: moved")
    assert outcome.broken
    have = Store.open(tmp_path).have(c.key for c in cells(found))
    there = {c.condition.name: len(have[c.key]) for c in cells(found)}
    assert there == {"clean": 40, "out eps=8/255": 0, "out eps=16/255": 0, "fgsm": 40}


class Noisy(torch.nn.Module):
    def __init__(self, size: float) -> None:
        super().__init__()
        self.net, self.size = conv_net(10), size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.net(x)
        return logits + self.size * torch.randn_like(logits)


@pytest.mark.parametrize(("size", "warned"), [(0.1, True), (1e-7, False), (0.0, False)])
def test_a_model_whose_answers_change_from_pass_to_pass_is_warned_about(size, warned, tmp_path):
    found = resolved(FGSM, FakeModel(Noisy(size), outputs=10), limit=4)
    outcome = carry_out(found, tmp_path)
    assert outcome.warnings == ({"fake": RANDOM} if warned else {})
    kept = {p["provenance"]["model"]["warning"] for p in Store.open(tmp_path).provenance()}
    assert kept == ({RANDOM} if warned else {None})


def test_both_warnings_are_given():
    class Sick(Noisy):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).softmax(1)

    import tempfile

    with tempfile.TemporaryDirectory() as root:
        outcome = carry_out(resolved(FGSM, FakeModel(Sick(1.0), outputs=10), limit=4), Path(root))
    assert outcome.warnings["fake"].startswith("the outputs are probabilities")
    assert outcome.warnings["fake"].endswith(RANDOM)


def test_enough_classes_pass():
    found = resolved(
        "conditions:\n  - {use: autoattack.standard, with: {eps: 4/255}}\n", conv_model(10), limit=4
    )
    spaces = {n: d.space for n, d in found.data.items()}
    demands.check_demands(found.conditions, spaces)
    from dataclasses import replace

    few = {n: replace(s, classes=s.classes[:3]) for n, s in spaces.items()}
    with pytest.raises(AttackError, match="works with 4 classes or more"):
        demands.check_demands(found.conditions, few)
