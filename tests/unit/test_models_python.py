"""The user's own factories: found, allowed, called, and told what is wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from robobench.errors import ModelError
from robobench.models.params import literal
from robobench.registry import models
from robobench.specs import parse_spec
from robobench.types import View

CODE = """
from __future__ import annotations
from pathlib import Path
from typing import TYPE_CHECKING
from torch import nn
from robobench.models.handle import Described
from robobench.types import View
if TYPE_CHECKING:
    from torch.nn import Module

seen = {}
other = 3

def build(width: int = 2, bias: bool = True, rate: float = 0.5, name: str = "x", plain=4, deep: int | None = 1) -> Module:
    seen.update(width=width, bias=bias, rate=rate, name=name, plain=plain, deep=deep)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, width, bias=bias))
    net.seen = dict(seen)
    return net

def described() -> Described:
    return Described(build(), (0.5,) * 3, (0.25,) * 3, family="vit", view=View(size=28))

def fails():
    x = 1
    raise ValueError("no such width")

def leaves():
    raise SystemExit(3)

def text():
    return "resnet"

def odd(sizes: list[int] = ()):
    return build()

def needs(width: int):
    return build(width)

def takes(checkpoint: Path):
    net = build()
    net.given = checkpoint
    return net

def anything(**options):
    net = build()
    net.options = options
    return net
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def who(text: str, *, allow_code: bool = True):
    spec = parse_spec(text, code_source="python")
    return models.build("python").identify(spec, allow_code=allow_code)


def load(text: str):
    return models.build("python").load(who(text), "cpu")


def test_code_named_in_a_suite_needs_to_be_allowed(file):
    with pytest.raises(
        ModelError, match=r"mine.py:build: code named in a suite or result file needs --allow-code"
    ):
        who(f"{file}:build", allow_code=False)


def test_a_bare_module_gets_pixels_as_they_are_and_described_says_more(file):
    h = load(f"{file}:build")
    pixels = torch.rand(2, 3, 4, 4)
    assert torch.equal(h.raw(pixels), h.module(pixels))
    h = load(f"{file}:described")
    assert torch.allclose(h.raw(pixels), h.module((pixels - 0.5) / 0.25))
    assert (h.card.family, h.card.view) == ("vit", View(size=28))
    h.check_frozen()


def test_text_becomes_what_the_annotations_say(file):
    h = load(f"{file}:build?width=3&bias=no&rate=1e-2&name=7&plain=9&deep=none")
    assert h.module.seen == {"width": 3, "bias": False, "rate": 0.01, "name": "7", "plain": 9, "deep": None}
    assert load(f"{file}:build?deep=5").module.seen["deep"] == 5
    assert load(f"{file}:anything?a=1").module.options == {"a": "1"}


