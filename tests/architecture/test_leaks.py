"""What must not be in the tree: ecosystem names outside their file, registry hosts, places of one machine, secrets."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

import pytest

from architecture.tree import constants, modules, texts
from mainstay.ecosystems import ecosystems

# The hosts of the registries that the common package managers use, and of their file hosts: the first 16 hex digits of
# the SHA-256 of each name, so that this file names none.
HOSTS = frozenset(
    """
    00a7dc5a0cc38858 04280276b5029dca 095fbbaf0076d564 0dc11026ac75c015 14fb6ad5957bf8d7
    1ba4e37997a2e986 2e97613f5a81eaa4 317d2d52829b7812 3ca29e55be4befa4 3d01f3609be82d98
    43c04ed1dabe979b 46db5af0501d6cc5 5cd04dc6512f5c57 70bb4000cd2fab03 8743857e3ea00fd1
    8b5bb5eb9d758455 9495278a74715c7e 96bf57e26bd82cf0 9ab2ad663f3d2a5e 9da5f32d96412512
    a4aa2ac280bb8d1a aa924a6f6c848636 bb4897481ebc8b10 c2b35955576ffa71 c899567ee9068517
    e680c440a2e92079 eb7e11c7f9ecbcf4 fc5e22f6bb3caa4e
    """.split()
)
DOTTED = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+")
PLACE = re.compile(r"(?<![\w.~$}\]*/-])/(?:work|root|home/\w+|Users/\w+|mnt|media)(?:/|\b)")
SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}|\bgh[pousr]_[A-Za-z0-9]{30}|\bAKIA[0-9A-Z]{16}\b"
)
FORBIDDEN_NAMES = re.compile(r"(?:^|/)_?(?:utils?|helpers?|common|managers?|misc)(?:\.py|/)")


def is_registry_host(word: str) -> bool:
    """Whether the dotted word, or a parent domain of it, is a registry's host."""
    parts = word.lower().split(".")
    tails = (".".join(parts[start:]) for start in range(len(parts) - 1))
    return any(hashlib.sha256(tail.encode()).hexdigest()[:16] in HOSTS for tail in tails)


def matches(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern is found in the project's files, as `file:line: text`."""
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in texts()
        for match in pattern.finditer(text)
    ]


def test_no_file_names_a_registry_host():
    """The registries' addresses are found at run time and written nowhere."""
    words = {match[0] for _, text in texts() for match in DOTTED.finditer(text)}
    named = {word for word in words if is_registry_host(word)}
    assert not [place for place in matches(DOTTED) if place.rpartition(": ")[2] in named]


@pytest.mark.parametrize("ecosystem", sorted(ecosystems()))
def test_the_list_of_registry_hosts_knows_the_defaults(ecosystem):
    """A default upstream that the list of hashes lacks would slip through the check above."""
    upstream = ecosystems()[ecosystem].default_upstream()
    assert not upstream or is_registry_host(urlsplit(upstream).hostname or "")


def test_an_ecosystem_is_named_in_its_own_file_only():
    """No string in the program is an ecosystem's id or mount, or holds it as a part of a path or a purl."""
    found = []
    for adapter in ecosystems().values():
        names = "|".join(re.escape(name) for name in {adapter.id, adapter.mount})
        # A folder such as `.name` is a client's own, whatever the ecosystem is called.
        whole_or_part = re.compile(rf"(?:^|[/:\[]|(?<=\w)\.){'(?:' + names + ')'}(?:$|[/@.\]])")
        own = re.compile(rf"ecosystems/_?{re.escape(adapter.id)}(?:_\w+)?\.py")
        found += [
            f"{module.name}:{line}: {value!r}"
            for module in modules()
            if not own.fullmatch(module.name)
            for line, value in constants(module.tree)
            if whole_or_part.search(value)
        ]
    assert not found


def test_no_file_names_a_place_of_one_machine():
    """No absolute path of somebody's checkout or home folder is written anywhere."""
    assert not [place for place in matches(PLACE) if not place.startswith("tests/architecture/test_leaks.py:")]


def test_no_file_holds_a_secret():
    """No private key or access token is written anywhere."""
    assert not matches(SECRET)


def test_no_module_has_a_name_that_says_nothing():
    """utils, helpers, common and manager hide what a module is about."""
    assert not [name for name, _ in texts() if name.endswith(".py") and FORBIDDEN_NAMES.search(name)]
