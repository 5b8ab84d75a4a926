"""The JSON API below /api/v1: one table, of which both the routes and their description are made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from mainstay.errors import BodyTooLarge, MainstayError, RequestError
from mainstay.telemetry.log import get_logger
from mainstay.web import api_answers, api_changes
from mainstay.web import api_documents as documents
from mainstay.web.api_problem import RETRY_AFTER, render_error, render_problem
from mainstay.web.auth import FORM_BYTES
from mainstay.web.openapi import API_ROOT, Asked, Asking, Operation, render_openapi

RETRY_AFTER_S = 10
_log = get_logger("mainstay.web")
_ONE = "/consumers/{name}"


async def _tell_openapi(asked: Asked) -> Response:
    top = asked.request.scope.get("mainstay.prefix", "") or "/"
    return api_answers.render_json_reply(render_openapi(OPERATIONS, documents.SCHEMAS, top))


OPERATIONS = (
    Operation(
        "GET",
        "/usage/summary",
        "Requests, bytes, hits, cost upstream and redundant bytes",
        "Summary",
        api_answers.tell_summary,
        query=documents.SummaryQuery,
    ),
    Operation(
        "GET",
        "/usage/waste",
        "What was fetched in vain, and what would end it",
        "Waste",
        api_answers.tell_waste,
        query=documents.WasteQuery,
    ),
    Operation(
        "GET",
        "/usage/statement",
        "A fair share of the registries' costs",
        "Statement",
        api_answers.tell_statement,
        query=documents.StatementQuery,
    ),
    Operation(
        "GET",
        "/usage/publisher",
        "Downloads by class, small groups withheld",
        "Publisher",
        api_answers.tell_publisher,
        query=documents.PublisherQuery,
    ),
    Operation("GET", "/today", "The counters of the day", "Today", api_answers.tell_today),
    Operation("GET", "/health", "How the gateway is", "Health", api_answers.tell_health),
    Operation("GET", "/consumers", "Who has a name here", "Consumers", api_changes.list_consumers),
    Operation(
        "POST",
        "/consumers",
        "Add a consumer; its first token is shown only now",
        "AddedConsumer",
        api_changes.add_consumer,
        body=documents.NewConsumer,
        status=201,
        is_change=True,
        refusals=(400, 409),
    ),
    Operation("GET", _ONE, "One consumer", "Consumer", api_changes.show_consumer, refusals=(404,)),
    Operation(
        "PATCH",
        _ONE,
        "Change a consumer",
        "ChangedConsumer",
        api_changes.change_consumer,
        body=documents.ConsumerChange,
        is_change=True,
        refusals=(400, 404),
    ),
    Operation(
        "DELETE",
        _ONE,
        "Remove a consumer and revoke its tokens",
        "Revoked",
        api_changes.remove_consumer,
        is_change=True,
        refusals=(404,),
    ),
    Operation(
        "POST",
        f"{_ONE}/tokens",
        "Another token, which is shown only now",
        "IssuedToken",
        api_changes.add_token,
        body=documents.NewToken,
        status=201,
        is_change=True,
        refusals=(400, 404),
    ),
    Operation(
        "DELETE",
        f"{_ONE}/tokens",
        "Revoke all tokens of a consumer",
        "Revoked",
        api_changes.revoke_tokens,
        is_change=True,
        refusals=(404,),
    ),
    Operation(
        "DELETE",
        f"{_ONE}/tokens/{{hint}}",
        "Revoke the token that begins so",
        "Revoked",
        api_changes.revoke_tokens,
        is_change=True,
        refusals=(404,),
    ),
    Operation("GET", "/takedowns", "What upstream took away and is refused", "Takedowns", api_changes.list_takedowns),
    Operation(
        "POST",
        "/takedowns/unblock",
        "Lift the block on a release",
        "Unblocked",
        api_changes.unblock,
        body=documents.Unblocking,
        is_change=True,
        refusals=(400, 404),
    ),
    Operation("GET", "/upstreams", "Where what is fetched from", "Upstreams", None),
    Operation("GET", "/openapi.json", "This document", "OpenApi", _tell_openapi),
)


def api_routes() -> list[BaseRoute]:
    """The API, and problem documents for every other path below it."""
    by_path: dict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in OPERATIONS:
        if operation.answer is not None:
            by_path[operation.path][operation.method] = operation
    found = [Route(API_ROOT + path, _Resource(methods)) for path, methods in by_path.items()]
    return [*found, Route("/api", _Resource({})), Route("/api/{rest:path}", _Resource({}))]


class _Resource:
    """One path: the operation of the request's method, or what is wrong with the request."""

    def __init__(self, operations: dict[str, Operation]) -> None:
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application, which Starlette hands every method."""
        request = Request(scope, receive)
        reply = await self._answer(request)
        await reply(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        operation = self._operations.get("GET" if request.method == "HEAD" else request.method)
        if not self._operations:
            return render_problem(404, f"There is nothing here. See {API_ROOT}/openapi.json for what there is.")
        if operation is None or operation.answer is None:
            allowed = ", ".join(self._operations)
            return render_problem(405, f"{request.method} is refused here. Allowed: {allowed}.", {"allow": allowed})
        try:
            return await operation.answer(Asked(request, _query(request, operation), await _body(request, operation)))
        except TimeoutError:
            words = (
                "There is more to add up than a minute is enough for, or others wait for the same machine. Try again."
            )
            return render_problem(503, words, {RETRY_AFTER: str(RETRY_AFTER_S)})
        except MainstayError as error:
            reply = render_error(error)
            if reply.status_code >= 500:
                _log.error("a question could not be answered", path=request.scope["path"], reason=error.diagnostics())
            return reply


def _query(request: Request, operation: Operation) -> Asking | None:
    """Raise RequestError for what is not described."""
    given = request.query_params
    if twice := next((name for name in given if len(given.getlist(name)) > 1), ""):
        raise RequestError(f"{twice} is given twice.", hint="Give it once, with commas between several values.")
    if operation.query is None:
        if given:
            raise RequestError(f"{next(iter(given))} is not taken here.", hint=f"See {API_ROOT}/openapi.json.")
        return None
    return _converted(lambda kind: msgspec.convert(dict(given), kind, strict=False), operation.query)


async def _body(request: Request, operation: Operation) -> Asking | None:
    """Raise RequestError, or BodyTooLarge, for what is not described."""
    if operation.body is None:
        return None
    body = await request.body()
    if len(body) > FORM_BYTES:
        raise BodyTooLarge(f"The body is larger than {FORM_BYTES} bytes.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise RequestError("The body is to be JSON.", hint="Say so: Content-Type: application/json.")
    return _converted(lambda kind: msgspec.json.decode(body, type=kind), operation.body)


def _converted(convert: Callable[[type[Asking]], Asking], kind: type[Asking]) -> Asking:
    try:
        return convert(kind)
    except msgspec.MsgspecError as error:
        raise RequestError(f"{error}.", hint=f"See {API_ROOT}/openapi.json.") from None
