"""Write docs/plugins.md and the JSON schemas from the code; --check only says what is stale."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from robobench.leaderboard.gate_json import gate_schema
from robobench.leaderboard.render_json import json_schema
from robobench.registry import REGISTRIES, Plugin, schema

PAGE = Path(__file__).parent / "plugins.md"
SCHEMA = PAGE.with_name("leaderboard.schema.json")
GATE = PAGE.with_name("gate.schema.json")
HEAD = """\
# Plug-ins

<!-- Written by `make docs` from the plug-ins' own docstrings and fields. Do not edit. -->

Everything a suite can name. `robobench list` and `robobench show NAME` say the same in a terminal; how to
add one: [add-a-plugin.md](add-a-plugin.md). A plug-in's version goes up when its numbers change, and old
results are then never mixed with new ones.
"""
KINDS: Mapping[str, str] = {
    "perturbations": "Functions of pixels, in `use:` of a condition.",
    "interventions": "Changes to the model's own computation, in `use:` of a condition.",
    "attacks": "Searches inside a budget that may query the model: the last step of a condition, in `use:`.",
    "preparations": "Made once by a model and given to conditions by name, in `preparations:`.",
    "metrics": "Functions of the rows, in `metrics:`.",
    "formulas": "Composites that rank models, in `score:`.",
    "models": "Where models come from: `--model source:path`.",
    "data": "Where images come from: `source:` of `data:` and `shift:`, or `--data source:path`.",
}  # fmt: skip


def page() -> str:
    """The whole page. Plug-ins of other packages are left out: they are not part of robobench."""
    parts = [HEAD, _contents()]
    for kind, what in KINDS.items():
        parts.append(f"## {kind.capitalize()}\n\n{what}\n")
        registry = REGISTRIES[kind]
        parts.extend(_plugin(registry.get(name)) for name in registry.names() if "/" not in name)
    return "\n".join(parts)


def _contents() -> str:
    lines = []
    for kind in KINDS:
        names = [n for n in REGISTRIES[kind].names() if "/" not in n]
        lines.append(
            f"- [{kind.capitalize()}](#{kind}): " + ", ".join(f"[{n}](#{_anchor(n)})" for n in names)
        )
    return "\n".join(lines) + "\n"


def _anchor(name: str) -> str:
    return name.lower().replace(".", "").replace(" ", "-")


def _plugin(plugin: Plugin) -> str:
    doc = inspect.getdoc(plugin.cls) or ""
    lines = [f"### {plugin.name}", "", f"Version {plugin.version}.", "", "```text", doc, "```", ""]
    rows = list(_rows(plugin))
    if rows:
        lines += ["| parameter | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _rows(plugin: Plugin) -> Iterator[str]:
    shapes = schema(plugin.cls).model_json_schema().get("properties", {})  # type: ignore[arg-type]
    meanings = field_comments(plugin.cls)
    for item in fields(plugin.cls):
        if item.init:
            kind = shape_words(shapes.get(item.name, {}))
            cells = [f"`{item.name}`", kind, _default(item), meanings.get(item.name, "")]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(item: Field[Any]) -> str:
    if item.default is not MISSING:
        return "none" if item.default is None else f"`{item.default}`"
    return "required" if item.default_factory is MISSING else f"`{item.default_factory()}`"


def shape_words(shape: Mapping[str, Any]) -> str:
    """A JSON schema in a few words: type, choices and limits."""
    if "anyOf" in shape:
        return " or ".join(dict.fromkeys(shape_words(s) for s in shape["anyOf"]))
    if "enum" in shape:
        return ", ".join(f"`{v}`" for v in shape["enum"])
    if "const" in shape:
        return f"`{shape['const']}`"
    words = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    limits = ", ".join(f"{sign} {shape[key]}" for key, sign in words.items() if key in shape)
    return " ".join(part for part in (str(shape.get("type", "any")), limits) if part)


def field_comments(cls: type[Any]) -> dict[str, str]:
    """What the comment at the end of each field's line says, in a class and those it inherits from."""
    found: dict[str, str] = {}
    for part in reversed(cls.__mro__):
        if part is object or part.__module__ == "typing":
            continue
        try:
            source = textwrap.dedent(inspect.getsource(part))
        except (OSError, TypeError):
            continue
        lines = source.splitlines()
        body = next(n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef)).body
        for node in body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                rest = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset or 0 :].strip()
                if rest.startswith("#"):
                    found[node.target.id] = rest.lstrip("# ").strip()
    return found


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them."""
    pages = {PAGE: page(), SCHEMA: json.dumps(json_schema(), indent=1) + "\n"}
    pages[GATE] = json.dumps(gate_schema(), indent=1) + "\n"
    if "--check" not in arguments:
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{path.name}")
        return 0
    old = [p for p, text in pages.items() if not (p.is_file() and p.read_text(encoding="utf-8") == text)]
    for path in old:
        print(f"docs/{path.name} is not what the code says: run `make docs`", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
