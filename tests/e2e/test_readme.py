"""The README: its commands exist, its examples are read, its links lead somewhere."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer.main

import robobench
from robobench.cli.main import app
from robobench.suite.load import find_suite, parse_suite

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
SHELL = ("sh", "bash", "shell", "console")


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks of these languages."""
    return [
        b for language, b in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S) if language in languages
    ]


def command_lines(text: str) -> list[list[str]]:
    """The commands of shell blocks, as words; comments, prompts and settings of variables left out."""
    found = []
    for block in blocks(text, *SHELL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                found.append(words)
    return found


def parse(arguments: list[str]) -> tuple[str, dict[str, object]]:
    """A robobench command line read as far as its options, without running it."""
    command = typer.main.get_command(app)
    context = command.make_context("robobench", list(arguments))
    rest = [*getattr(context, "_protected_args", ()), *context.args]
    name = rest.pop(0)
    sub = command.get_command(context, name)
    assert sub is not None, f"there is no command {name!r}"
    if hasattr(sub, "get_command"):
        return name, {}
    return name, sub.make_context(name, rest, parent=context).params


def robobench_lines(text: str) -> list[list[str]]:
    return [w[1:] for w in command_lines(text) if w[0].endswith("robobench") and w[1:]]


TEXT = README.read_text()


@pytest.mark.parametrize("arguments", robobench_lines(TEXT), ids=" ".join)
def test_its_commands_are_understood(arguments):
    name, params = parse(arguments)
    if name in ("run", "plan"):
        assert find_suite(str(params["suite"])).is_file()


@pytest.mark.parametrize("words", [w for w in command_lines(TEXT) if w[0] == "make"], ids=" ".join)
def test_its_make_targets_exist(words):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {w for w in words[1:] if "=" not in w} <= targets


@pytest.mark.parametrize("text", blocks(TEXT, "yaml"))
def test_its_suites_are_read(text):
    if re.search(r"^schema:", text, re.M):
        parse_suite(text, "README.md")


def api_calls(code: str) -> list[ast.Call]:
    """Calls of the form robobench.NAME(...)."""
    return [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "robobench"
    ]


@pytest.mark.parametrize("code", blocks(TEXT, "python"))
def test_its_calls_fit_the_api(code):
    for call in api_calls(code):
        signature = inspect.signature(getattr(robobench, call.func.attr))
        signature.bind(*call.args, **{k.arg: k.value for k in call.keywords})


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", TEXT))))
def test_its_links_lead_somewhere(target):
    link = "".join(target)
    if not re.match(r"[a-z]+:|#", link):
        assert (ROOT / link.partition("#")[0]).exists(), link


def test_it_names_the_first_commands():
    lines = [" ".join(w) for w in command_lines(TEXT)]
    assert "make run" in lines
    assert "make test" in lines
    assert any(line.startswith("robobench run ") for line in lines)


@pytest.mark.parametrize(
    "line", ["robobench rum quickstart", "robobench run quickstart --limt 3", "robobench run"]
)
def test_a_command_that_does_not_exist_is_found(line):
    (arguments,) = robobench_lines(f"```sh\n{line}\n```")
    with pytest.raises(Exception, match=r"rum|limt|Missing"):
        parse(arguments)


def test_a_call_that_does_not_fit_is_found():
    (call,) = api_calls("import robobench\nrobobench.run('quickstart', modles={})")
    with pytest.raises(TypeError, match="modles"):
        inspect.signature(robobench.run).bind(*call.args, **{k.arg: k.value for k in call.keywords})
