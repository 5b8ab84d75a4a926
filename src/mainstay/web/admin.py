"""The pages on which administrators change things: consumers, their tokens, and takedowns.

Forms only, no script. `Guarded` has seen to it that who comes here is an administrator, and that a form was ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mainstay.access.consumers import Listed, check_name, parse_networks
from mainstay.access.tiers import FREE
from mainstay.errors import ConfigError, MainstayError, RequestError
from mainstay.gateway.visitors import parse_agent
from mainstay.telemetry.log import get_logger
from mainstay.web import admin_actions as actions
from mainstay.web.api_problem import status_of
from mainstay.web.auth import ADMIN, read_form, redirect
from mainstay.web.views_frame import render_page, site_of

CONSUMERS, TAKEDOWNS = f"{ADMIN}/consumers", f"{ADMIN}/takedowns"
SAID = {
    "changed": "The consumer was changed.",
    "removed": "The consumer was removed and its tokens revoked. What was recorded of it stays.",
    "revoked": "The token was revoked.",
    "nothing": "Nothing was revoked: no such token is in force.",
    "lifted": "The block was lifted.",
    "absent": "Nothing was lifted: there is no such block any more.",
}
"""What a page says of what was done just before it, by the word in its address."""
Form = Mapping[str, str]
View = Callable[[Request], Awaitable[Response]]
_log = get_logger("mainstay.web")


def admin_routes() -> list[BaseRoute]:
    """The pages below /admin."""
    one = f"{CONSUMERS}/{{name}}"
    views: tuple[tuple[str, str, View], ...] = (
        ("GET", ADMIN, _to_consumers),
        ("GET", CONSUMERS, _show_consumers),
        ("POST", CONSUMERS, _add),
        ("GET", one, _show_consumer),
        ("POST", one, _change),
        ("POST", f"{one}/tokens", _issue),
        ("POST", f"{one}/revoke", _revoke),
        ("GET", f"{one}/remove", _show_removal),
        ("POST", f"{one}/remove", _remove),
        ("GET", TAKEDOWNS, _show_takedowns),
        ("POST", TAKEDOWNS, _unblock),
    )
    return [Route(path, _told(view), methods=[method]) for method, path, view in views]


def _told(view: View) -> View:
    """The view with words in the place of what went wrong: a full disk, or somebody who was first."""

    async def show(request: Request) -> Response:
        try:
            return await view(request)
        except MainstayError as error:
            if status_of(error) >= 500:
                _log.error("a change was not made", path=request.scope["path"], reason=error.diagnostics())
            return render_page(request, "admin_refused.html", status=status_of(error), words=error.diagnostics())

    return show


async def _to_consumers(request: Request) -> Response:
    return redirect(request, CONSUMERS)


async def _show_consumers(request: Request) -> Response:
    return await _render_consumers(request, {"tier": FREE})


async def _add(request: Request) -> Response:
    form, site = await read_form(request), site_of(request)
    name, is_admin = form.get("name", "").strip(), "admin" in form
    errors = _check(request, form) | await _check_new_name(request, name)
    if not errors:
        tier, networks, agent = form.get("tier", FREE), _networks(form), form.get("agent", "")
        try:
            made = await actions.add(site, _by(request), name, tier, networks, is_admin=is_admin, agent=agent)
        except ConfigError as error:  # all else was looked at: somebody has one of the networks
            errors = {"networks": error.diagnostics()}
        else:
            return _show_token(request, name, *made[1:])
    return await _render_consumers(request, form, errors, 400)


async def _show_consumer(request: Request) -> Response:
    entry = await _find(request)
    if entry is None:
        return _missing(request)
    kept = entry.consumer
    form = {"tier": kept.tier, "networks": "\n".join(kept.networks)} | ({"admin": "on"} if kept.is_admin else {})
    return _render_consumer(request, entry, form)


async def _change(request: Request) -> Response:
    form, entry = await read_form(request), await _find(request)
    if entry is None:
        return _missing(request)
    errors = _check(request, form)
    if not errors:
        name, tier, is_admin = entry.consumer.name, form.get("tier", FREE), "admin" in form
        try:
            await actions.change(site_of(request), _by(request), name, tier, _networks(form), is_admin)
        except ConfigError as error:
            errors = {"networks": error.diagnostics()}
        else:
            return redirect(request, f"{CONSUMERS}/{name}?said=changed")
    return _render_consumer(request, entry, form, errors, 400)


async def _issue(request: Request) -> Response:
    form, entry = await read_form(request), await _find(request)
    if entry is None:
        return _missing(request)
    name = entry.consumer.name
    try:
        token, agent = await actions.issue(site_of(request), _by(request), name, form.get("agent", ""))
    except ConfigError as error:
        kept = {"tier": entry.consumer.tier, "networks": "\n".join(entry.consumer.networks)} | form
        return _render_consumer(request, entry, kept, {"agent": error.diagnostics()}, 400)
    return _show_token(request, name, token, agent)


async def _revoke(request: Request) -> Response:
    form, entry = await read_form(request), await _find(request)
    if entry is None:
        return _missing(request)
    name, hint = entry.consumer.name, None if "all" in form else form.get("hint", "")
    hints = await actions.revoke(site_of(request), _by(request), name, hint)
    return redirect(request, f"{CONSUMERS}/{name}?said={'revoked' if hints else 'nothing'}")


async def _show_removal(request: Request) -> Response:
    entry = await _find(request)
    return _missing(request) if entry is None else render_page(request, "admin_remove.html", entry=_row(entry))


async def _remove(request: Request) -> Response:
    entry = await _find(request)
    if entry is None:
        return _missing(request)
    await actions.remove(site_of(request), _by(request), entry.consumer.name)
    return redirect(request, f"{CONSUMERS}?said=removed")


async def _show_takedowns(request: Request) -> Response:
    return await _render_takedowns(request)


async def _unblock(request: Request) -> Response:
    form = await read_form(request)
    try:
        lifted = await actions.unblock(site_of(request), _by(request), form.get("purl", ""))
    except RequestError as error:
        return await _render_takedowns(request, error.diagnostics(), 400)
    return redirect(request, f"{TAKEDOWNS}?said={'lifted' if lifted else 'absent'}")


async def _render_consumers(request: Request, form: Form, errors: Form | None = None, status: int = 200) -> Response:
    listed = [_row(entry) for entry in await actions.load_listed(site_of(request))]
    return render_page(
        request,
        "admin_consumers.html",
        status=status,
        consumers=listed,
        tiers=actions.list_tiers(site_of(request).config),
        form=dict(form),
        errors=errors or {},
        said=_said(request),
    )


def _render_consumer(
    request: Request, entry: Listed, form: Form, errors: Form | None = None, status: int = 200
) -> Response:
    return render_page(
        request,
        "admin_consumer.html",
        status=status,
        entry=_row(entry),
        tiers=actions.list_tiers(site_of(request).config),
        form=dict(form),
        errors=errors or {},
        said=_said(request),
    )


def _show_token(request: Request, name: str, token: str, agent: str) -> Response:
    """The only page that a token is on. It is not kept: it has no address of its own."""
    return render_page(request, "admin_token.html", status=201, name=name, token=token, agent=agent)


async def _render_takedowns(request: Request, error: str = "", status: int = 200) -> Response:
    blocks = [
        {
            "purl": actions.purl_of(entry),
            "filename": entry.filename,
            "upstream": entry.upstream,
            "reason": entry.reason,
            "evidence": entry.evidence,
            "seen": render_moment(entry.seen_at),
        }
        for entry in await actions.load_blocks(site_of(request))
    ]
    return render_page(request, "admin_takedowns.html", status=status, blocks=blocks, error=error, said=_said(request))


def render_moment(seconds: float) -> str:
    """`2026-11-21 22:10 UTC` of seconds since 1970."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _row(entry: Listed) -> dict[str, Any]:
    """What a page shows of a consumer."""
    kept = entry.consumer
    tokens = [
        {
            "hint": token.hint,
            "made": render_moment(token.created_at),
            "revoked": "" if token.revoked_at is None else render_moment(token.revoked_at),
            "agent": token.agent,
        }
        for token in entry.tokens
    ]
    return {
        "name": kept.name,
        "tier": kept.tier,
        "networks": kept.networks,
        "is_admin": kept.is_admin,
        "added": render_moment(kept.created_at),
        "tokens": tokens,
        "in_force": sum(not token["revoked"] for token in tokens),
    }


