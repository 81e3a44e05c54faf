"""What a user can fix: every expected failure is one of these, with an exit code and no traceback.

TunebenchError   exit 1   something went wrong while working (a full disk, a lost file)
  InputError     exit 2   the recipe, the data or the command line needs a change
  GateFailed     exit 3   the work was done and did not pass (a proof, a check)
  Interrupted    exit 130 the user stopped it (Ctrl-C); it can be continued
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MOST_FAULTS, MOST_CHARACTERS = 100, 1000
"""A message tells no more faults, and no more characters of each."""


class TunebenchError(Exception):
    """A failure that is explained to the user in words; its message names what to do."""

    exit_code = 1


class InputError(TunebenchError):
    """Something the user wrote is at fault. Carries every fault found, not only the first.

    ``InputError("a.yaml", ["seed: expected a whole number, found 'x'"])`` prints one line per fault.
    """

    exit_code = 2

    def __init__(self, subject: str, faults: Sequence[str] | str) -> None:
        self.subject = subject
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__(self._message())

    def _message(self) -> str:
        subject, faults = clipped(self.subject), [clipped(fault) for fault in self.faults[:MOST_FAULTS]]
        if len(self.faults) == 1:
            return f"{subject}: {faults[0]}"
        more = [f"… and {len(self.faults) - MOST_FAULTS:,} more"] if len(self.faults) > MOST_FAULTS else []
        lines = "".join(f"\n  - {fault}" for fault in faults + more)
        return f"{subject}: {len(self.faults):,} faults{lines}"


class GateFailed(TunebenchError):
    """The work is done, and its result did not pass a gate such as the round-trip proof."""

    exit_code = 3


class Interrupted(TunebenchError):
    """The user stopped the work; nothing is lost, and the message names the command that goes on."""

    exit_code = 130


class MissingExtra(TunebenchError):
    """A package is needed that the present installation does not hold; names the extra that has it."""

    exit_code = 2

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install the extra that holds it: pip install 'tunebench[{extra}]'"
        )


def clipped(text: str) -> str:
    """The text of a message; of one that quotes something huge, its beginning and its end."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]} … ({len(text) - 2 * half:,} characters left out) … {text[-half:]}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant: ``"; nearest is 'lora_alpha'"``, or an empty string."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; nearest is {found[0]!r}" if found else ""


def listing(words: Iterable[str], most: int = 12) -> str:
    """Join names for a message, cutting a long list and saying how many were left out."""
    names = list(words)
    more = f" … and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
