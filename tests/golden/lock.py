"""What every shipped suite and every plug-in is, beside its `version`: lock.json.

`python -m tests.golden.lock` writes it down anew. It refuses as long as something changed a number, or what a
number means, and its `version` did not go up. Of a suite that is every part that its digest knows, without the
versions of its plug-ins; of a plug-in its defaults and, for metrics and formulas, what they give for fixed rows.
Perturbations have their numbers in perturbations.json.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any

from robobench.keys import digest, plain
from robobench.registry import REGISTRIES, Plugin, schema
from robobench.suite.load import load_suite
from robobench.suite.suite import Suite
from tests.golden.lock_numbers import numbers

FILE = Path(__file__).with_name("lock.json")
SUITES = Path(__file__).parents[2] / "suites"
COMMAND = "python -m tests.golden.lock"
SHORT = 10  # hex digits of the digest of a part: enough to see that it changed
NEAR = 1e-7  # relative: sums differ in their last digits from machine to machine

Entry = dict[str, Any]  # version, fixed: part -> value, form: a digest that is free to change


def entries() -> dict[str, Entry]:
    """Everything that is locked, as it is now."""
    found = {f"suite {p.stem}": suite_entry(load_suite(p)) for p in sorted(SUITES.glob("*.yaml"))}
    for registry in REGISTRIES.values():
        for name in registry.names():
            if "/" not in name:  # of another package
                plugin = registry.get(name)
                found[f"{plugin.kind} {name}"] = plugin_entry(plugin)
    return found


def suite_entry(suite: Suite) -> Entry:
    """A suite: its conditions ladder by ladder, so that a change can be named."""
    ladders: dict[str, list[Any]] = {}
    for condition in suite.conditions:
        steps = tuple(replace(s, version=0) for s in condition.steps)
        ladders.setdefault(condition.ladder, []).append(replace(condition, steps=steps))
    parts = {
        **{f"data.{d.name}": d.identity for d in suite.data},
        **{f"conditions.{name}": ladder for name, ladder in ladders.items()},
        **{f"preparations.{p.name}": replace(p, version=0).identity for p in suite.preparations},
        "view": suite.view,
        "metrics": suite.metrics,
        "score": suite.score,
        "summaries": suite.summaries,
        "store": suite.store,
        "seed": suite.seed,
        "lot": suite.lot,
    }
    return {"version": suite.version, "fixed": {k: digest(v)[:SHORT] for k, v in parts.items()}}


def plugin_entry(plugin: Plugin) -> Entry:
    """A plug-in: its defaults as they are, its numbers, and the form of its parameters as a digest."""
    defaults = {f"default.{f.name}": plain(_default(f)) for f in _optional(plugin)}
    form = digest(_bare(schema(plugin.cls).model_json_schema()))[:SHORT]
    return {"version": plugin.version, "fixed": {**defaults, **numbers(plugin)}, "form": form}


def _optional(plugin: Plugin) -> Iterator[Field[Any]]:
    for f in fields(plugin.cls):
        if f.init and not (f.default is MISSING and f.default_factory is MISSING):
            yield f


def _default(f: Field[Any]) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def _bare(value: Any) -> Any:
    """A JSON schema without titles and descriptions, which say nothing new."""
    if isinstance(value, Mapping):
        return {
            k: _bare(v)
            for k, v in value.items()
            if not (k in ("title", "description") and isinstance(v, str))
        }
    return [_bare(v) for v in value] if isinstance(value, list) else value


def _same(one: Any, two: Any) -> bool:
    """Numbers are compared as numbers, everything else exactly."""
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(_same(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, float) and isinstance(two, float):
        return math.isclose(one, two, rel_tol=NEAR, abs_tol=1e-9)
    return bool(one == two)


def changed(name: str, old: Entry, new: Entry) -> list[str]:
    """The parts whose change takes a new version. What a plug-in has more than before takes none."""
    was, now = old["fixed"], new["fixed"]
    found = [k for k in was if k not in now or not _same(was[k], now[k])]
    return found + [k for k in now if k not in was and name.startswith("suite ")]


def refusal(name: str, old: Entry | None, new: Entry) -> str:
    """Why an entry must not be written anew; nothing where it may be."""
    if old is None or new["version"] > old["version"]:
        return ""
    if new["version"] < old["version"]:
        return f"{name}: `version` went down, from {old['version']} to {new['version']}"
    parts = changed(name, old, new)
    if not parts:
        return ""
    return (
        f"{name} changed ({', '.join(parts)}) without a version bump: raise `version` (it is "
        f"{new['version']}), then run `{COMMAND}`"
    )


def fault(name: str, old: Entry | None, new: Entry | None) -> str:
    """What is wrong with an entry; nothing where the lock says what is."""
    if new is None:
        return f"{name} is locked and no longer there: run `{COMMAND}`"
    if old is None:
        return f"{name} is not locked yet: run `{COMMAND}`"
    refused = refusal(name, old, new)
    if refused:
        return refused
    if new["version"] > old["version"]:
        return f"{name}: version {new['version']}, the lock is of {old['version']}: run `{COMMAND}`"
    if new.get("form") != old.get("form") or set(new["fixed"]) != set(old["fixed"]):
        return f"{name}: the form of its parameters changed, no number did: run `{COMMAND}`"
    return ""


def faults(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> list[str]:
    """What is wrong with a lock."""
    found = (fault(name, old.get(name), new.get(name)) for name in sorted({*old, *new}))
    return [f for f in found if f]


def read(path: Path) -> dict[str, Entry]:
    """A lock, empty where there is none."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def write(path: Path, new: Mapping[str, Entry]) -> Sequence[str]:
    """Write a lock anew, unless something changed without a new version: then say what, and write nothing."""
    old = read(path)
    refused = [r for name in sorted(new) if (r := refusal(name, old.get(name), new[name]))]
    if not refused:
        lines = ",\n".join(
            f"{json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in sorted(new.items())
        )
        path.write_text(f"{{\n{lines}\n}}\n")
    return refused


if __name__ == "__main__":
    sys.exit("\n".join(write(FILE, entries())) or 0)
