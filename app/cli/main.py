"""breakwater: the commands, found by name and imported when called."""

from __future__ import annotations

import importlib

import click

from app.version import installed_version

# name: (module, what --help says), so that listing the commands imports none of them
COMMANDS = {
    "serve": ("app.cli.serve:serve", "Serve the gateway."),
    "check": ("app.cli.check:check", "Check a configuration: what is wrong, what looks odd, what it would serve."),
    "explain": ("app.cli.explain:explain", "Show where a request would go and why, without sending it."),
    "demo": ("app.cli.demo:demo", "Watch a provider fail, and clients that do not notice. Needs no key."),
    "fault": ("app.cli.fault:fault", "Break a gateway's upstreams on purpose, for a while."),
    "drill": ("app.cli.drill:drill", "Run what goes wrong on the virtual clock, and see what holds."),
    "ask": ("app.cli.ask:ask", "Ask a gateway one question, with the official openai client."),
    "local-model": ("app.cli.local_model:local_model", "Serve a small real model on llama.cpp's own server."),
}


class Commands(click.Group):
    """Imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(installed_version(), prog_name="breakwater")
def main() -> None:
    """The LLM gateway that you can break on purpose."""


if __name__ == "__main__":
    main()
