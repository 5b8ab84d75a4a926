"""Write what the documentation takes from the program: docs/configuration.md, `--help` blocks, the table of clients.

Run by `make docs`; the architecture tests fail where a page is not what this writes. A help block is a fenced block
below a line `<!-- help: mainstay run -->`, the table stands between `<!-- clients -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import os
import re
import subprocess
import sys
import types
import typing
from pathlib import Path

import msgspec

from mainstay import config, settings
from mainstay.ecosystems import ecosystems
from mainstay.intercept.variables import CLIENTS, Value

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "docs" / "configuration.md"
HELP_BLOCK = re.compile(r"(<!-- help: (mainstay[a-z -]*) -->\n```text\n)(.*?)(```)", re.DOTALL)
CLIENT_TABLE = re.compile(r"(<!-- clients -->\n).*?(<!-- end -->)", re.DOTALL)
VALUES = {
    Value.PROXY: "the proxy",
    Value.NO_PROXY: "loopback and the entries kept",
    Value.BUNDLE: "the bundle",
    Value.NODE_EXTRA: "yours and the run's authority",
    Value.NPM_CAFILE: "your cafile and the run's authority, only where you have one",
    Value.YARN_CAFILE: "your file and the run's authority, only where you have one",
    Value.WGETRC: "a file that includes yours and names the bundle",
    Value.JVM_OPTIONS: "yours, with proxy and trust store appended",
    Value.ONE: "1",
}
NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}

INTRODUCTION = """\
# Configuration

Made by `make docs` from `src/mainstay/config.py`.

No file is needed: every setting has a default. Where several places set one, the later in this list wins: the built-in
default, the file named by `--config`, an environment variable, a flag of the command. Tables merge; single values and
lists replace. An unknown key, or a value that is not allowed, stops the program with exit code 2 and a message that
names the key, the value and what is allowed.

Sizes are texts such as `"20 GB"` (decimal) or `"512 MiB"` (binary). Times are in seconds, as the `_s` says.
"""


def documents() -> list[Path]:
    """Every page that may hold a help block."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def render_help(command: str) -> str:
    """What `command --help` prints on a terminal of 100 columns without colour."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("MAINSTAY_", "FORCE_", "TTY_"))}
    environ |= {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    words = command.split()[1:]
    done = subprocess.run(
        [Path(sys.executable).with_name("mainstay"), *words, "--help"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines()) + "\n"


def render_page(text: str) -> str:
    """`text` with each help block and the table of clients replaced by what the program says now."""
    text = HELP_BLOCK.sub(lambda match: match[1] + render_help(match[2].strip()) + match[4], text)
    return CLIENT_TABLE.sub(lambda match: match[1] + render_clients() + match[2], text)


def render_clients() -> str:
    """The variables that `mainstay run` sets, by client."""
    lines = ["| client | variables |", "| --- | --- |"]
    for client in CLIENTS:
        groups: dict[Value, list[str]] = {}
        for name, value in client.variables.items():
            groups.setdefault(value, []).append(f"`{name}`")
        cell = "; ".join(f"{', '.join(names)} = {VALUES[value]}" for value, names in groups.items())
        lines.append(f"| {client.name} | {cell} |")
    return "\n".join(lines) + "\n"


def render_configuration() -> str:
    """The whole of docs/configuration.md."""
    pages = [INTRODUCTION, _section(config.Config, "Top level", "MAINSTAY_")]
    for field in msgspec.structs.fields(config.Config):
        if _is_section(field.type):
            prefix = f"MAINSTAY_{field.name.upper()}__"
            pages.append(_section(field.type, f"`[{field.name}]`", prefix))
    names = ", ".join(f"`{name}`" for name in ecosystems())
    pages.append(
        _section(config.TierSetting, "`[tiers.NAME]`", "MAINSTAY_TIERS__NAME__")
        + "\n`NAME` is a word of your own in lower case; [tiers.md](tiers.md) says what tiers are for.\n"
    )
    pages.append(
        _section(config.EcosystemSetting, "`[ecosystems.NAME]`", "MAINSTAY_ECOSYSTEMS__NAME__")
        + f"\n`NAME` is the ecosystem's purl type. This version serves {names}.\n"
    )
    pages.append(_section(config.UpstreamSetting, "`[[ecosystems.NAME.upstream]]`", ""))
    return "\n".join(pages)


def _section(kind: type[msgspec.Struct], heading: str, prefix: str) -> str:
    doc = inspect.getdoc(kind) or ""
    meaning = _attribute_docstrings(kind)
    lines = [
        f"## {heading}",
        "",
        doc,
        "",
        "| key | kind | default | environment | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for field in msgspec.structs.fields(kind):
        if _is_section(field.type) or typing.get_origin(field.type) is dict:
            continue
        variable = f"`{name}`" if (name := _variable(prefix, field.name)) else ""
        lines.append(
            f"| `{field.encode_name}` | {_kind(field.type)} | {_default(field)} | {variable} | {meaning[field.name]} |"
        )
    return "\n".join(lines) + "\n"


def _variable(prefix: str, name: str) -> str:
    """The environment variable that sets a key, "" where the program reads none."""
    variable = f"{prefix}{name.upper()}"
    return variable if prefix and settings._from_environ({variable: "x"}) else ""


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, config.Section)


def _attribute_docstrings(kind: type) -> dict[str, str]:
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    found = {}
    for node, following in itertools.pairwise(body):
        documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and documented:
            found[node.target.id] = " ".join(str(following.value.value).split())
    return found


def _kind(kind: object) -> str:
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        base, *notes = typing.get_args(kind)
        meta = next(note for note in notes if isinstance(note, msgspec.Meta))
        limits = [f"{word} {value:g}" for word, value in (("from", meta.ge), ("to", meta.le)) if value is not None]
        return " ".join([_kind(base), *limits])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_kind(part) for part in typing.get_args(kind))
    if origin is tuple:
        inner = typing.get_args(kind)[0]
        return "list of tables" if _is_section(inner) else f"list of {_kind(inner)}s"
    return NAMES[kind]  # type: ignore[index]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.NODEFAULT:
        return "required"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{msgspec.json.encode(value).decode()}`"


def main() -> None:
    """Write the pages that are not current, and name them."""
    wanted = {path: render_page(path.read_text("utf-8")) for path in documents() if path != CONFIGURATION}
    wanted[CONFIGURATION] = render_configuration()
    for path, text in wanted.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
