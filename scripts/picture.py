"""Make docs/images/failover.svg: a real gateway, real curl, what they really said. Run: make picture"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.json import JSON
from rich.text import Text

TARGET = Path(__file__).parent.parent / "docs" / "images" / "failover.svg"
CONFIG = """
seed: 4
providers:
  - {name: openai-eu, kind: mock, ttft: 0.2, error_rate: 1, error_status: 503}
  - {name: vllm-a, kind: mock, ttft: 0.12, token_interval: 0.01, tokens: 8}
routes:
  - model: assistant
    targets: [{provider: openai-eu, weight: 100}, {provider: vllm-a, tier: 1}]
"""
SHOWN = ("HTTP/1.1", "x-attempts", "x-target", "x-route-reason", "x-overhead-ms")


def main() -> None:
    console = Console(record=True, width=100, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    with gateway() as (url, log):
        for stream in (False, True):
            fields = {"model": "assistant", "messages": [{"role": "user", "content": "Say hello."}]}
            if stream:
                fields["stream"] = True
            body = json.dumps(fields)
            shown = '"model": "assistant", "messages": …' + (', "stream": true' if stream else "")
            command = f"curl -siN :8000/v1/chat/completions --json '{{{shown}}}'"
            console.print(Text.assemble(("$ ", "bold green"), command))
            answer = subprocess.run(
                ["curl", "-siN", f"{url}/v1/chat/completions", "--json", body],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for line in interesting(answer):
                console.print(line)
            console.print()
        console.print(Text("# the gateway's log, one line a request", "dim"))
        line = [json.loads(line) for line in log.read_text().splitlines() if '"request"' in line][-1]
        kept = ("status", "attempts", "first_byte_ms", "tokens_out", "end")
        console.print(JSON(json.dumps({name: line[name] for name in kept}), indent=None).text, soft_wrap=False)
    svg = console.export_svg(title="A provider fails, and the answer comes all the same")
    TARGET.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))  # no fonts from elsewhere
    print(f"written to {TARGET}")


def interesting(answer: str) -> Iterator[Text]:
    head, _, body = answer.partition("\n\n")
    for line in head.splitlines():
        if line.startswith(SHOWN):
            name, colon, value = line.partition(":")
            yield Text.assemble((name, "cyan"), colon, (value, "bold")) if colon else Text(line, "bold green")
    events = [line for line in body.splitlines() if line.strip()]
    for line in [*events[:3], "…", *events[-2:]] if len(events) > 6 else events:
        yield Text(line if len(line) <= 98 else line[:97] + "…", "dim" if line.startswith("data") else "")


@contextmanager
def gateway() -> Generator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config, log = Path(folder, "breakwater.yaml"), Path(folder, "log")
        config.write_text(CONFIG)
        with log.open("w") as out:
            command = [sys.executable, "-m", "app.cli.main", "serve", "--config", str(config), "--port", str(port)]
            any_port = {"BREAKWATER_SERVER__METRICS_PORT": "0", "BREAKWATER_SERVER__ADMIN_PORT": "0"}
            server = subprocess.Popen(command, stdout=out, env={**os.environ, **any_port})
        try:
            while subprocess.run(
                ["curl", "-s", f"http://127.0.0.1:{port}/health"], capture_output=True, check=False
            ).returncode:
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", log
        finally:
            server.terminate()
            server.wait(10)


if __name__ == "__main__":
    main()
