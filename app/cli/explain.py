"""breakwater explain: where a request would go and why, without sending it to anybody."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.admin.bodies import field_error
from app.admin.explaining import Question, answer
from app.api.errors import ApiError, answer_for
from app.cli.admin_api import AdminApi, token_option
from app.cli.failing import fail
from app.settings import SettingsError, load
from app.wiring import build
from router import RouterError

STATES = {"picked": "green", "candidate": "cyan", "excluded": "dim"}


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file (YAML).")
@click.option("--model", required=True, help="The model that the request asks for.")
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request; repeatable."
)
@click.option("--stream", is_flag=True, help="As a request for a stream.")
@click.option("--url", metavar="ADMIN", help="Ask a gateway that runs, at its admin port: http://127.0.0.1:8001.")
@token_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
def explain(
    config_file: Path | None,
    model: str,
    headers: tuple[str, ...],
    stream: bool,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Show where a request would go: each target with its share or why not, and the failover chain.

    With --config, by that file with every target at rest; with --url, by the gateway that runs there, as it is now; with
    both, what that gateway would do now under the file. Nothing is sent to a provider, and nothing changes.
    """
    question = _question(model, headers, stream=stream)
    if url is None:
        told = _at_rest(question, config_file)
    else:
        told = _asked(question, config_file, url, token)
    if as_json:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _report(told)


def _question(model: str, headers: Sequence[str], *, stream: bool) -> dict[str, Any]:
    given: dict[str, str] = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            fail(f"--header {header!r} is not a header.", "Write it as 'NAME: VALUE'.")
        given[name.strip()] = value.strip()
    return {"model": model, "headers": given, "stream": stream}


def _at_rest(question: Mapping[str, Any], config_file: Path | None) -> dict[str, Any]:
    try:
        settings = load(config_file, os.environ, Path.cwd()).settings
    except SettingsError as error:
        fail("The configuration cannot be used:", str(error))
    try:
        return answer(build(settings), Question.model_validate(question), now=0.0)
    except ValidationError as error:
        fail(str(field_error(error)))
    except (ApiError, RouterError) as error:
        fail(f"Such a request would be refused: {answer_for(error).message}.")


def _asked(question: dict[str, Any], config_file: Path | None, url: str, token: str | None) -> dict[str, Any]:
    api = AdminApi(url, token)
    if config_file is not None:
        try:
            question |= {"config": config_file.read_text(encoding="utf-8")}
        except (OSError, UnicodeDecodeError) as error:
            fail(f"{config_file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}.")
    return api.ask("POST", "/admin/explain", question)


def _report(told: Mapping[str, Any]) -> None:
    # Only a terminal has a width to fit into.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    route = "any other model" if told["route"] == "*" else told["route"]
    console.print(Text.assemble((told["model"], "bold"), f"  route {route}, strategy {told['strategy']}"))
    for line in _facts(told):
        console.print(Text(f"  {line}", style="dim"))
    gate = told["gate"]
    if gate["verdict"] != "admitted":
        console.print(Text(f"The gate: {gate['verdict']}, {gate['why']}", style="yellow"))
    chain = told["chain"]
    if chain:
        console.print()
        console.print(_table(chain[0]["targets"]))
        console.print()
        console.print("If every attempt failed:")
        for link in chain:
            console.print(_link(link))
    elif told["nobody"]:
        console.print()
        console.print(_table(told["nobody"]))
    console.print(Text(f"  then: {told['end']['message']}" if chain else told["end"]["message"], style="yellow"))


def _facts(told: Mapping[str, Any]) -> list[str]:
    """What is not as usual, and whether it is about one request or any."""
    facts = []
    if told["pin"] is not None:
        facts.append(f"{'sticks' if told['sticky'] else 'pinned'} to {told['pin']}")
    if told["experiment"] is not None:
        facts.append(f"experiment {told['experiment']}")
    facts.append(f"priority {told['priority']}, about {told['estimated_tokens']} tokens")
    if told["drawn"]:
        facts.append("each request draws by its own id; this is one of them. --header 'X-Request-ID: …' asks for one")
    else:
        facts.append(f"request id {told['request_id']}")
    return facts


def _table(targets: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, justify in (("target", "left"), ("tier", "right"), ("weight", "right"), ("share", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("state")
    for one in targets:
        share = f"{one['share']:.1%}" if one.get("share") is not None else ""
        score = f"{one['score']:g}" if one["score"] is not None else ""
        state = one["state"] if one["why"] is None else one["why"]
        style = STATES[one["state"]]
        row = (one["target"], str(one["tier"]), f"{one['weight']:g}", share, score, state)
        table.add_row(*(Text(cell, style=style) for cell in row))
    return table


def _link(link: Mapping[str, Any]) -> Text:
    after = f" after {link['starts_ms']:g} ms" if link["starts_ms"] else ""
    forced = ", though ejected: all are" if link["forced"] else ""
    return Text.assemble(
        f"  {link['number']}. ", (link["target"], "bold"), (f"  {link['reason']}{after}{forced}", "dim")
    )
