"""The `flagmw` command."""

from collections.abc import Sequence

try:
    from flagmw.cli.main import main
except ImportError as error:
    # Without its libraries the command says so in one line.
    _problem = str(error)

    def main(arguments: Sequence[str] | None = None, program: str = "flagmw") -> None:
        """End with what is missing."""
        raise SystemExit(f"flagmw: {_problem}")


__all__ = ["main"]
