"""The command `robobench`: what it is called with, and how it ends."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from robobench.cli import adversarial as adversarial_command
from robobench.cli import boards, look, run, zoo
from robobench.cli import compare as compare_command
from robobench.cli import diff as diff_command
from robobench.cli import doctor as doctor_command
from robobench.cli import families as families_command
from robobench.cli import gate as gate_command
from robobench.cli import preview as preview_command
from robobench.cli import rerun as rerun_command
from robobench.cli import submit as submit_command
from robobench.cli import verify as verify_command
from robobench.errors import ExitCode, RobobenchError, nearest

EPILOG = (
    "Start with `robobench run quickstart`. Then your own model and data: "
    "`robobench run occlusion --model my_model.py:build --data folder:/data/imagenet/val`. "
    "Exit codes: 0 fine, 1 a bug in robobench, 2 something to mend, 3 a check did not hold, "
    "4 some cells failed, 130 interrupted."
)

app = typer.Typer(
    name="robobench",
    help="How much a vision model loses when its input is occluded, shuffled, shifted, corrupted or "
    "attacked: with intervals, and with ties where the data cannot tell models apart.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("run")(run.run)
app.command("plan")(run.plan)
app.command("check")(look.check)
app.command("list")(look.list_)
app.command("show")(look.show)
app.command("preview")(preview_command.preview)
app.command("leaderboard")(boards.leaderboard)
app.command("compare")(compare_command.compare)
app.command("baseline")(gate_command.baseline)
app.command("gate")(gate_command.gate)
app.command("verify")(verify_command.verify)
app.command("families")(families_command.families)
app.command("query")(boards.query)
app.command("submit")(submit_command.submit)
app.command("rerun")(rerun_command.rerun)
app.command("diff")(diff_command.diff)
app.command("doctor")(doctor_command.doctor)
app.command("adversarial")(adversarial_command.adversarial)
app.add_typer(zoo.app, name="zoo")


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"robobench {installed('robobench')}")
        raise typer.Exit


_INTERRUPTED = "interrupted: run the same command again to finish"

# click's own class or that of typer's copy of it, whichever this typer raises
_Mistake: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def main() -> None:
    """Run the command line and leave with its exit code. A user's mistake shows no traceback."""
    # torch's threads wait for each other by spinning; on a busy machine a pass then takes 20 times as long
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    try:
        code = int(app(args=arguments, prog_name="robobench", standalone_mode=False) or ExitCode.OK)
        if code == ExitCode.INTERRUPTED:  # which is also what typer makes of Ctrl-C
            _say(_INTERRUPTED)
        return code
    except RobobenchError as error:
        _say(str(error))
        return int(error.exit_code)
    except typer.Exit as leave:
        return int(leave.exit_code)
    except _Mistake as error:
        message = _mistake(error)
        if message:  # empty when the help was shown, for want of a command
            _say(message)
        return int(ExitCode.USER)
    except (KeyboardInterrupt, typer.Abort):
        _say(_INTERRUPTED)
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe has gone, as in `robobench list | head`
        sys.stderr.close()
        return int(ExitCode.OK)


def _mistake(error: Any) -> str:
    """What was typed wrong, the nearest right thing, and where the right things are listed."""
    message: str = error.format_message()
    if not message:
        return ""
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    if option and context is not None:
        known = [name for parameter in context.command.params for name in parameter.opts if name[:2] == "--"]
        message = f"no such option {option!r}; {nearest(option, known)}"
    command = context.command_path if context is not None else "robobench"
    return f"{message}\nSee `{command} --help`."


def _say(message: str) -> None:
    """A message on standard error, without what could steer the terminal."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in message)
    typer.secho(f"robobench: {shown}", fg="red", err=True)
