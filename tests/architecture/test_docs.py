"""What the documentation says is so."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from functools import cache
from types import ModuleType

import msgspec
import pytest
import typer

from architecture.tree import ROOT, modules, page, pages, texts
from mainstay import model
from mainstay.config import Config, Section
from mainstay.ecosystems import ecosystems
from mainstay.gateway.record import Entry
from mainstay.settings import load_config

COMMAND = re.compile(r"(?<![\w./-])mainstay ([a-z]+)\b(?! (?:is|has|does|was)\b)")
COMMAND_LINE = re.compile(r"(?<![\w./-])mainstay ([a-z]+)\b([^\n]*)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
TOML = re.compile(r"```toml\n(.*?)```", re.DOTALL)
CODE = re.compile(
    r"```(?:sh|toml|dockerfile)\n(.*?)```|^    (?!\s*[-|])([^\n]*)$|`([^`\n]+)`", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\[[^\]]+\]\((?!\w+:)([^)#]+)")
ALIASES = {"Resource", "Keep", "Link"}
TERM = re.compile(r"\*\*([^*]+)\*\*")


@cache
def generator() -> ModuleType:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def flags(name: str, rest: str) -> frozenset[str]:
    """What a command of the program takes; of a group, what the command takes that `rest` begins with."""
    from mainstay.cli import app

    command = typer.main.get_command(app).commands[name]
    command = getattr(command, "commands", {}).get(next(iter(rest.split()), ""), command)
    taken = (flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts))
    return frozenset(taken) | {"--help"}


@cache
def commands() -> dict[str, bool]:
    """The program's commands, those of a group by both words, and whether each is shown in its help."""
    from mainstay.cli import app

    shown = {}
    for name, command in typer.main.get_command(app).commands.items():
        shown[name] = not command.hidden
        below = getattr(command, "commands", {})
        shown |= {f"{name} {part}": shown[name] and not entry.hidden for part, entry in below.items()}
    return shown


def code(text: str) -> list[str]:
    """The code of a page: shell and configuration blocks, indented lines, spans. Drawings and help blocks are not."""
    return ["".join(match.groups(default="")) for match in CODE.finditer(text)]


def test_the_configuration_page_is_current():
    """docs/configuration.md is what `make docs` writes, so it has every setting with its docstring."""
    assert page("docs/configuration.md") == generator().render_configuration()


@pytest.mark.parametrize("name", [name for name, _ in pages()])
def test_what_a_page_takes_from_the_program_is_current(name):
    """A copy of --help, or the table of clients, equals what the program says."""
    assert page(name) == generator().render_page(page(name))


def test_every_command_has_a_help_block():
    """docs/commands.md shows the help of the program and of each command."""
    shown = set(re.findall(r"<!-- help: (mainstay[a-z -]*) -->", page("docs/commands.md")))
    visible = {f"mainstay {name}" for name, visible in commands().items() if visible}
    assert shown == visible | {"mainstay"}


def test_every_documented_command_exists():
    """No page tells to type a command that the program does not have."""
    named = {(name, word) for name, text in pages() for part in code(text) for word in COMMAND.findall(part)}
    assert named
    assert not {f"{name}: mainstay {word}" for name, word in named if word not in commands()}
    groups = {name.partition(" ")[0] for name in commands() if " " in name}
    below = {
        (name, f"{match[1]} {word}")
        for name, text in pages()
        for part in code(text)
        for match in COMMAND_LINE.finditer(part)
        for word in re.findall(r"^ ([a-z]+)\b", match[2])
        if match[1] in groups
    }
    assert not [entry for entry in below if entry[1] not in commands()]


def test_every_documented_flag_exists():
    """No page tells to give a command a flag that it does not have; what stands after -- is somebody else's."""
    given = [
        (name, match[1], match[2], flag)
        for name, text in pages()
        for part in code(text)
        for match in COMMAND_LINE.finditer(part)
        for flag in FLAG.findall(match[2].partition(" -- ")[0])
    ]
    assert given
    assert not [entry for entry in given if entry[3] not in flags(entry[1], entry[2])]


