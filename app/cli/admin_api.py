"""How a command asks the admin API of a gateway that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import click

from app.cli.failing import fail

TOKEN = "BREAKWATER_ADMIN__TOKEN"  # noqa: S105 - the name of the variable
TIMEOUT_SECONDS = 10.0
CONNECTIONS = {"http": HTTPConnection, "https": HTTPSConnection}

token_option = click.option("--token", envvar=TOKEN, help=f"Its admin token; default ${TOKEN}.")


class NoAnswer(Exception):
    """Nobody is there, or whoever is speaks something else."""


class SaysNo(Exception):
    """The gateway refuses; ``str`` of it is the gateway's own message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AdminApi:
    """``url`` is that of the admin port. Where either is of no use the command ends here and says so."""

    def __init__(self, url: str, token: str | None) -> None:
        try:
            where = urlsplit(url)
            usable = where.scheme in CONNECTIONS and where.hostname is not None and where.port != 0
        except ValueError:  # an IPv6 address or a port that is none
            usable = False
        if not usable or not url.isascii() or not url.isprintable() or " " in url:
            fail(f"--url {url!r} is not an address.", "It is the admin port's, such as http://127.0.0.1:8001.")
        self.url = url
        self._where = where
        self._headers = {"Authorization": f"Bearer {token_of(token)}", "Content-Type": "application/json"}

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What it answers. Raises ``NoAnswer``, ``SaysNo``."""
        where = self._where
        # By hand: urllib would follow a redirect, or take a proxy, and tell the token there.
        connection = CONNECTIONS[where.scheme](where.netloc, timeout=TIMEOUT_SECONDS)
        try:
            given = None if body is None else json.dumps(body)
            connection.request(method, f"{where.path.rstrip('/')}{path}", given, self._headers)
            response = connection.getresponse()
            told = json.load(response)
        except (OSError, HTTPException, ValueError) as error:
            raise NoAnswer(str(error)) from None
        finally:
            connection.close()
        if response.status not in (200, 201) or not isinstance(told, dict):
            raise SaysNo(response.status, _message(told))
        return told

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As ``send``; without a good answer the command ends."""
        try:
            return self.send(method, path, body)
        except NoAnswer as error:
            fail(f"No answer from {self.url}: {error}.", "Is it the admin port, and is the gateway running?")
        except SaysNo as error:
            fail(f"The gateway at {self.url} says no ({error.status}): {error}.")


def token_of(given: str | None) -> str:
    if not given:
        fail("The admin API needs its token.", f"Give --token or set {TOKEN}; the gateway printed it when it started.")
    if not given.isascii() or not given.isprintable():
        fail("The token travels in a header, which takes printable ASCII only.")
    return given


def _message(told: Any) -> str:
    try:
        return str(told["error"]["message"])
    except (KeyError, TypeError):
        return "it gives no reason; is it the admin port?"
