"""How every command ends when it cannot go on."""

from __future__ import annotations

import sys
from typing import NoReturn

import click


def fail(message: str, more: str = "") -> NoReturn:
    """What is wrong in red, then what to do, both on standard error; exit status 1."""
    click.secho(message, fg="red", err=True)
    if more:
        click.echo(more, err=True)
    sys.exit(1)
