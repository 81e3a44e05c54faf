"""Commands over many runs, or many trainings of one recipe."""

from __future__ import annotations

from pathlib import Path

import click

from tunebench.options import JSON, RUNS, show


@click.command(short_help="Train several recipes and print one table.")
@click.argument("recipes", nargs=-1, required=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("comparison"), show_default=True, help="Folder for comparison.csv."
)
@RUNS
@JSON
def compare(recipes: tuple[str, ...], output: Path, runs: Path, as_json: bool) -> None:
    """Train RECIPES that are not trained yet, and print one table of all of them."""
    from tunebench import jobs
    from tunebench.compare.table import as_text

    rows = jobs.compare(recipes, runs, output, lambda line: click.echo(line, err=True))
    show(rows, as_json, as_text)
    if not as_json:
        click.echo(f"\n{output / 'comparison.csv'}\nruns: " + " ".join(row["path"] for row in rows))
