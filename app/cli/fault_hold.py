"""A fault that lives as long as the command that holds it: it renews the dead man's switch, and ends the fault when it leaves."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import click

from app.cli.admin_api import AdminApi, NoAnswer, SaysNo
from app.cli.failing import fail
from app.cli.fault_table import report_one, told, why_ended

MOST_SECONDS = 1.0
# Why a fault may end without anything being wrong.
AS_ASKED = frozenset({"expired", "stopped"})


def hold(api: AdminApi, asked: Mapping[str, Any]) -> None:
    """Begin it, show it, and end it on a signal. The exit status is 1 if it ended in another way than by time or by hand."""
    leave = threading.Event()
    before = {number: signal.signal(number, lambda *_: leave.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        view = api.ask("POST", "/admin/faults", asked)
        report_one(view)
        click.echo("  it ends with this command too: Ctrl-C", err=True)
        _live(api, view, float(asked["dead_man"]), leave)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _live(api: AdminApi, view: Mapping[str, Any], dead_man: float, leave: threading.Event) -> None:
    fault, heard = view["id"], time.monotonic()
    while not leave.wait(min(MOST_SECONDS, dead_man / 3)):
        try:
            api.send("POST", f"/admin/faults/{fault}/renew")
            listed = api.send("GET", "/admin/faults")
        except SaysNo as refused:
            if refused.status != 404:
                fail(f"The gateway says no ({refused.status}): {refused}.")
            _ended(api, fault)
            return
        except NoAnswer as error:
            if time.monotonic() - heard > dead_man:
                fail(
                    f"No answer for {dead_man:g} s: {error}.",
                    "If that gateway still runs, the fault has ended by itself.",
                )
            continue
        heard = time.monotonic()
        _show(next((one for one in listed["faults"] if one["id"] == fault), None))
    try:
        api.send("DELETE", f"/admin/faults/{fault}")
    except SaysNo:  # it has ended meanwhile, and the list says why
        pass
    except NoAnswer as error:
        fail(f"No answer: {error}.", f"If that gateway still runs, the fault ends by itself within {dead_man:g} s.")
    _ended(api, fault)


def _show(view: Mapping[str, Any] | None) -> None:
    """One line, written over and over; only where somebody looks."""
    if view is not None and sys.stdout.isatty():
        click.echo(f"\r\033[K  {view['remaining_s']:.0f} s left, {told(view)}", nl=False)


def _ended(api: AdminApi, fault: str) -> None:
    listed = api.ask("GET", "/admin/faults")
    view = next((one for one in listed["ended"] if one["id"] == fault), None)
    if sys.stdout.isatty():
        click.echo("\r\033[K", nl=False)
    if view is None:
        fail(f"{fault} has ended, and the gateway does not remember why.", "Has it been started anew?")
    click.echo(f"{fault} has ended: {why_ended(view)}; {told(view)}.")
    if view["why"] not in AS_ASKED:
        sys.exit(1)
