"""A statement as one HTML page that is complete in itself: no script, nothing from elsewhere, made to be printed."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from mainstay.usage.statement import Statement
from mainstay.usage.statement_lines import ADDRESSES, GATEWAY, WITHOUT
from mainstay.usage.statement_money import render_money
from mainstay.usage.statement_render import rows_of
from mainstay.usage.statement_rows import PARTS
from mainstay.usage.tables import printable, size

if TYPE_CHECKING:
    from jinja2 import Template

_PARTS = {
    "traffic": "traffic",
    "requests": "requests",
    "fixed": "fixed",
    GATEWAY: "the gateway's own",
    WITHOUT: "without the gateway",
}
_UNITS = {"traffic": "byte from the registry", "requests": "request to the registry", "fixed": "reply"}


def render_statement_html(statement: Statement) -> str:
    """A whole document in UTF-8. Whatever is in a name, it is text there."""
    names = dict.fromkeys(row["consumer"] for row in statement.figures.rows)
    return _template().render(
        statement=statement,
        addresses=ADDRESSES,
        money=partial(render_money, digits=statement.digits),
        count="{:,}".format,
        size=size,
        parts=PARTS,
        part_names=_PARTS,
        units=_UNITS,
        gateway=GATEWAY,
        without=WITHOUT,
        rows_of=rows_of,
        others=list(names),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mainstay.usage"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("statement.html")


def _shown(value: object) -> object:
    """Words without signs that HTML does not allow; markup of the template itself is no plain string."""
    return printable(value.replace("\n", " ")) if type(value) is str else value
