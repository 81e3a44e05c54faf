"""The memory that several recipes need, planned one after the other in a process of its own: whoever asks stays light.

Standard input is a JSON list of recipe files; one JSON line comes back for each, in their order: the most that is in use at
once per resource, in bytes, or the fault for which nothing is known.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunebench.errors import TunebenchError
from tunebench.fitting import need_train_extra, require_machine
from tunebench.planning.planner import plan
from tunebench.recipe.load import load_any
from tunebench.recipe.spec import Recipe


def announce(sources: Sequence[str], runs: Path) -> Iterator[dict[str, Any]]:
    """Per recipe ``{"ram": bytes, "gpu": bytes}``, as far as these are needed, or ``{"fault": words}``."""
    need_train_extra()
    for source in sources:
        try:
            recipe = load_any(source)
            require_machine(recipe if isinstance(recipe, Recipe) else recipe.recipes()[0])
            found = plan(recipe, {}, runs, timed=False, say=lambda line: None)
            yield {item.resource: item.needed for item in found.verdicts if item.resource != "disk"}
        except TunebenchError as error:
            yield {"fault": str(error)}


def main() -> None:
    """Answer what is asked on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print stays out of the answers
    for found in announce(json.load(sys.stdin), Path(sys.argv[1])):
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
