"""`./run bench NAME`: one command for each benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
Out = Annotated[Path, typer.Option(help="Where the JSON and the plot go.")]
OUT = Path("bench-results")


if __name__ == "__main__":
    app(prog_name="./run bench")
