"""Consumers, tokens and takedowns by the JSON API. What changes them is for administrators, which `Guarded` sees to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mainstay.access.consumers import Listed, render_consumers
from mainstay.db.consumers import Consumer
from mainstay.db.takedowns import Takedown
from mainstay.web import admin_actions as actions
from mainstay.web.api_answers import render_json_reply
from mainstay.web.api_problem import render_problem
from mainstay.web.openapi import API_ROOT, Asked
from mainstay.web.views_frame import site_of

_FOR_ADMINISTRATORS = ("networks", "tokens")


async def list_consumers(asked: Asked) -> Response:
    """Every consumer; to administrators with networks and the hints of tokens."""
    listed = await actions.load_listed(site_of(asked.request))
    return render_json_reply({"schema": 1, "consumers": [_render(asked.request, entry) for entry in listed]})


async def show_consumer(asked: Asked) -> Response:
    """One of them."""
    entry = await _find(asked)
    return render_json_reply({"schema": 1, **_render(asked.request, entry)}) if entry else _missing(asked)


async def add_consumer(asked: Asked) -> Response:
    """A new one, with its first token."""
    site, by, body = site_of(asked.request), _by(asked), asked.body
    if await actions.find_listed(site, body.name) is not None:
        return render_problem(409, f"There is a consumer {body.name} already.")
    entry, token, agent = await actions.add(
        site, by, body.name, body.tier, body.networks, is_admin=body.admin, agent=body.agent
    )
    document = {**_changed(entry), "token": token, "agent": agent}
    return render_json_reply(document, 201, {"location": _address(asked.request, entry.name)})


async def change_consumer(asked: Asked) -> Response:
    """The same one, with another tier, other networks or another mark."""
    entry, body = await _find(asked), asked.body
    if entry is None:
        return _missing(asked)
    site, name = site_of(asked.request), entry.consumer.name
    return render_json_reply(
        _changed(await actions.change(site, _by(asked), name, body.tier, body.networks, body.admin))
    )


async def remove_consumer(asked: Asked) -> Response:
    """The hints of its tokens, now revoked."""
    entry = await _find(asked)
    if entry is None:
        return _missing(asked)
    hints = await actions.remove(site_of(asked.request), _by(asked), entry.consumer.name)
    return render_json_reply({"schema": 1, "consumer": entry.consumer.name, "revoked": hints})


async def add_token(asked: Asked) -> Response:
    """Another token."""
    entry = await _find(asked)
    if entry is None:
        return _missing(asked)
    name = entry.consumer.name
    token, agent = await actions.issue(site_of(asked.request), _by(asked), name, asked.body.agent)
    return render_json_reply({"schema": 1, "consumer": name, "token": token, "agent": agent}, 201)


async def revoke_tokens(asked: Asked) -> Response:
    """The hints of those that were in force: of one, or of all."""
    entry = await _find(asked)
    if entry is None:
        return _missing(asked)
    name, hint = entry.consumer.name, asked.request.path_params.get("hint")
    hints = await actions.revoke(site_of(asked.request), _by(asked), name, hint)
    if hint is not None and not hints:
        return render_problem(404, f"{name} has no token in force that begins with {hint}.")
    return render_json_reply({"schema": 1, "consumer": name, "revoked": hints})


async def list_takedowns(asked: Asked) -> Response:
    """Every block in force."""
    blocks = await actions.load_blocks(site_of(asked.request))
    return render_json_reply({"schema": 1, "takedowns": [_block(entry) for entry in blocks]})


async def unblock(asked: Asked) -> Response:
    """How many blocks were lifted."""
    purl = asked.body.purl
    lifted = await actions.unblock(site_of(asked.request), _by(asked), purl)
    if not lifted:
        return render_problem(404, f"Nothing of {purl} is blocked.")
    return render_json_reply({"schema": 1, "purl": purl, "lifted": lifted})


def _render(request: Request, entry: Listed) -> dict[str, Any]:
    (shown,) = render_consumers([entry])
    if request.state.viewer.is_admin:
        return shown
    return {name: value for name, value in shown.items() if name not in _FOR_ADMINISTRATORS}


def _changed(entry: Consumer) -> dict[str, Any]:
    networks = list(entry.networks)
    return {"schema": 1, "consumer": entry.name, "tier": entry.tier, "admin": entry.is_admin, "networks": networks}


def _block(entry: Takedown) -> dict[str, str]:
    return {
        "purl": actions.purl_of(entry),
        "ecosystem": entry.ecosystem,
        "upstream": entry.upstream,
        "project": entry.project,
        "version": entry.version,
        "filename": entry.filename,
        "reason": entry.reason,
        "evidence": entry.evidence,
        "seen": f"{datetime.fromtimestamp(entry.seen_at, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }


def _address(request: Request, name: str) -> str:
    return f"{request.scope.get('mainstay.prefix', '')}{API_ROOT}/consumers/{name}"


async def _find(asked: Asked) -> Listed | None:
    return await actions.find_listed(site_of(asked.request), asked.request.path_params["name"])


def _missing(asked: Asked) -> Response:
    return render_problem(404, f"There is no consumer {asked.request.path_params['name']!r}.")


def _by(asked: Asked) -> str:
    name: str = asked.request.state.viewer.name
    return name
