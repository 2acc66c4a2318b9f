"""The demo's clients: the official openai client, over HTTP, at random times. What becomes of their requests is
counted by the gateway; here it is only seen that nobody waits for ever.
"""

from __future__ import annotations

import asyncio
from random import Random

import openai

from app.demo.world import MODEL

MAX_RUNNING = 300
STREAMED_SHARE = 0.6
TIMEOUT_SECONDS = 30.0
QUESTIONS = (
    "Say hello.",
    "What does a breakwater do?",
    "Name three harbours.",
    "Why do waves break?",
    "Write a line about the sea.",
)


async def ask_for_ever(url: str, rate: float) -> None:
    """``rate`` requests a second on average, until cancelled."""
    rng = Random()
    # Straight to our own server, whatever http_proxy says; and the gateway is the one layer that retries.
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    client = openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT_SECONDS, http_client=http
    )
    running: set[asyncio.Task[None]] = set()
    try:
        async with client:
            while True:
                await asyncio.sleep(rng.expovariate(rate))
                if len(running) < MAX_RUNNING:
                    task = asyncio.create_task(
                        _ask(client, rng.choice(QUESTIONS), streamed=rng.random() < STREAMED_SHARE)
                    )
                    running.add(task)
                    task.add_done_callback(running.discard)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _ask(client: openai.AsyncOpenAI, question: str, *, streamed: bool) -> None:
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": question}]
    try:
        if not streamed:
            await client.chat.completions.create(model=MODEL, messages=messages)
            return
        options: openai.types.chat.ChatCompletionStreamOptionsParam = {"include_usage": True}
        stream = await client.chat.completions.create(
            model=MODEL, messages=messages, stream=True, stream_options=options
        )
        async for _ in stream:
            pass
    except openai.APIError:  # the gateway knows of it
        pass
