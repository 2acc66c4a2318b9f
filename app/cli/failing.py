"""How every command ends when it cannot go on."""

from __future__ import annotations

import sys
from typing import NoReturn

import click


def fail(message: str, more: str = "", status: int = 1) -> NoReturn:
    """What is wrong in red, then what to do, both on standard error; exit ``status``."""
    click.secho(message, fg="red", err=True)
    if more:
        click.echo(more, err=True)
    sys.exit(status)
