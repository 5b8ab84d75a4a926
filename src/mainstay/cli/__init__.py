"""The command line: one small file for each command, no logic."""

from __future__ import annotations

import sys

import typer

from mainstay import __version__
from mainstay.cli.consumer import consumer
from mainstay.cli.doctor import doctor
from mainstay.cli.run import CONTEXT_SETTINGS, run
from mainstay.cli.serve import serve
from mainstay.cli.setup import setup
from mainstay.cli.unblock import unblock
from mainstay.cli.usage import usage
from mainstay.errors import MainstayError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="One gateway for every package manager: cached, verified, polite to the registries.",
)
app.command()(doctor)
app.command(context_settings=CONTEXT_SETTINGS)(run)
app.command()(serve)
app.command()(setup)
app.command()(unblock)
app.add_typer(consumer, name="consumer")
app.add_typer(usage, name="usage")


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(f"mainstay {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the program. Our own errors are two lines on standard error and an exit code, never a traceback."""
    try:
        app()
    except MainstayError as error:
        sys.stderr.write(f"mainstay: {error.diagnostics()}\n")
        sys.exit(error.exit_code)
