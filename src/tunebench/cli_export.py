"""Commands that make something of a run that others can use: a merged model, an upload."""

from __future__ import annotations

from pathlib import Path

import click

from tunebench.options import JSON, RUNS, show


@click.command(short_help="Fold a run's adapter into its base, with proof.")
@click.argument("run")
@RUNS
@JSON
def merge(run: str, runs: Path, as_json: bool) -> None:
    """Fold RUN's adapter into its base: a plain transformers folder, proved to give the same logits."""
    from tunebench import jobs
    from tunebench.terminal import Progress

    show(jobs.merge(run, runs, Progress(1)), as_json, lambda found: f"{found['merged']} is ready")


@click.command(short_help="Upload a run's model to the model hub.")
@click.argument("run")
@click.argument("repository")
@click.option("--merged", is_flag=True, help="Push merged/, the whole model, instead of the adapter.")
@click.option("--private", is_flag=True, help="Make the repository a private one, where it is new.")
@click.option("--revision", help="Branch to push to; made where it is new.")
@RUNS
@JSON
def push(run: str, repository: str, merged: bool, private: bool, revision: str | None, runs: Path, as_json: bool) -> None:
    """Upload RUN's saved model with its card to REPOSITORY (such as my-name/my-model) on the hub of HF_ENDPOINT."""
    from tunebench import jobs

    done = jobs.push(run, runs, repository, merged=merged, private=private, revision=revision)
    for warning in done["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    show(done, as_json, lambda found: f"{found['url']} holds {', '.join(found['files'])} (commit {found['commit']})")
