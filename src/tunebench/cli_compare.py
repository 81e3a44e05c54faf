"""Commands over many runs, or many trainings of one recipe."""

from __future__ import annotations

from pathlib import Path

import click

from tunebench.errors import TunebenchError
from tunebench.options import BACKENDS, JSON, RUNS, SET, show


@click.command(short_help="Train recipes under several seeds, and compare them honestly.")
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("comparison"),
    show_default=True,
    help="Folder for report.html, report.pdf, comparison.csv and comparison.json.",
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Train every recipe under so many seeds.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Trainings at once, as far as memory allows.")
@click.option("--bench/--no-bench", default=True, show_default=True, help="Time the runs that are not timed yet.")
@click.option("--min-accuracy", type=click.FloatRange(0, 1), help="Least accuracy of the run to take, such as 0.9.")
@click.option("--max-latency", type=click.FloatRange(0, min_open=True), metavar="MS", help="Most p50 of one text, in ms.")
@click.option("--max-memory", metavar="SIZE", help="Most memory of the form to take, such as 500MB.")
@click.option("--no-gpu", is_flag=True, help="What is taken has to run without a GPU.")
@RUNS
@JSON
def compare(
    sources: tuple[str, ...],
    output: Path,
    seeds: int,
    jobs: int,
    bench: bool,
    min_accuracy: float | None,
    max_latency: float | None,
    max_memory: str | None,
    no_gpu: bool,
    runs: Path,
    as_json: bool,
) -> None:
    """Train SOURCES that are not trained yet, and compare all of them: one table, paired tests, one report.

    A source is a recipe, a preset, a file that spans a matrix of bases and methods, or a finished run.
    """
    from tunebench import jobs as verbs
    from tunebench.cells_text import CellLines
    from tunebench.compare.choice import Limits
    from tunebench.compare_text import comparison_text
    from tunebench.comparing.telling import LOGS, PAGES
    from tunebench.planning.needs import parse_size

    limits = Limits(min_accuracy, max_latency, None if max_memory is None else parse_size(max_memory), no_gpu=no_gpu)
    found = verbs.compare(sources, runs, output, CellLines(), seeds=seeds, at_once=jobs, timed=bench, limits=limits)
    show(found, as_json, comparison_text)
    if not as_json:
        click.echo("\n".join(["", *(str(output / name) for name in PAGES)]))
    failed = [cell for row in found["rows"] for cell in row["cells"] if cell["error"]]
    if failed:
        raise TunebenchError(
            f"{len(failed)} of {sum(len(row['cells']) for row in found['rows'])} trainings failed "
            f"({', '.join(cell['run'] for cell in failed)}); what they said stands in {output / LOGS}, and the same command "
            "tries them again"
        )


@click.command(short_help="Time the forms of runs: rows per second, latency, memory.")
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option("--rows", type=int, help="How many rows are timed; 500, of a causal language model 100.")
@click.option("--batch-size", type=int, default=32, show_default=True, help="Most rows per batch.")
@click.option("--max-length", type=int, help="Tokens a text is cut to; each run's own by default.")
@click.option("--rounds", type=int, default=3, show_default=True, help="How often each form has its turn.")
@click.option(
    "--backend",
    "backends",
    type=click.Choice(BACKENDS),
    multiple=True,
    help="A form to time; by default all that there are, but torch-int8. May be repeated.",
)
@click.option("--data", type=click.Path(), help="A file with the texts; the run's validation rows by default.")
@RUNS
@JSON
def bench(
    names: tuple[str, ...],
    rows: int | None,
    batch_size: int,
    max_length: int | None,
    rounds: int,
    backends: tuple[str, ...],
    data: str | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Time every form of each RUN, each in a process of its own, in turns: saved, merged, exported; 8 bits in torch if asked.

    The figures are kept in each run's bench.json. Test rows are not touched.
    """
    from tunebench import jobs
    from tunebench.measured_text import bench_text

    found = jobs.bench(
        names,
        runs,
        lambda line: click.echo(line, err=True),
        rows=rows,
        batch_size=batch_size,
        max_length=max_length,
        rounds=rounds,
        backends=backends,
        data=data,
    )
    show(found, as_json, bench_text)
    if found["failed"]:
        failed = [f"{run['run']} {name}" for run in found["runs"] for name, form in run["forms"].items() if "error" in form]
        raise TunebenchError(f"{', '.join(failed)} could not be timed")


@click.command(short_help="Look for better settings of a recipe by trials on its validation rows.")
@click.argument("recipe")
@SET
@RUNS
@click.option("--force", is_flag=True, help="Search anew, in place of a search of this name with another space or other data.")
@JSON
def search(recipe: str, overrides: tuple[str, ...], runs: Path, force: bool, as_json: bool) -> None:
    """Try settings out of the space in RECIPE's section `search`, one training after the other, hopeless ones stopped early.

    The best settings become a recipe. The test split is not scored; the same command goes on with a search that was stopped.
    """
    from tunebench import jobs
    from tunebench.search_text import search_text, told_text

    found = jobs.search(recipe, overrides, runs, lambda told: click.echo(told_text(told), err=True), force=force)
    show(found, as_json, search_text)


@click.command(short_help="Write the report of one run: a page and a PDF.")
@click.argument("run")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for both files; RUN's own report/ by default.")
@RUNS
@JSON
def report(run: str, output: Path | None, runs: Path, as_json: bool) -> None:
    """Write the report of RUN: scores, curves, parameters, confusions, calibration, mistakes, provenance.

    It shows test rows, and is counted as a look at them.
    """
    from tunebench import jobs

    show(jobs.report(run, runs, output), as_json, lambda found: "\n".join([*found["files"], *found["remarks"]]))