def _check(request: Request, form: Form) -> dict[str, str]:
    """What is wrong with the fields, by their names."""
    errors: dict[str, str] = {}
    tiers = actions.list_tiers(site_of(request).config)
    if (tier := form.get("tier", FREE)) not in tiers:
        errors["tier"] = f"There is no tier {tier!r}. There are: {', '.join(tiers)}."
    for name, check in (("networks", lambda: parse_networks(_networks(form))), ("agent", lambda: _agent(form))):
        try:
            check()
        except MainstayError as error:
            errors[name] = error.diagnostics()
    return errors


async def _check_new_name(request: Request, name: str) -> dict[str, str]:
    try:
        check_name(name)
    except ConfigError as error:
        return {"name": error.diagnostics()}
    taken = await actions.find_listed(site_of(request), name) is not None
    return {"name": f"There is a consumer {name} already."} if taken else {}


def _agent(form: Form) -> str:
    return parse_agent(form["agent"]) if form.get("agent", "").strip() else ""


def _networks(form: Form) -> list[str]:
    """One in a line, or with blanks or commas between."""
    return form.get("networks", "").replace(",", " ").split()


async def _find(request: Request) -> Listed | None:
    return await actions.find_listed(site_of(request), request.path_params["name"])


def _missing(request: Request) -> Response:
    words = f"There is no consumer {request.path_params['name']!r}. It may have been removed."
    return render_page(request, "admin_refused.html", status=404, words=words)


def _by(request: Request) -> str:
    name: str = request.state.viewer.name
    return name


def _said(request: Request) -> str:
    return SAID.get(request.query_params.get("said", ""), "")
