"""`robobench list`, `show` and `check`: what there is, without data, models or torch."""

from __future__ import annotations

from typing import Annotated

import typer

from robobench.cli import options
from robobench.errors import ExitCode, RobobenchError, UnknownName, nearest

KINDS = "suites, perturbations, interventions, attacks, preparations, metrics, formulas, models or data"


def list_(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help=f"One of {KINDS}.")] = None,
    pattern: Annotated[
        str | None,
        typer.Argument(metavar="[PATTERN]", help="For models: timm:PATTERN, as in timm:vit_*tiny*."),
    ] = None,
    json: options.Json = False,
) -> int:
    """List suites and plug-ins. `robobench show NAME` says more about one."""
    from robobench.registry import REGISTRIES
    from robobench.suite.load import suite_names

    if pattern is not None:
        return _list_models(kind, pattern)
    kinds = ["suites", *REGISTRIES]
    if kind is not None and kind not in kinds:
        raise UnknownName(f"unknown kind {kind!r}; {nearest(kind, kinds)}")
    found: dict[str, dict[str, str]] = {}
    for name in kinds if kind is None else [kind]:
        if name == "suites":
            found[name] = {n: _title(n) for n in suite_names()}
        else:
            registry = REGISTRIES[name]
            found[name] = {n: registry.get(n).summary for n in registry.names()}
    from robobench.cli.table import listing, print_json

    if json:
        print_json(found)
    else:
        listing(found)
    return ExitCode.OK


def show(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="A suite, a plug-in, or a model SPEC.")
    ],
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Measure how fast models are on this machine, those of a suite where one is named, and keep "
            "it with the results: `robobench leaderboard` then shows score against speed.",
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", help="With --measure: cpu, cuda, cuda:1 or mps; the best there is by default."
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="With --measure: images of a forward pass.")
    ] = 32,
    out: options.Out = options.RESULTS,
    allow_code: options.AllowCode = False,
    json: options.Json = False,
) -> int:
    """Say what a suite, a plug-in or a model is: its parameters, their ranges, and its source.

    With --measure: what models cost. Parameters, multiply-accumulates (MACs) of one image at the model's own
    input size, and images a second: the bare network in float32 and inference mode on images that are in
    memory already, the median of several repeats. Leave the machine alone meanwhile.
    """
    if measure:
        from robobench.cli.measure import measure_models

        return measure_models(
            names, device=device, batch_size=batch_size, out=out, allow_code=allow_code, json=json
        )
    if len(names) > 1:
        raise RobobenchError(f"expected one NAME, got {len(names)}; only with --measure may there be more")
    return _show(names[0], json)


def _show(name: str, json: bool) -> int:
    from robobench.registry import REGISTRIES
    from robobench.suite.load import suite_names

    if name in suite_names() or name.endswith((".yaml", ".yml")):
        return _show_suite(name, json)
    for registry in REGISTRIES.values():
        try:
            plugin = registry.get(name)
        except UnknownName:
            continue
        from dataclasses import asdict

        from robobench.cli.table import plugin_page, print_json
        from robobench.registry import schema

        published = getattr(plugin.cls, "published", None)  # of data sets that somebody published
        if json:
            print_json({"name": plugin.name, "kind": plugin.kind, "version": plugin.version}
                       | schema(plugin.cls).model_json_schema()  # type: ignore[arg-type]
                       | ({} if published is None else {"published": asdict(published)}))  # fmt: skip
        else:
            plugin_page(plugin)
            for word, text in () if published is None else published.facts():
                typer.echo(f"{word}: {text}")
        return ExitCode.OK
    if ":" in name:
        return _show_model(name, json)
    known = [*suite_names(), *(n for r in REGISTRIES.values() for n in r.names())]
    raise UnknownName(f"nothing is called {name!r}; {nearest(name, known)}")


def check(
    suites: Annotated[list[str], typer.Argument(metavar="SUITE...", help="Suites by name, or YAML files.")],
    set_: options.Settings = None,
    json: options.Json = False,
) -> int:
    """Check suite files: form, names, every parameter. Needs no data and no model."""
    from robobench.cli.table import count, print_json
    from robobench.suite.load import load_suite

    faults: dict[str, str] = {}
    for name in suites:
        try:
            suite = load_suite(name, options.settings(set_))
        except RobobenchError as error:
            faults[name] = str(error)
            continue
        if not json:
            typer.echo(
                f"{name}: fine, {count(len(suite.conditions), 'condition')} on "
                f"{count(len(suite.data), 'data set')}, digest {suite.digest}"
            )
    if json:
        print_json({name: faults.get(name) for name in suites})
    else:
        for message in faults.values():
            typer.secho(f"robobench: {message}", fg="red", err=True)
    return ExitCode.USER if faults else ExitCode.OK


def _title(name: str) -> str:
    """A suite's title, or what is wrong with its file: one bad file does not hide the others."""
    from robobench.suite.load import load_suite

    try:
        return load_suite(name).title
    except RobobenchError as error:
        return f"cannot be read: {error}"


def _list_models(kind: str | None, pattern: str) -> int:
    source, _, rest = pattern.partition(":")
    if kind != "models" or source not in ("timm", "torchvision", "zoo"):
        raise RobobenchError(f"{kind} {pattern}: expected `list models timm:PATTERN`, as in timm:vit_*tiny*")
    from robobench.registry import models

    for name in models.build(source).list_names(rest or "*"):
        typer.echo(f"{source}:{name}")
    return ExitCode.OK


def _show_suite(name: str, json: bool) -> int:
    from dataclasses import asdict

    from robobench.cli.table import print_json, suite_page
    from robobench.suite.load import load_suite

    suite = load_suite(name)
    if json:
        print_json(asdict(suite) | {"digest": suite.digest})
    else:
        suite_page(suite)
    return ExitCode.OK


def _show_model(spec: str, json: bool) -> int:
    from dataclasses import asdict

    from robobench.cli.table import print_json
    from robobench.engine.resolve import identify
    from robobench.suite.suite import ModelEntry

    who = identify(ModelEntry(spec, trusted=True), allow_code=True).id
    if json:
        print_json(asdict(who))
    else:
        for key, value in asdict(who).items():
            if value is not None:
                typer.echo(f"{key}: {value}")
    return ExitCode.OK
