"""What a gate says, for people, for a CI's test view, and for GitHub."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from robobench.leaderboard.gate import FAIL, FLOOR, INCONCLUSIVE, Check, Report
from robobench.leaderboard.render_markdown import escaped
from robobench.leaderboard.text import DASH, number, shown, unit_sign


def sentence(report: Report) -> str:
    """The verdict in one sentence."""
    who = f"{shown(report.candidate)} against {shown(report.baseline)}"
    bad = [c for c in report.checks if c.verdict == FAIL]
    open_ = [c for c in report.checks if c.verdict == INCONCLUSIVE]
    if bad:
        return f"fail: {who}: {_listed(bad)}"
    if open_:
        return (
            f"inconclusive: {who}: these images cannot exclude a drop of the margin in {_listed(open_)}; "
            f"the policy lets that {'through' if report.inconclusive == 'pass' else 'not through'}"
        )
    return f"pass: {who}: no line drops by its margin or more"


def said(check: Check) -> str:
    """A line in words."""
    sign = unit_sign(check.unit)
    after = f"{number(check.candidate, check.unit)} {sign}"
    if check.kind == FLOOR:
        return f"{after}, the floor is {number(check.baseline, check.unit)} {sign}"
    ends = f"[{points(check.low, check.unit)}, {points(check.high, check.unit)}]"
    before, drop = number(check.baseline, check.unit), points(check.drop, check.unit)
    when = "" if check.settled is None else f"; settled after {check.settled:,} images"
    return f"{before} to {after}, a drop of {drop} {ends}; margin {number(check.margin, check.unit)}{when}"


def images_of(check: Check) -> str:
    """How many images a line goes by; marked where a look settled it."""
    return f"{check.n:,}" + ("" if check.settled is None else ", settled")


HEADS = ("", "images", "baseline", "candidate", "drop", "95 % interval", "margin", "power", "verdict")


def row(check: Check) -> tuple[str, ...]:
    """A line of the table below `HEADS`."""
    name = check.name if check.kind == "condition" else f"{check.kind}: {check.name}"
    ends = f"[{points(check.low, check.unit)}, {points(check.high, check.unit)}]"
    return (
        name, images_of(check), number(check.baseline, check.unit), number(check.candidate, check.unit),
        points(check.drop, check.unit), DASH if math.isnan(check.low) else ends,
        number(check.margin, check.unit), power_of(check), check.verdict,
    )  # fmt: skip


def to_text(report: Report) -> str:
    """The table and the sentence below it as plain text, for logs."""
    rows = [HEADS, *([shown(cell) for cell in row(c)] for c in report.checks)]
    widths = [max(len(r[i]) for r in rows) for i in range(len(HEADS))]
    last = len(HEADS) - 1
    lines = [
        "  ".join(r[i].rjust(w) if 0 < i < last else r[i].ljust(w) for i, w in enumerate(widths))
        for r in rows
    ]
    return "\n".join([*(line.rstrip() for line in lines), "", sentence(report)])


def to_outputs(report: Report) -> str:
    """A step's outputs, as lines of `GITHUB_OUTPUT`: the verdict, and the score where conditions have one."""
    scores = [c.candidate for c in report.checks if c.kind == "score"]
    return f"verdict={report.verdict}\n" + "".join(f"score={value:.6g}\n" for value in scores)


def power_of(check: Check) -> str:
    """How often twice the margin would have failed, in %."""
    return DASH if math.isnan(check.power) else f"{check.power:.0%}"


def to_junit(report: Report) -> str:
    """JUnit XML: a test case for each line; what is inconclusive is skipped, unless the policy fails it."""
    fails = report.inconclusive == "fail"
    cases = report.checks
    bad = [c for c in cases if c.verdict == FAIL or (fails and c.verdict == INCONCLUSIVE)]
    skipped = [c for c in cases if c.verdict == INCONCLUSIVE and not fails]
    suite = ET.Element(
        "testsuite",
        name=_xml(f"robobench gate {report.suite}"),
        tests=str(len(cases)),
        failures=str(len(bad)),
        errors="0",
        skipped=str(len(skipped)),
    )
    for check in cases:
        case = ET.SubElement(
            suite, "testcase", classname=_xml(f"{report.suite}.{check.kind}"), name=_xml(check.name)
        )
        if check in bad:
            _outcome(case, "failure", check)
        elif check in skipped:
            _outcome(case, "skipped", check)
    whole = ET.Element(
        "testsuites", tests=suite.get("tests", "0"), failures=suite.get("failures", "0"), errors="0"
    )
    whole.append(suite)
    ET.indent(whole)
    return ET.tostring(whole, encoding="unicode", xml_declaration=True) + "\n"


def _outcome(case: ET.Element, kind: str, check: Check) -> None:
    """Some readers show the message, some the text."""
    found = ET.SubElement(case, kind, message=_xml(said(check)), type=check.verdict)
    found.text = _xml(said(check))


def to_summary(report: Report) -> str:
    """Markdown for a step summary or a comment."""
    heads = "| | n | baseline | candidate | drop | margin | would have seen twice the margin | verdict |"
    lines = [
        f"### robobench gate: {report.verdict}",
        "",
        escaped(sentence(report)),
        "",
        heads,
        "|:---|---:|---:|---:|---:|---:|---:|:---|",
    ]
    for c in report.checks:
        low, high = points(c.low, c.unit), points(c.high, c.unit)
        drop = points(c.drop, c.unit) + ("" if c.kind == FLOOR else f" \\[{low}, {high}\\]")
        cells = [
            escaped(f"{c.kind} {c.name}" if c.kind != "condition" else c.name), images_of(c),
            number(c.baseline, c.unit), number(c.candidate, c.unit), drop,
            number(c.margin, c.unit), power_of(c), c.verdict,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", escaped(f"Protocol {report.fingerprint}, metric {report.metric}."), ""])


def workflow_commands(report: Report) -> Iterator[str]:
    """GitHub workflow commands: an error for each line that fails, a warning for one that is open."""
    for check in report.checks:
        if check.verdict == FAIL:
            yield f"::error title={_title(check)}::{_command(said(check))}"
        elif check.verdict == INCONCLUSIVE:
            yield f"::warning title={_title(check)}::{_command(said(check))}"


def _listed(checks: list[Check]) -> str:
    shown_ = [f"{c.kind} {shown(c.name)} ({said(c)})" for c in checks[:3]]
    more = len(checks) - len(shown_)
    return "; ".join(shown_) + (f"; and {more} more" if more else "")


def points(value: float, unit: str) -> str:
    """A change with its sign; undefined is a dash."""
    if math.isnan(value):
        return DASH
    text = number(abs(value), unit)
    return text if float(text) == 0 else f"{'-' if value < 0 else '+'}{text}"


def _xml(text: str) -> str:
    """Text that XML can hold; the library escapes it."""
    return shown(text)


def _title(check: Check) -> str:
    return _command(f"robobench {check.name}").replace(":", "%3A").replace(",", "%2C")


def _command(text: str) -> str:
    """Text that ends no workflow command and begins none."""
    return shown(text).replace("%", "%25")
