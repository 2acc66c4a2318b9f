"""breakwater ask: one question to a gateway, with the official openai client, and what the headers say about it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from app.cli.failing import fail

if TYPE_CHECKING:
    import openai


@click.command()
@click.argument("prompt")
@click.option("--url", envvar="BREAKWATER_URL", default="http://127.0.0.1:8000", show_default=True, help="The gateway.")
@click.option("--model", help="Default: the first that the gateway lists.")
@click.option("--provider", help="Pin: one or more provider names, in order (X-Provider-Priority).")
@click.option("--stream", is_flag=True, help="Print the answer as it comes.")
@click.option("--api-key", envvar="BREAKWATER_API_KEY", default="none", help="Default: $BREAKWATER_API_KEY.")
def ask(prompt: str, url: str, model: str | None, provider: str | None, stream: bool, api_key: str) -> None:
    """Ask a gateway one question. PROMPT "-" reads standard input."""
    import openai  # noqa: PLC0415 - takes half a second, which no other command should pay

    if prompt == "-":
        prompt = sys.stdin.read()
    url = url.rstrip("/").removesuffix("/v1")
    if "://" not in url:
        url = f"http://{url}"
    if not f"{api_key}{provider}".isascii():
        fail("The key and the provider's name travel in headers, which take ASCII only.")
    # The gateway is the one layer that retries.
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=api_key or "none", max_retries=0)
    pin = {"X-Provider-Priority": provider} if provider else {}
    try:
        _ask(client, model or _first_model(client), prompt, pin, stream=stream)
    except openai.APIConnectionError as error:
        # By name: which httpx the client uses is its own affair.
        if type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout"):
            fail(f"There is no gateway at {url}.", click.style("Start one with: make run", dim=True))
        fail(f"The connection to {url} broke: {error.__cause__ or error}")
    except openai.APIStatusError as error:
        told = error.body if isinstance(error.body, dict) else {}
        code = f" {told['code']}" if told.get("code") else ""
        message = told.get("message", f"{url} says no more; is it a gateway?")
        fail(f"{error.status_code}{code}: {message}", _dim(error.response.headers))
    except openai.APIError as error:  # an error event in a stream that had begun
        fail(f"The answer broke off: {error.message}")


def _first_model(client: openai.OpenAI) -> str:
    listed = client.get("/models", cast_to=object)  # what is no gateway may answer anything
    if not isinstance(listed, dict):
        fail(f"{client.base_url} lists no models; is it a gateway?")
    models = listed.get("data")
    return str(models[0]["id"]) if models else "demo"


def _ask(client: openai.OpenAI, model: str, prompt: str, pin: Mapping[str, str], *, stream: bool) -> None:
    started = time.perf_counter()
    create = client.chat.completions.with_raw_response.create
    if not stream:
        answer = create(model=model, messages=[{"role": "user", "content": prompt}], extra_headers=pin)
        completion = answer.parse()
        if not getattr(completion, "choices", None):  # a page of HTML comes as a str
            fail("The answer is no chat completion.", _dim(answer.headers))
        click.echo(completion.choices[0].message.content or "")
        usage = completion.usage
        tokens = usage.completion_tokens if usage else None
        _report(answer.headers, started, None, tokens)
        return
    streamed = create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=pin,
    )
    first = tokens = None
    finished = False
    try:
        for chunk in streamed.parse():
            if chunk.usage is not None:
                tokens = chunk.usage.completion_tokens
            for choice in chunk.choices:
                finished = finished or choice.finish_reason is not None
                if choice.delta.content:
                    first = first or time.perf_counter() - started
                    click.echo(choice.delta.content, nl=False)
    finally:
        click.echo()
    if not finished:  # the client takes a connection that closes early for an end
        fail("The answer broke off: the stream ended without a finish reason.", _dim(streamed.headers))
    _report(streamed.headers, started, first, tokens)


def _report(headers: Mapping[str, str], started: float, first: float | None, tokens: int | None) -> None:
    """To standard error, so that the answer can be piped."""
    took = f"{time.perf_counter() - started:.2f} s"
    if first is not None:
        took = f"first token {first:.2f} s, {took} in all"
    counted = f" · {tokens} tokens" if tokens is not None else ""
    click.secho(f"{_facts(headers)} · {took}{counted}", dim=True, err=True)


def _facts(headers: Mapping[str, str]) -> str:
    names = {"x-target": "", "x-route-reason": "by ", "x-attempts": "attempts ", "x-request-id": "request "}
    return " · ".join(f"{label}{headers[name]}" for name, label in names.items() if name in headers)


def _dim(headers: Mapping[str, str]) -> str:
    return click.style(_facts(headers), dim=True)
