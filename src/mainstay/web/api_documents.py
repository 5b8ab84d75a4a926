"""What the JSON API takes and gives: the fields of requests, and the schemas of answers (JSON Schema 2020-12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from mainstay.usage.publisher import APART, COUNTED
from mainstay.usage.question import MEASURES
from mainstay.web.figures import SUMS
from mainstay.web.openapi import Asking, Schema

ROWS = 1000
MOST_ROWS = 10_000

Since = Annotated[str, Meta(description='First day, within (UTC), as 2026-01-31; or "7 days". Default: 30 days.')]
Until = Annotated[str, Meta(description="Last day, within (UTC). Default: today.")]
Rows = Annotated[int, Meta(ge=1, le=MOST_ROWS, description="Most rows; the largest come first.")]
Name = Annotated[str, Meta(description="1 to 64 letters, digits, dots, dashes and underscores.", max_length=64)]
Tier = Annotated[str, Meta(description="One of the settings' tiers.")]
Networks = Annotated[tuple[str, ...], Meta(description="In CIDR notation: who calls from there is the consumer.")]
Admin = Annotated[bool, Meta(description="Whether its tokens may change things.")]
Agent = Annotated[str, Meta(description="The coding agent that the token is for, one plain word; empty for none.")]


class SummaryQuery(Asking, frozen=True):
    """The question of a summary."""

    by: Annotated[str, Meta(description="What makes a row, with commas between: consumer, project, day ...")] = ""
    since: Since = ""
    until: Until = ""
    sort: Annotated[str, Meta(description="The figure by which the largest rows come first.")] = "bytes"
    limit: Rows = ROWS


class WasteQuery(Asking, frozen=True):
    """The period of findings."""

    since: Since = ""
    until: Until = ""
    limit: Rows = ROWS


class StatementQuery(Asking, frozen=True):
    """The period of a statement, and whose it is."""

    since: Since = ""
    until: Until = ""
    month: Annotated[str, Meta(description="A month as 2026-10, in the place of since and until.")] = ""
    consumer: Annotated[str, Meta(description="Of this consumer alone; empty for all.")] = ""
    currency: Annotated[str, Meta(description="USD, EUR, or another of the costs in force.")] = "USD"


class PublisherQuery(Asking, frozen=True):
    """Whose downloads, and how finely."""

    since: Since = ""
    until: Until = ""
    ecosystem: Annotated[str, Meta(description="Only this one; empty for all.")] = ""
    project: Annotated[str, Meta(description="Only this one, by the name that the tables have.")] = ""
    by: Annotated[str, Meta(description="Split projects by these, with commas between: version, day.")] = ""


class NewConsumer(Asking, frozen=True):
    """A consumer to add. Its first token is in the answer, and only there."""

    name: Name
    tier: Tier = "free"
    networks: Networks = ()
    admin: Admin = False
    agent: Agent = ""


class ConsumerChange(Asking, frozen=True):
    """What is to be different; what is left out or null stays."""

    tier: Tier | None = None
    networks: Networks | None = None
    admin: Admin | None = None


class NewToken(Asking, frozen=True):
    """A token to make."""

    agent: Agent = ""


class Unblocking(Asking, frozen=True):
    """A block to lift."""

    purl: Annotated[str, Meta(description="pkg:TYPE/NAME@VERSION; without @VERSION the whole project.")]


_TEXT, _WHOLE, _YES_OR_NO = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_PART: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_DAY = {"type": "string", "format": "date"}
_MOMENT = {"type": "string", "format": "date-time"}
_TEXTS = {"type": "array", "items": _TEXT}
_ANY = {"type": "object"}
_WITHHELD = {"type": ["integer", "null"]}
_OBJECTS = {"type": "array", "items": _ANY}
_SCHEMA = {"const": 1}


def _object(fields: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> dict[str, Any]:
    """All of `fields` are there, those of `optional` may be."""
    return {"type": "object", "properties": {**fields, **(optional or {})}, "required": list(fields)}


def _document(fields: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> dict[str, Any]:
    return _object({"schema": _SCHEMA, **fields}, optional)


def _list(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(name)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_FIGURES: dict[str, Schema] = {**dict.fromkeys(MEASURES, _WHOLE), "hit_rate": _PART}
_PERIOD = {"since": _DAY, "until": _DAY}
_CONSUMER = {"consumer": _TEXT, "tier": _TEXT, "admin": _YES_OR_NO}
_BESIDE = ("low", "high", "without", "saved")
_WASTED = dict.fromkeys(("requests", "bytes", "upstream_requests", "upstream_bytes"), _WHOLE)

SCHEMAS: dict[str, Schema] = {
    "Problem": _object({"type": _TEXT, "title": _TEXT, "status": _WHOLE, "detail": _TEXT}),
    "Figures": _object(_FIGURES),
    "Row": _object(_FIGURES) | {"additionalProperties": {"type": ["string", "integer", "boolean"]}},
    "Loss": _object(
        {"source": _TEXT, "reason": _TEXT, "events": _WHOLE, "size": _WHOLE, "seen_at": {"type": "number"}}
    ),
    "Summary": _document(
        {
            **_PERIOD,
            "engine": _TEXT,
            "by": _TEXTS,
            "rows": _list("Row"),
            "total": _ref("Figures"),
            "losses": _list("Loss"),
        }
    ),
    "Today": _document({"day": _DAY, "total": _object({name: _FIGURES[name] for name in (*SUMS, "hit_rate")})}),
    "Finding": _object(
        {
            **dict.fromkeys(("kind", "consumer", "client", "client_class", "ecosystem"), _TEXT),
            **_WASTED,
            **dict.fromkeys(("words", "change", "where"), _TEXT),
        }
    ),
    "WasteSum": _object({"findings": _WHOLE, **_WASTED}),
    "Waste": _document(
        {
            **_PERIOD,
            "engine": _TEXT,
            "findings": _list("Finding"),
            "more": _WHOLE,
            "totals": {"type": "object", "additionalProperties": _ref("WasteSum")},
            "small": {"type": "object", "additionalProperties": _ref("WasteSum")},
            "registries": _OBJECTS,
            "caches": _OBJECTS,
            "advice": {"type": ["object", "null"]},
            "losses": _list("Loss"),
        }
    ),
    "StatementLine": _object(
        {
            **dict.fromkeys(("consumer", "ecosystem", "upstream", "registry", "name", "sure", "basis"), _TEXT),
            **_WASTED,
            **dict.fromkeys(("amount_minor", *(f"{name}_minor" for name in _BESIDE)), _WHOLE),
            **dict.fromkeys(("gateway_upstream_requests", "gateway_upstream_bytes", "gateway_shared_by"), _WHOLE),
            **dict.fromkeys(("parts_minor", "formulas"), _ANY),
            "rows": _OBJECTS,
        }
    ),
    "Statement": _document(
        {
            **_PERIOD,
            "made": _DAY,
            "is_over": _YES_OR_NO,
            "consumer": _TEXT,
            "currency": _TEXT,
            "digits": _WHOLE,
            "command": _TEXT,
            **dict.fromkeys(("total_minor", "total_by_analogy_minor"), _WHOLE),
            **{f"total_{name}_minor": _WHOLE for name in _BESIDE},
            "lines": _list("StatementLine"),
            **dict.fromkeys(("consumers", "registries", "unpriced", "sources"), _OBJECTS),
            "costs_as_of": _TEXT,
            "losses": _list("Loss"),
        }
    ),
    "Downloads": _object(
        {
            **dict.fromkeys(("ecosystem", "project"), _TEXT),
            **dict.fromkeys(("downloads", *COUNTED, *APART, "consumers"), _WITHHELD),
        },
        {"version": _TEXT, "day": _DAY},
    ),
    "Publisher": _document(
        {
            **_PERIOD,
            "engine": _TEXT,
            "imported": _YES_OR_NO,
            "by": _TEXTS,
            "smallest_group": _WHOLE,
            "rows": _list("Downloads"),
            "losses": _list("Loss"),
        }
    ),
    "Token": _object({"hint": _TEXT, "created": _MOMENT, "revoked": {"type": ["string", "null"]}, "agent": _TEXT}),
    "Consumer": _object(
        {**_CONSUMER, "created": _MOMENT}, {"networks": _TEXTS, "tokens": _list("Token"), "schema": _SCHEMA}
    ),
    "Consumers": _document({"consumers": _list("Consumer")}),
    "ChangedConsumer": _document({**_CONSUMER, "networks": _TEXTS}),
    "AddedConsumer": _document({**_CONSUMER, "networks": _TEXTS, "token": _TEXT, "agent": _TEXT}),
    "IssuedToken": _document({"consumer": _TEXT, "token": _TEXT, "agent": _TEXT}),
    "Revoked": _document({"consumer": _TEXT, "revoked": _TEXTS}),
    "Takedown": _object(
        {
            **dict.fromkeys(("purl", "ecosystem", "upstream", "project", "version", "filename"), _TEXT),
            **dict.fromkeys(("reason", "evidence"), _TEXT),
            "seen": _MOMENT,
        }
    ),
    "Takedowns": _document({"takedowns": _list("Takedown")}),
    "Unblocked": _document({"purl": _TEXT, "lifted": _WHOLE}),
    "Health": _document(
        {
            "version": _TEXT,
            "workers": _WHOLE,
            "ledger": _object({"is_on": _YES_OR_NO, "keep_days": _WHOLE, "losses": _list("Loss")}),
            "store": _object({"bytes": _WHOLE, "budget_bytes": _WHOLE}),
            "takedowns": _WHOLE,
            "upstreams": {
                "type": "array",
                "items": _object({"ecosystem": _TEXT, "upstream": _TEXT, "why": _TEXT, "rest_s": {"type": "number"}}),
            },
        }
    ),
    "Upstreams": _document({"upstreams": _OBJECTS}),
    "OpenApi": _object({"openapi": _TEXT, "info": _ANY, "paths": _ANY}) | {"additionalProperties": True},
}