def test_literals_for_libraries_without_annotations():
    texts = ("True", "false", "none", "7", "-1", "0.5", "1e-3", "token", "1_x")
    assert [literal(t) for t in texts] == [True, False, None, 7, -1, 0.5, 0.001, "token", "1_x"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ("build?widht=3", r"mine.py:build\?widht=3: unknown parameter 'widht'; did you mean 'width'\?"),
        ("build?width=x", r"width: expected int, got 'x'"),
        ("build?bias=perhaps", r"bias: expected true or false, got 'perhaps'"),
        ("needs", r"mine.py:needs: the parameter 'width' is missing; add \?width=VALUE"),
        ("odd?sizes=3", r"sizes: annotated 'list\[int\]', which a SPEC cannot give; use int, float, bool"),
        ("biuld", r"mine.py has no function 'biuld'; did you mean 'build'\?"),
        ("other", r"mine.py: 'other' is a int, not a function"),
        ("fails", r"mine.py:25: ValueError: no such width; raised while building the model"),
        ("leaves", r"mine.py:28: SystemExit: 3; raised while building the model"),
        (
            "text",
            r"mine.py: text returned a str; expected a torch.nn.Module or a robobench.models.handle.Described",
        ),
        ("build?checkpoint=no.pt", r"checkpoint: no file 'no.pt'"),
    ],
)
def test_messages(file, ask, said):
    with pytest.raises(ModelError, match=said):
        load(f"{file}:{ask}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nowhere/mine.py:build", r"nowhere/mine.py: no such file \(looked in this folder\)"),
        ("no_such_package.models:build", r"no module 'no_such_package.models' in this folder or"),
        ("python:mine", r"'mine': expected path/file.py:factory or package.module:factory"),
        ("os.path.:build", r"'os.path.' is not the name of a module"),
        ("a/b.py:x-y", r"expected path/file.py:factory"),
    ],
)
def test_code_that_is_not_there(text, said):
    with pytest.raises(ModelError, match=said):
        who(text)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1\nraise KeyError('a')\n", r"bad.py:2: KeyError: 'a'; the file cannot be imported"),
        ("def f(:\n", r"bad.py:1: SyntaxError"),
        ("import no_such_thing\n", r"bad.py:1: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("\nimport sys; sys.exit()\n", r"bad.py:2: SystemExit; the file cannot be imported"),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path, code, said):
    (tmp_path / "bad.py").write_text(code)
    before = set(sys.modules)
    with pytest.raises(ModelError, match=said):
        load(f"{tmp_path}/bad.py:f")
    assert not {m for m in set(sys.modules) - before if m.startswith("robobench_user")}


def test_identity_is_content_and_parameters_not_place(file, tmp_path):
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "mine.py"
    copy.write_text(CODE)
    base = who(f"{file}:build").digest
    assert who(f"{copy}:build").digest == base == who(f"{file}:build").digest
    distinct = {base, who(f"{file}:described").digest, who(f"{file}:build?width=3").digest}
    copy.write_text(CODE + "\n")
    distinct.add(who(f"{copy}:build").digest)
    assert len(distinct) == 4
    assert who(f"{file}:build?width=3").name == "mine.py:build?width=3"


def test_a_file_that_changed_since_it_was_identified(file):
    known = who(f"{file}:build")
    file.write_text(CODE + "\n")
    with pytest.raises(ModelError, match=r"mine.py:build: its file or checkpoint changed while this run"):
        models.build("python").load(known, "cpu")


def test_random_weights_are_the_same_every_time(file):
    torch.manual_seed(1)
    one = load(f"{file}:build").card.weights
    torch.manual_seed(2)
    assert load(f"{file}:build").card.weights == one
    assert load(f"{file}:build?width=3").card.weights != one


def test_a_checkpoint_goes_to_the_factory_that_asks_for_it_and_else_into_the_module(file, tmp_path):
    net = load(f"{file}:build").module
    net[2].weight += 1
    path = tmp_path / "w.safetensors"
    save_file(net.state_dict(), path)
    h = load(f"{file}:build?checkpoint={path}")
    assert torch.equal(h.module[2].weight, net[2].weight)
    assert load(f"{file}:takes?checkpoint={path}").module.given == path
    before = who(f"{file}:takes?checkpoint={path}").digest
    path.write_bytes(b"other")
    assert who(f"{file}:takes?checkpoint={path}").digest != before


def test_files_beside_it_can_be_imported_and_the_path_is_left_as_it_was(tmp_path):
    (tmp_path / "beside_the_model.py").write_text("WIDTH = 5\n")
    (tmp_path / "mine.py").write_text(
        "from beside_the_model import WIDTH\nfrom torch import nn\n"
        "def build():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(WIDTH)) if 0 else nn.Linear(3, WIDTH)\n"
    )
    before = list(sys.path)
    assert load(f"{tmp_path}/mine.py:build").module.out_features == 5
    assert sys.path == before


def test_a_module_of_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "mine_pkg"
    (package / "nets").mkdir(parents=True)
    (package / "__init__.py").write_text("LOADED = True\n")
    (package / "nets" / "__init__.py").write_text("")
    (package / "nets" / "small.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    found = who("mine_pkg.nets.small:build?width=3")
    assert "mine_pkg" not in sys.modules
    assert found.name == "mine_pkg.nets.small:build?width=3"
    h = models.build("python").load(found, "cpu")
    assert h.module[2].out_features == 3
    for name in [m for m in sys.modules if m.startswith("mine_pkg")]:
        del sys.modules[name]


def test_an_own_error_of_robobench_passes_through(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from robobench.errors import MissingExtra\ndef build():\n    raise MissingExtra('x', 'y', 'z')\n"
    )
    with pytest.raises(Exception, match=r"x needs the package 'y'"):
        load(f"{tmp_path}/mine.py:build")
