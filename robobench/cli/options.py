"""The options that several commands share, described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from robobench.errors import RobobenchError

Suite = Annotated[
    str, typer.Argument(metavar="SUITE", help="A suite by name (`robobench list suites`) or a YAML file.")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", metavar="SPEC",
        help="A model instead of the suite's own: timm:NAME, torchvision:NAME, zoo:NAME, file.py:factory or "
        "package.module:factory, each with ?key=value&... Give it again for more models; NAME=SPEC names it.",
    ),
]  # fmt: skip
Data = Annotated[
    str | None,
    typer.Option(
        "--data", "-d", metavar="SPEC", help="Data instead of the suite's own, as in folder:/data/val."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, help="At most so many images of each data set, classes balanced."),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="DIR", help="The results folder; what is there is not computed again."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace a value of the suite, as in seed=1 or data.limit=100."
    ),
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Let code that a suite file names run (file.py:factory).")
]
CodeOfResult = Annotated[
    bool, typer.Option("--allow-code", help="Let code that the result names run (file.py:factory).")
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", "-b", min=1, help="Images per pass; no number depends on it.")
]
Device = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1 or mps; by default the best there is.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]

KeepImages = Annotated[
    Literal["fallen", "all"] | None,
    typer.Option(
        "--keep-images",
        help="Store the pixels of attacked images beside their rows: of those that fell, or of all. "
        "No number changes; `robobench adversarial SUITE` shows them.",
    ),
]

Precision = Annotated[
    float | None,
    typer.Option(
        "--precision", metavar="P",
        help="Stop a model on a data set as soon as the accuracy of each of its cells there is known to "
        "+- P, as in 0.01, however often one looks. A smaller P, or none, goes on from there.",
    ),
]  # fmt: skip

Against = Annotated[
    Path | None,
    typer.Option(
        "--against", metavar="BASELINE",
        help="Stop a model as soon as its gate against this file of `robobench baseline` is settled, however "
        "often one looks; then judge it by `robobench gate BASELINE NAME --sequential`.",
    ),
]  # fmt: skip
GatePolicy = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="gate.yaml: margins, alpha, groups, floors."),
]

Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track", metavar="TRACKER",
        help="Tell a tracker of the results: mlflow[:URI], wandb[:PROJECT] or tensorboard[:DIR]; give it "
        "again for more. One that fails is a warning, the run stays as it is.",
    ),
]  # fmt: skip

ShowImages = Annotated[
    bool,
    typer.Option(
        "--show-images",
        help="Show and name the most hurt images on the page, also where no licence of the data is known. "
        "A later run without it takes them away again.",
    ),
]

RESULTS = Path("results")


def settings(pairs: list[str] | None) -> dict[str, Any]:
    """`key=value` pairs, values read as YAML. Raises RobobenchError."""
    from robobench.suite.yaml_lines import read_yaml

    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise RobobenchError(f"--set {pair}: expected KEY=VALUE, as in seed=1")
        found[key] = read_yaml(value or "null", f"--set {key}").value
    return found


def split_name(text: str) -> tuple[str | None, str]:
    """`NAME=SPEC` apart; a SPEC alone has no name.

    >>> split_name("mine=timm:resnet18?pretrained=false")
    ('mine', 'timm:resnet18?pretrained=false')
    >>> split_name("timm:resnet18?pretrained=false")
    (None, 'timm:resnet18?pretrained=false')
    """
    name, equals, spec = text.partition("=")
    if equals and ":" not in name and "?" not in name:
        return name, spec
    return None, text