def test_every_configuration_in_the_pages_is_accepted():
    """What a page gives to copy into mainstay.toml is read without a complaint."""
    found = [(name, block) for name, text in pages() for block in TOML.findall(text)]
    assert found
    for name, block in found:
        tree = tomllib.loads(block)
        assert load_config(None, {}, tree, tuple(ecosystems())) != Config(), name


def test_every_setting_that_a_page_names_exists():
    """`cache.size` and the like in running text, and each MAINSTAY_ variable."""
    known = {
        f"{table.name}.{field.name}"
        for table in msgspec.structs.fields(Config)
        if isinstance(table.type, type) and issubclass(table.type, Section)
        for field in msgspec.structs.fields(table.type)
    }
    tables = "|".join({key.partition(".")[0] for key in known})
    named = {(name, key) for name, text in pages() for key in re.findall(rf"`((?:{tables})\.[a-z_]+)`", text)}
    assert named
    assert not [entry for entry in named if entry[1] not in known]
    read = "\n".join(module.text for module in modules())
    variables = {(name, word) for name, text in pages() for word in re.findall(r"\bMAINSTAY_[A-Z_]+\b", text)}
    plain = [entry for entry in variables if "__" not in entry[1]]
    assert plain
    assert not [entry for entry in plain if f'"{entry[1]}"' not in read]


def test_every_make_target_in_the_pages_exists():
    """No page tells to make a target that the Makefile does not have."""
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    named = {word for _, text in pages() for part in code(text) for word in re.findall(r"\bmake ([a-z-]+)", part)}
    assert named <= targets


def test_the_readme_has_two_commands_first():
    """The first block of the README is `make run` and `make test`, and nothing else."""
    block = re.search(r"(?:^    .*\n)+", page("README.md"), re.MULTILINE)
    assert block
    assert [line.split("#")[0].strip() for line in block[0].splitlines()] == ["make run", "make test"]


def test_links_between_pages_lead_somewhere():
    """Every relative link names a file of the project."""
    listed = {name for name, _ in texts()}
    broken = [
        f"{name}: {target}"
        for name, text in pages()
        for target in LINK.findall(text)
        if (ROOT / name).parent.joinpath(target).resolve().relative_to(ROOT).as_posix() not in listed
    ]
    assert not broken


def test_every_metric_is_documented():
    """docs/operate.md has each metric that the program counts, and no other."""
    script = "from mainstay.telemetry.metrics import Metrics; print(Metrics().render().decode())"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    counted = set(re.findall(r"^# TYPE (mainstay_[a-z_]+) ", shown, re.MULTILINE))
    documented = set(re.findall(r"^\| `(mainstay_[a-z_]+)` \|", page("docs/operate.md"), re.MULTILINE))
    assert documented == counted


def test_every_field_of_the_access_log_is_documented():
    """docs/operate.md has each field of a line of access.jsonl, and no other."""
    table = page("docs/operate.md").partition("| field | what |")[2].partition("\n\n")[0]
    documented = {
        name for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert documented == set(Entry.__struct_fields__)


def test_every_type_of_the_model_is_in_the_glossary():
    """The public names of model.py are explained."""
    public = {
        name
        for name, value in vars(model).items()
        if not name.startswith("_") and (getattr(value, "__module__", "") == model.__name__ or name in ALIASES)
    }
    missing = {name for name in public if not re.search(rf"`(?:Listing\.)?{name}`", page("GLOSSARY.md"))}
    assert not missing


def test_every_glossary_term_is_used():
    """A word that nothing uses is not one of ours."""
    used = "\n".join(
        text.lower() for name, text in texts() if name != "GLOSSARY.md" and name.endswith((".py", ".md", ".toml"))
    )
    terms = set(TERM.findall(page("GLOSSARY.md")))
    assert terms
    assert not {term for term in terms if term.lower() not in used}


def test_every_public_setting_type_has_words():
    """Each table of the configuration says what it is about."""
    from mainstay import config

    tables = [value for value in vars(config).values() if inspect.isclass(value) and issubclass(value, config.Section)]
    assert tables
    assert not [table.__name__ for table in tables if not (table.__doc__ or "").strip()]
