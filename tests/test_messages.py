"""What a user's mistake is answered with: where, what was expected, what came, what to do; exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from robobench.cli.main import _run
from robobench.errors import ExitCode
from robobench.suite.yaml_lines import MAX_BYTES
from tests.results import make_results

HEAD = "schema: 1\nname: t\ntitle: T\ndata: {source: digits, path: mnist}\n"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def said(capsys):
    """Run a command line that is expected to fail; what it wrote to standard error."""

    def run(*arguments: str, code: int = 2) -> str:
        found = _run(list(arguments))
        printed = capsys.readouterr()
        assert found == code, printed.out + printed.err
        assert "Traceback" not in printed.err
        return printed.err

    return run


# a suite's text, and the whole message after `robobench: s.yaml:`
SUITES = {
    "unknown perturbation": (
        HEAD + "conditions:\n  - {use: occlusion.randon, with: {fraction: 0.5}}\n",
        "6: unknown perturbation, intervention or attack 'occlusion.randon'; did you mean 'occlusion.random'",
    ),
    "unknown file of perturbations": (
        HEAD + "conditions:\n  - use: oclusion.random\n",
        "6: unknown perturbation, intervention or attack 'oclusion.random'; did you mean 'occlusion.random'",
    ),
    "unknown parameter": (
        HEAD + "conditions:\n  - use: occlusion.random\n    with:\n      fractoin: 0.5\n",
        "8: occlusion.random: unknown parameter 'fractoin'; did you mean 'fraction'?",
    ),
    "parameter out of range": (
        HEAD + "conditions:\n  - use: occlusion.random\n    with:\n      grid: 7\n      fraction: 1.5\n",
        "9: occlusion.random: fraction: expected less than or equal to 1, got 1.5",
    ),
    "level out of range": (
        HEAD + "conditions:\n  - use: occlusion.random\n    ladder:\n      fraction:\n        - 0.5\n        - 1.5\n",
        "10: occlusion.random: fraction: expected less than or equal to 1, got 1.5",
    ),
    "missing parameter": (
        HEAD + "conditions:\n  - use: occlusion.random\n",
        "6: occlusion.random: the parameter 'fraction' is missing",
    ),
    "radius in 8-bit steps": (
        HEAD + "conditions:\n  - {use: gradient.pgd, ladder: {eps: [8]}}\n",
        "6: gradient.pgd: eps: expected a radius in [0, 1] pixel units, such as 8/255 or 0.03 (did you mean 8/255?)",
    ),
    "key twice": (
        HEAD + "seed: 1\nmetrics: [accuracy.top1]\nseed: 2\n",
        "7: the key 'seed' is already there, on line 5",
    ),
    "unknown schema": (
        "schema: 2\nname: t\n",
        "1: schema 2 is not known: this robobench reads schema 1; upgrade it (`pip install -U robobench`)",
    ),
    "no schema": ("name: t\n", "1: `schema: 1` is missing"),
    "unknown key": (HEAD + "condition: []\n", "5: unknown key 'condition'; did you mean 'conditions'"),
    "unknown key inside": (
        HEAD + "conditions:\n  - {use: shuffle.grid, wiht: {grid: 2x2}}\n",
        "6: unknown key 'wiht'; did you mean 'with'?",
    ),
    "merge key": (HEAD + "<<: {seed: 1}\n", "5: unknown key '<<'"),
    "limit of nothing": (
        HEAD.replace("mnist}", "mnist, limit: 0}"),
        "4: data.limit: expected greater than 0, got 0",
    ),
    "unknown data source": (
        HEAD.replace("digits", "foldr"),
        "4: unknown data source 'foldr'; did you mean 'folder'?",
    ),
    "unknown data parameter": (
        HEAD.replace("path", "pth"),
        "4: data source 'digits' has no parameter 'pth'; it has path, split",
    ),
    "bad data parameter": (
        HEAD.replace("mnist", "mnistt"),
        "4: digits: path: expected 'mnist' or 'uci', got 'mnistt'",
    ),
    "unknown metric": (HEAD + "metrics: [accuracy.top2]\n", "5: unknown metric 'accuracy.top2'; did you mean"),
    "score of a metric that is not there": (
        HEAD + "score: {name: x, of: accuracy.top5}\n",
        "5: score.of: 'accuracy.top5' is not among the suite's metrics",
    ),
    "condition of no kind": (
        HEAD + "conditions:\n  - {limit: 3}\n",
        "6: conditions.0: a condition needs one of `use`, `compose`, `shift` and `view`",
    ),
    "two conditions of one name": (
        HEAD + "conditions:\n  - {use: shuffle.grid, with: {grid: 2}}\n  - {use: shuffle.grid, with: {grid: 4}}\n",
        "7: two conditions are called 'shuffle.grid': give one of them a `name:`",
    ),
    "attack before a perturbation": (
        HEAD + "conditions:\n  - name: x\n    compose:\n      - {use: gradient.fgsm, with: {eps: 1/255}}\n"
        "      - {use: shuffle.grid, with: {grid: 2}}\n",
        "6: the order is perturbations, interventions, then the attack; got attack, perturbation",
    ),
    "missing input": (
        HEAD + "conditions:\n  - {use: occlusion.salient, with: {fraction: 0.5}}\n",
        "6: occlusion.salient needs the input 'saliency': add `inputs: {saliency: NAME}`",
    ),
    "not a mapping": ("- 1\n", "1: a suite is a mapping, with `schema: 1` first"),
    "broken YAML": ("schema: 1\nname: [a\ntitle: b\n", "3: not readable as YAML: expected ',' or ']', but got ':'"),
    "a tab": ("schema: 1\n\tname: t\n", "2: not readable as YAML: found character '\\t'"),
    "two documents": ("schema: 1\n---\nschema: 1\n", "2: not readable as YAML: but found another document"),
    "an unknown tag": (HEAD + "description: !secret x\n", "5: the tag '!secret' is not allowed"),
    "an unknown tag on a list": (HEAD + "metrics: !secret [accuracy.top1]\n", "5: the tag '!secret' is not allowed"),
    "an alias to itself": ("a: &a [*a]\n", "1: too many parts (an alias that multiplies or loops?)"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), SUITES.values(), ids=SUITES)
def test_a_mistake_in_a_suite_is_named_with_its_line(text, message, said):
    Path("s.yaml").write_text(text)
    assert said("check", "s.yaml").startswith(f"robobench: s.yaml:{message}")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_suite(text, said):
    Path("s.yaml").write_text(text)
    assert said("check", "s.yaml") == "robobench: s.yaml: the file is empty\n"


@pytest.mark.parametrize(
    "call", ["!!python/object/apply:os.system ['touch pwned']", "!!python/object/apply:os.mkdir [pwned]"]
)
@pytest.mark.parametrize(
    "place", ["description: {}", "preparations: {}", "conditions: [{{use: x, with: {}}}]", "{}: 1"]
)
def test_a_python_tag_is_refused_and_not_executed(call, place, said):
    Path("s.yaml").write_text(HEAD + place.format(call))
    error = said("check", "s.yaml")
    assert error.startswith("robobench: s.yaml:5: ")
    assert "python/object/apply:os." in error or place.startswith("{}")
    assert "not allowed" in error or place.startswith("{}")
    assert not Path("pwned").exists()


def test_aliases_that_multiply_are_stopped(said):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    Path("s.yaml").write_text("\n".join(lines))
    assert "s.yaml:1: too many parts (an alias that multiplies or loops?)" in said("check", "s.yaml")


def test_a_huge_file_is_not_read(said):
    Path("s.yaml").write_text("#" * (MAX_BYTES + 1))
    assert said("check", "s.yaml") == (
        f"robobench: s.yaml: a suite file has at most {MAX_BYTES} bytes, got {MAX_BYTES + 1}\n"
    )


def test_a_file_that_is_not_text(said):
    Path("s.yaml").write_bytes(b"schema: 1\ntitle: \xe9\n")
    assert "s.yaml: cannot be read: 'utf-8' codec can't decode byte 0xe9" in said("check", "s.yaml")


def test_check_goes_on_after_a_bad_file(said, capsys):
    Path("bad.yaml").write_text("")
    Path("good.yaml").write_text(HEAD)
    assert _run(["check", "bad.yaml", "good.yaml"]) == 2
    printed = capsys.readouterr()
    assert "good.yaml: fine" in printed.out
    assert printed.err == "robobench: bad.yaml: the file is empty\n"


NAMES = {
    "unknown suite": (["run", "quikstart"], "unknown suite 'quikstart'; did you mean 'quickstart'?"),
    "suite file that is not there": (["check", "no.yaml"], "no.yaml: there is no such suite file"),
    "unknown kind": (["list", "attaks"], "unknown kind 'attaks'; did you mean 'attacks'"),
    "unknown name": (["show", "occlusion.randon"], "nothing is called 'occlusion.randon'; did you mean 'occlusion.random'"),
    "pattern of something else": (
        ["list", "attacks", "timm:vit"], "attacks timm:vit: expected `list models timm:PATTERN`"),
    "model without a source": (
        ["plan", "quickstart", "--model", "resnet18"],
        "'resnet18': expected source:path?key=value&..., such as timm:resnet50.a1_in1k"),
    "unknown model source": (
        ["plan", "quickstart", "--model", "tim:resnet18"], "unknown model source 'tim'; did you mean 'timm'?"),
    "unknown zoo model": (
        ["plan", "quickstart", "--model", "zoo:resnt"], "did you mean 'resnet'?"),
    "a model factory that is not there": (
        ["plan", "quickstart", "--model", "no_file.py:build"], "no_file.py"),
    "the same parameter twice": (
        ["plan", "quickstart", "--model", "timm:resnet18?pretrained=false&pretrained=true"],
        "the parameter 'pretrained' is given twice"),
    "unknown data source": (
        ["plan", "quickstart", "--data", "foldr:x"], "unknown data source 'foldr'; did you mean 'folder'?"),
    "unknown data parameter": (
        ["plan", "quickstart", "--data", "folder:x?labelspace=own"],
        "folder: unknown parameter 'labelspace'; did you mean 'label_space'?"),
    "data folder that is not there": (["plan", "quickstart", "--data", "folder:nowhere"], "nowhere"),
    "setting without a value": (["check", "quickstart", "--set", "seed"], "--set seed: expected KEY=VALUE, as in seed=1"),
    "setting without a key": (["plan", "quickstart", "--set", "=1"], "--set =1: expected KEY=VALUE, as in seed=1"),
    "setting of an unknown key": (
        ["check", "quickstart", "--set", "seeed=1"], "unknown key 'seeed'; did you mean 'seed'?"),
    "setting of a wrong type": (
        ["check", "quickstart", "--set", "seed=abc"], "seed: expected a valid integer, got 'abc'"),
    "setting inside nothing": (
        ["check", "quickstart", "--set", "data.x.y=1"], "--set data.x.y: no 'x' there; known: path, source, split"),
    "setting of a condition that is not there": (
        ["check", "quickstart", "--set", "conditions.9.name=x"], "--set conditions.9.name: no '9' there; known: 0, 1"),
    "setting inside a text": (
        ["check", "quickstart", "--set", "title.x=1"], "--set title.x: there is nothing to set inside"),
    "unreadable setting": (
        ["check", "quickstart", "--set", "seed=[1"], "--set seed:1: not readable as YAML"),
    "no results": (["leaderboard", "--out", "no"], "no: no results there; `robobench run SUITE --out no` makes some"),
    "nothing to query": (["query", "select 1", "--out", "no"], "no: no results there"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), NAMES.values(), ids=NAMES)
def test_a_name_or_value_on_the_command_line(arguments, message, said):
    error = said(*arguments)
    assert error.startswith("robobench: ")
    assert message in error


COMMANDS = {
    "command": (["rum", "quickstart"], "No such command 'rum'. Did you mean 'run'?\nSee `robobench --help`."),
    "option": (
        ["run", "quickstart", "--limt", "3"],
        "no such option '--limt'; did you mean '--limit'?\nSee `robobench run --help`.",
    ),
    "no suite": (["run"], "Missing argument 'SUITE'.\nSee `robobench run --help`."),
    "limit of nothing": (["run", "quickstart", "--limit", "0"], "Invalid value for '--limit' / '-n': "),
    "limit that is no number": (
        ["run", "quickstart", "--limit", "x"],
        "Invalid value for '--limit' / '-n': ",
    ),
    "option without a value": (["run", "quickstart", "--data"], "Option '--data' requires an argument."),
    "command of zoo": (["zoo", "nope"], "No such command 'nope'.\nSee `robobench zoo --help`."),
}


@pytest.mark.parametrize(("arguments", "message"), COMMANDS.values(), ids=COMMANDS)
def test_a_mistyped_command_line(arguments, message, said):
    assert said(*arguments).startswith(f"robobench: {message}")


FOLDER_SUITE = HEAD.replace("{source: digits, path: mnist}", "{source: folder, path: '${IMAGENET_VAL}'}")


def test_a_missing_environment_variable(said, monkeypatch):
    monkeypatch.delenv("IMAGENET_VAL", raising=False)
    Path("s.yaml").write_text(FOLDER_SUITE)
    assert _run(["check", "s.yaml"]) == 0  # a check needs no data
    assert (
        "the suite needs the environment variable IMAGENET_VAL, which is not set: "
        "`export IMAGENET_VAL=/path/to/the/data`, or give --data source:path"
    ) in said("plan", "s.yaml", "--model", "timm:resnet18?pretrained=false")


def test_a_suite_without_models(said):
    Path("s.yaml").write_text(HEAD)
    assert "suite 't' names no models: give some with --model SPEC" in said("plan", "s.yaml")


def test_one_name_for_two_models(said):
    error = said("plan", "quickstart", "--model", "a=zoo:vit", "--model", "a=zoo:resnet")
    assert "the name 'a' is given for two models: name them apart, or leave one out" in error


@pytest.mark.parametrize("command", [["leaderboard"], ["run", "quickstart"], ["query", "select 1"]])
def test_results_of_a_newer_format(command, said):
    Path("newer").mkdir()
    Path("newer/robobench.json").write_text('{"format": 2}')
    assert said(*command, "--out", "newer") == (
        "robobench: newer: written in results format 2; this robobench reads 1. Upgrade it "
        "(`pip install -U robobench`) or choose another folder with --out\n"
    )


def test_a_results_folder_with_other_files(said):
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    assert said("run", "quickstart", "--out", "mine") == (
        "robobench: mine: the folder holds other files and no robobench.json: choose an empty or new one\n"
    )
    assert sorted(p.name for p in Path("mine").iterdir()) == ["notes.txt"]


def test_a_manifest_that_is_not_one(said):
    Path("odd").mkdir()
    Path("odd/robobench.json").write_text("{")
    error = said("leaderboard", "--out", "odd")
    assert error.startswith("robobench: odd/robobench.json: cannot be read (")
    assert error.endswith("): is this a results folder?\n")


def test_a_suite_that_has_not_been_run(said):
    make_results(Path("results"))
    assert "results: no run of suite 'handmad'; did you mean 'handmade'?" in said("leaderboard", "handmad")


def test_an_unknown_board_format(said):
    make_results(Path("results"))
    error = said("leaderboard", "--format", "pdf")
    assert "pdf" in error
    assert all(known in error for known in ("markdown", "csv", "json", "html"))


def test_sql_that_cannot_be_read(said):
    make_results(Path("results"))
    assert "Did you mean \"rows\"?" in said("query", "select * from rws")  # fmt: skip


def test_an_interruption_is_said(monkeypatch, capsys):
    monkeypatch.setattr(
        "robobench.cli.main.app", lambda **_: ExitCode.INTERRUPTED
    )  # typer's answer to Ctrl-C
    assert _run(["run", "quickstart"]) == ExitCode.INTERRUPTED
    assert "interrupted: run the same command again" in capsys.readouterr().err
