"""The commands that open a page in the browser."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tunebench.options import RUNS

HOST = click.option("--host", default="localhost", show_default=True, help="Address to listen on; others can reach no localhost.")
NO_BROWSER = click.option("--no-browser", is_flag=True, help="Do not open the browser.")


@click.command(short_help="Open the studio in the browser.")
@RUNS
@HOST
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="Port to listen on.")
@NO_BROWSER
def app(runs: Path, host: str, port: int, no_browser: bool) -> None:
    """Open the studio: data, training, trying, comparing and keeping runs, without writing code.

    What it trains goes on when the browser or the studio is closed. It needs `tunebench[app]`.
    """
    from tunebench.app.server import serve

    sys.exit(serve(runs, host, port, click.echo, browser=not no_browser))


@click.command(short_help="Open a chat with runs in the browser.")
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@RUNS
@HOST
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port to listen on.")
@NO_BROWSER
def chat(names: tuple[str, ...], runs: Path, host: str, port: int, no_browser: bool) -> None:
    """Open a chat with one or several RUNs: paste a review, drop a table, ask a question with options.

    It needs `tunebench[chat]`.
    """
    from tunebench.chat.server import serve

    sys.exit(serve(names, runs, host, port, click.echo, browser=not no_browser))
