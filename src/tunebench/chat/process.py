"""The process of the chat's server: Chainlit with our handlers."""

from __future__ import annotations

from pathlib import Path


def main() -> None:
    """Serve until interrupted. Settings come from the environment (``home.environment``)."""
    from chainlit.cli import run_chainlit  # noqa: PLC0415 - reads its settings as it is imported
    from chainlit.config import config  # noqa: PLC0415

    config.run.headless = True  # the browser is opened by the command
    run_chainlit(str(Path(__file__).with_name("main.py")))


if __name__ == "__main__":
    main()
