"""breakwater check: what is wrong with a configuration, what looks odd, and what it would serve."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from app.cli.failing import fail
from app.settings import (
    ANY_MODEL,
    Examined,
    Loaded,
    Problem,
    ProviderSettings,
    RouteSettings,
    Settings,
    SettingsError,
    TargetSettings,
    examine,
    installed_kinds,
)
from app.settings.schema import schema

COLOURS = {"error": "red", "warning": "yellow"}


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Exit 1 on warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
@click.option("--schema", "print_schema", is_flag=True, help="Print the JSON Schema of configurations instead.")
def check(file: Path | None, strict: bool, as_json: bool, print_schema: bool) -> None:
    """Check a configuration file, or what `serve` would take without one.

    Errors are what `serve` would refuse, here and with this environment: exit status 1. Warnings look odd and work.
    """
    if print_schema:
        click.echo(_schema())
        return
    examined = examine(file, os.environ, Path.cwd())
    found = [("error", problem) for problem in examined.errors]
    found += [("warning", problem) for problem in examined.warnings]
    if as_json:
        problems = [problem.as_json(severity) for severity, problem in found]
        click.echo(json.dumps({"usable": examined.loaded is not None, "problems": problems}, indent=2))
    else:
        _report(examined, found)
    sys.exit(1 if examined.errors or (strict and examined.warnings) else 0)


def _schema() -> str:
    try:
        return json.dumps(schema(installed_kinds()), indent=2, ensure_ascii=False)
    except SettingsError as error:
        fail("There is no schema:", str(error))


def _report(examined: Examined, found: Sequence[tuple[str, Problem]]) -> None:
    for severity, problem in found:
        where, told = click.style(problem.where, bold=True), click.style(severity, fg=COLOURS[severity], bold=True)
        click.echo(f"{where}: {told}: {problem.said}")
    if found:
        click.echo()
    if examined.loaded is None:
        click.secho(f"It cannot be used: {_counted(len(examined.errors), 'error')}.", fg="red")
        return
    _summarise(examined.loaded)
    if examined.warnings:
        click.secho(f"It can be used, with {_counted(len(examined.warnings), 'warning')}.", fg="yellow")
    else:
        click.secho("It can be used.", fg="green")


def _summarise(loaded: Loaded) -> None:
    """What would be served: a tree of routes, tiers and targets."""
    settings = loaded.settings
    counts = [
        _counted(len(settings.routes), "route"),
        _counted(sum(len(route.targets) for route in settings.routes), "target"),
        _counted(len(settings.providers), "provider"),
    ]
    tree = Tree(Text.assemble((loaded.source, "bold"), f": {', '.join(counts)}"), guide_style="dim")
    for route in settings.routes:
        _add_route(tree, route, settings)
    if settings.passthrough is not None:
        words = f"{', '.join(settings.passthrough.paths)} → {settings.passthrough.provider}"
        tree.add(Text.assemble(("other paths", "bold"), f"  {words}"))
    # Only a terminal has a width to fit into.
    Console(highlight=False, width=None if sys.stdout.isatty() else 1000).print(tree)


def _add_route(tree: Tree, route: RouteSettings, settings: Settings) -> None:
    attempts = (route.retry and route.retry.max_attempts) or settings.defaults.retry.max_attempts
    total = (route.timeouts and route.timeouts.total) or settings.defaults.timeouts.total
    name = "* (any other model)" if route.model == ANY_MODEL else route.model
    facts = f"  {_counted(attempts, 'attempt')} in {total:g} s"
    branch = tree.add(Text.assemble((name, "bold cyan"), (facts, "dim")))
    providers = {provider.name: provider for provider in settings.providers}
    ordered = sorted(route.targets, key=lambda target: (target.tier, -target.weight))
    for tier, group in groupby(ordered, key=lambda target: target.tier):
        targets = list(group)
        twig = branch.add(f"tier {tier}")
        whole = sum(target.weight for target in targets)
        for target in targets:
            twig.add(_target_line(target, whole, route.id_of(target), providers[target.provider]))


def _target_line(target: TargetSettings, whole: float, target_id: str, provider: ProviderSettings) -> Text:
    share = f"{target.weight / whole:6.1%}" if target.weight else "   pin"  # reached by a pin only
    where = f"  {provider.kind} {getattr(provider.options, 'base_url', '')}".rstrip()
    return Text.assemble((share, "green"), f"  {target_id}", (where, "dim"))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
