"""breakwater fault: break a gateway's upstreams on purpose, for a while, and see it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import click
import yaml

from app.admin.faults import catalogue
from app.api.signed_fault import HEADER, signed
from app.cli.admin_api import AdminApi, token_of, token_option
from app.cli.failing import fail
from app.cli.fault_hold import hold
from app.cli.fault_table import report_faults, report_kinds, report_one
from app.settings.faults import FaultSettings, asked_of
from router.chaos import FaultRefused

URL = "http://127.0.0.1:8001"
HELD_SECONDS = 5.0
Command = Callable[..., None]

url_option = click.option("--url", metavar="ADMIN", default=URL, show_default=True, help="The gateway's admin port.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")


def _what(command: Command) -> Command:
    """The options that say what is asked for: the same for a fault that acts and for one that a request brings."""
    for option in reversed(
        (
            click.argument("kind"),
            click.option("--target", required=True, metavar="A[,B]", help="Providers, or targets as provider/model."),
            click.option("--ttl", type=float, default=60.0, show_default=True, help="Seconds until it ends by itself."),
            click.option("--share", type=float, help="Of the attempts at them, 0 to 1. Default: the kind's own."),
            click.option("--per", metavar="WHAT", help="What one draw decides: attempt, request or session."),
            click.option("--seed", type=int, help="Which attempts: the same in every run."),
            click.option("--route", metavar="MODEL", help="Only calls for this model."),
            click.option("--reason", help="For the log, and for whoever else looks."),
            click.option("--max-active", type=int, metavar="N", help="At most so many attempts under it at once."),
            click.option(
                "--set",
                "knobs",
                multiple=True,
                metavar="KNOB=VALUE",
                help="A knob of the kind (`ls --kinds`), as YAML.",
            ),
        )
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def fault() -> None:
    """Break a gateway's upstreams on purpose, for a while."""


@fault.command()
@_what
@click.option("--guard-availability", type=float, metavar="SHARE", help="End it when fewer calls than this go well.")
@click.option("--guard-control", type=float, metavar="SHARE", help="The same, of the calls that it did not hit.")
@click.option(
    "--dead-man", type=float, metavar="SECONDS", help=f"Without a sign of life it ends; {HELD_SECONDS:g} with --hold."
)
@click.option("--hold", "held", is_flag=True, help="Stay, show what it does, and end it on Ctrl-C.")
@url_option
@token_option
@json_option
def add(url: str, token: str | None, held: bool, as_json: bool, **options: Any) -> None:
    """Begin a fault of KIND: `breakwater fault ls --kinds` lists them.

    It ends after --ttl seconds, whatever happens. With --hold it ends with this command too, even if that is killed.
    """
    if held and options["dead_man"] is None:
        options["dead_man"] = HELD_SECONDS
    asked = _asked(options)
    api = AdminApi(url, token)
    if held:
        hold(api, asked)
        return
    begun = api.ask("POST", "/admin/faults", asked)
    if as_json:
        _print(begun)
    else:
        report_one(begun)


@fault.command("ls")
@click.option("--kinds", is_flag=True, help="The kinds there are and their knobs, without asking a gateway.")
@url_option
@token_option
@json_option
def list_(kinds: bool, url: str, token: str | None, as_json: bool) -> None:
    """The faults that act, and the latest that have ended and why."""
    if kinds:
        if as_json:
            _print(catalogue())
        else:
            report_kinds(catalogue())
        return
    told = AdminApi(url, token).ask("GET", "/admin/faults")
    if as_json:
        _print(told)
    else:
        report_faults(told)


@fault.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All that act.")
@url_option
@token_option
def clear(ids: Sequence[str], everything: bool, url: str, token: str | None) -> None:
    """End faults now, also for those whom they hold."""
    if everything == bool(ids):
        fail("Which faults? Give their ids, or --all.", "`breakwater fault ls` shows those that act.")
    api = AdminApi(url, token)
    stopped = []
    for which in [f"?{urlencode({'id': one})}" for one in ids] or [""]:
        stopped += api.ask("DELETE", f"/admin/faults{which}")["stopped"]
    click.echo(f"Ended: {', '.join(stopped)}." if stopped else "No fault acts.")


@fault.command()
@_what
@click.option(
    "--expires", type=click.IntRange(1), default=300, show_default=True, help="Seconds the header can be used."
)
@token_option
def sign(token: str | None, expires: int, **options: Any) -> None:
    """Print a header with which one request brings its own fault of KIND.

    Made here, with the admin token of the gateway that will get it; nobody is asked. There, `chaos.header_faults` has to be on.
    """
    asked = _asked(options)
    try:
        asked_of(asked)
    except FaultRefused as refused:
        fail(f"{refused.param}: {refused.message}.")
    value = signed(asked, int(time.time()) + expires, token_of(token))
    click.echo(f"{HEADER.decode().title()}: {value}")


def _asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """As the admin API wants it. What nobody said is left out: the gateway knows better."""
    arms = {name: options.get(f"guard_{name}") for name in ("availability", "control")}
    guard = {name: share for name, share in arms.items() if share is not None}
    asked: dict[str, Any] = {"target": [name for name in options["target"].split(",") if name]}
    for name in ("kind", "ttl", "share", "per", "seed", "route", "reason", "max_active", "dead_man"):
        if options.get(name) is not None:
            asked[name] = options[name]
    if guard:
        asked["guard"] = guard
    for knob in options["knobs"]:
        name, equals, value = knob.partition("=")
        if not equals or not name:
            fail(f"--set {knob!r} is not KNOB=VALUE.", "Such as --set retry_after=2 or --set 'statuses=[500, 503]'.")
        if name in FaultSettings.model_fields:
            fail(f"--set {name}: is no knob; it has an option of its own.")
        asked[name] = _value(name, value)
    return asked


def _value(name: str, text: str) -> Any:
    such = "Such as 2, date, true, [500, 503] or '{lognormal: [2, 0.5]}'."
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        fail(f"--set {name}: {text!r} is not YAML.", such)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):  # YAML has days, sets and .nan, and may go in circles
        fail(f"--set {name}: {text!r} is nothing that a knob can be.", such)
    return value


def _print(told: Mapping[str, Any]) -> None:
    click.echo(json.dumps(told, indent=2, ensure_ascii=False))
