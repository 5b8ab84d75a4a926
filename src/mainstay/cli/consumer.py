"""`mainstay consumer`: who calls, by name, network and token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.options import AsJson, ConfigFile, DataFolder, load_settings

if TYPE_CHECKING:
    from mainstay.db.consumers import Consumer

consumer = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Name those who call the gateway, by token and by network. Running gateways follow at once.",
)
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The consumer's name.")]
_Agent = Annotated[
    str, typer.Option(metavar="WORD", help="The token is for this coding agent: claude-code, cursor, codex ...")
]


@consumer.command()
def add(
    name: _Name,
    tier: Annotated[str, typer.Option(metavar="T", help="Its tier, one of the settings.")] = "free",
    network: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="Who calls from there is it, without a token too.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Its tokens may change things on the pages.")] = False,
    agent: _Agent = "",
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Add a consumer and print its first token, which is shown only now."""
    from mainstay.access.consumers import add_consumer

    settings, agent = load_settings(config, data), _parse_agent(agent)
    entry, token = add_consumer(settings, name, tier, network or (), is_admin=admin, agent=agent)
    if as_json:
        _print({**_render(entry), "token": token, "agent": agent})
    else:
        typer.echo(f"{_describe(entry)}\nIts token, which is shown only now:\n\n    {token}")


@consumer.command("list")
def list_all(config: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Show the consumers, and of their tokens how each begins."""
    from mainstay.access.consumers import list_consumers, render_consumers

    shown = render_consumers(list_consumers(load_settings(config, data)))
    if as_json:
        _print({"consumers": shown})
        return
    for entry in shown:
        admin = "  administrator" if entry["admin"] else ""
        typer.echo(f"{entry['consumer']}  tier {entry['tier']}{admin}  {' '.join(entry['networks'])}".rstrip())
        for token in entry["tokens"]:
            agent = f"  agent {token['agent']}" if token["agent"] else ""
            revoked = f"  revoked {token['revoked']}" if token["revoked"] else ""
            typer.echo(f"    {token['hint']}...  since {token['created']}{agent}{revoked}")
    if not shown:
        typer.echo("There are no consumers yet: mainstay consumer add NAME")


@consumer.command()
def token(
    name: _Name,
    revoke: Annotated[
        str, typer.Option(metavar="HINT", help="Revoke the token that begins so (see list) instead of making one.")
    ] = "",
    revoke_all: Annotated[bool, typer.Option("--revoke-all", help="Revoke all of them instead.")] = False,
    agent: _Agent = "",
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Print another token for a consumer, or revoke what it has.

    Exits with 1 where no token in force was revoked.
    """
    from mainstay.access.consumers import issue_token, revoke_tokens

    if not revoke and not revoke_all:
        agent = _parse_agent(agent)
        made = issue_token(load_settings(config, data), name, agent)
        _print({"consumer": name, "token": made, "agent": agent}) if as_json else typer.echo(made)
        return
    if agent:
        raise typer.BadParameter("--agent is for a token that is made")
    revoked = revoke_tokens(load_settings(config, data), name, None if revoke_all else revoke)
    words = f"revoked: {', '.join(revoked)}" if revoked else "no such token is in force"
    _print({"consumer": name, "revoked": revoked}) if as_json else typer.echo(f"{name}: {words}")
    raise typer.Exit(0 if revoked else 1)


@consumer.command()
def change(
    name: _Name,
    tier: Annotated[str | None, typer.Option(metavar="T", help="Its tier from now on.")] = None,
    network: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="Its networks from now on, in the place of all it had.")
    ] = None,
    no_network: Annotated[bool, typer.Option("--no-network", help="It has no networks any more.")] = False,
    admin: Annotated[
        bool | None, typer.Option("--admin/--no-admin", help="Whether its tokens may change things on the pages.")
    ] = None,
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Give a consumer another tier or other networks, or make it an administrator."""
    from mainstay.access.consumers import change_consumer

    if network and no_network:
        raise typer.BadParameter("--network and --no-network exclude one another")
    networks = [] if no_network else network or None
    entry = change_consumer(load_settings(config, data), name, tier, networks, admin)
    if as_json:
        _print(_render(entry))
    else:
        typer.echo(_describe(entry))


@consumer.command()
def remove(name: _Name, config: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Remove a consumer and revoke its tokens. What was recorded of it stays."""
    from mainstay.access.consumers import remove_consumer

    revoked = remove_consumer(load_settings(config, data), name)
    if as_json:
        _print({"consumer": name, "revoked": revoked})
    else:
        typer.echo(f"{name}: removed" + (f", revoked: {', '.join(revoked)}" if revoked else ""))


def _describe(entry: Consumer) -> str:
    admin = ", administrator" if entry.is_admin else ""
    networks = f", networks {' '.join(entry.networks)}" if entry.networks else ""
    return f"{entry.name}: tier {entry.tier}{admin}{networks}"


def _render(entry: Consumer) -> dict[str, object]:
    return {"consumer": entry.name, "tier": entry.tier, "admin": entry.is_admin, "networks": entry.networks}


def _parse_agent(text: str) -> str:
    """The agent as it is written down, "" where none is named. Raises ConfigError."""
    from mainstay.gateway.visitors import parse_agent

    return parse_agent(text) if text else ""


def _print(document: dict[str, object]) -> None:
    typer.echo(json.dumps({"schema": 1, **document}))
