"""The upstreams of each ecosystem, in the order in which they are asked, and the table from their URLs to our paths."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mainstay.config import UpstreamSetting
from mainstay.ecosystems.base import Ecosystem, PrivateNames
from mainstay.errors import ConfigError, NotFound
from mainstay.upstream.addresses import host_and_port, origin_of


@dataclass(frozen=True, slots=True)
class Upstream:
    """One registry. `bases` maps each role to its base URL; `why` says where the address came from."""

    ecosystem: Ecosystem
    url: str
    bases: Mapping[str, str]
    namespaces: tuple[str, ...] = ()
    private: bool = False
    authorization: str = field(default="", repr=False)
    why: str = "mainstay.toml"

    @property
    def id(self) -> str:
        """A stable name for stored things: the address without credentials."""
        return _stable_name(self.url)

    @property
    def host(self) -> str:
        """The host that the operator chose, and that is therefore never refused as internal."""
        return urlsplit(self.url).hostname or ""

    def base(self, role: str) -> str:
        """The base URL of a role.

        Raises:
            NotFound: this registry's address does not tell where it has such things.
        """
        if role not in self.bases:
            raise NotFound(f"{self.id} has no known place for this kind of document.")
        return self.bases[role]

    def claims(self, project: str) -> bool:
        """Whether `project` belongs to this upstream alone."""
        comparable = self.ecosystem.comparable
        return comparable(project) in PrivateNames(tuple(map(comparable, self.namespaces)))


@dataclass(frozen=True, slots=True)
class Place:
    """Where an upstream URL is at the gateway: the path below the ecosystem's mount, still percent-encoded."""

    upstream: Upstream
    role: str
    raw_path: str

    @property
    def path(self) -> str:
        """The decoded path, as adapters route it."""
        return unquote(self.raw_path)


class Registry:
    """All upstreams of all ecosystems. File hosts are learned while it runs; everything else is fixed."""

    def __init__(self, upstreams: Mapping[str, tuple[Upstream, ...]]) -> None:
        self._upstreams = {name: tuple(sorted(ups, key=_public_last)) for name, ups in upstreams.items()}
        self._bases: dict[str, tuple[Upstream, str]] = {}
        for upstream in self:
            for role, base in upstream.bases.items():
                self._bases.setdefault(base, (upstream, role))
        self._learned: set[str] = set()

    def __iter__(self) -> Iterator[Upstream]:
        for upstreams in self._upstreams.values():
            yield from upstreams

    def of(self, ecosystem: str) -> tuple[Upstream, ...]:
        """The upstreams of one ecosystem, private before public."""
        return self._upstreams.get(ecosystem, ())

    def for_project(self, ecosystem: str, project: str) -> tuple[Upstream, ...]:
        """The upstreams that may be asked for `project`, in order.

        A claimed name goes to the upstream that claims it and to no other, in any kind of request. An upstream with
        namespaces is not asked for other names.
        """
        upstreams = self.of(ecosystem)
        claiming = tuple(upstream for upstream in upstreams if upstream.claims(project))
        return claiming[:1] or tuple(upstream for upstream in upstreams if not upstream.namespaces)

    def claimed(self, ecosystem: str, names: tuple[str, ...]) -> str:
        """The first of `names` that belongs to an upstream of its own, or ""."""
        return next((name for name in names if any(upstream.claims(name) for upstream in self.of(ecosystem))), "")

    def private_names(self, ecosystem: str, asked: Upstream) -> PrivateNames:
        """The names that must not be sent to `asked`, because another upstream claims them."""
        return PrivateNames(
            tuple(name for upstream in self.of(ecosystem) if upstream is not asked for name in upstream.namespaces)
        )

    def learn(self, base: str, upstream: Upstream, role: str | None = None) -> bool:
        """Note where an upstream has a role: its learned one unless another is named, which may be a place inside one
        that is known to be its own. True where it is new."""
        inside = {owner.id for known, (owner, _) in self._bases.items() if base.startswith(known)}
        allowed = inside <= {upstream.id} if role else not inside
        role = role or upstream.ecosystem.learned_role
        if role is None or base in self._bases or not allowed:
            return False
        self._bases[base] = (upstream, role)
        self._learned.add(base)
        return True

    def learned(self, upstream: Upstream) -> list[str]:
        """The file hosts learned for an upstream."""
        return [base for base in self._learned if self._bases[base] == (upstream, upstream.ecosystem.learned_role)]

    def base(self, upstream: Upstream, role: str) -> str:
        """The base URL of a role, configured or learned.

        Raises:
            NotFound: neither tells where this registry has such things.
        """
        if role not in upstream.bases:
            for base, known in self._bases.items():
                if known == (upstream, role):
                    return base
        return upstream.base(role)

    def locate(self, url: str) -> Place | None:
        """The place of an upstream URL (scheme, host, path; no query): the longest base that fits."""
        base = max((base for base in self._bases if url.startswith(base)), key=len, default=None)
        if base is None:
            return None
        upstream, role = self._bases[base]
        return Place(upstream, role, upstream.ecosystem.roles[role] + url[len(base) :])

    def hosts(self) -> set[tuple[str, int]]:
        """Every host and port that is answered for."""
        return {host_and_port(base) for base in self._bases}

    def table(self) -> list[dict[str, object]]:
        """The route table that `run --gateway` asks for (`/api/v1/upstreams`)."""
        return [
            {
                "ecosystem": upstream.ecosystem.id,
                "upstream": upstream.id,
                "why": upstream.why,
                "private": upstream.private,
                "bases": [
                    {"url": base, "path": f"/{upstream.ecosystem.mount}/{upstream.ecosystem.roles[role]}"}
                    for base, (owner, role) in self._bases.items()
                    if owner is upstream
                ],
                "learns": _learns(upstream),
            }
            for upstream in self
        ]


def build_upstream(ecosystem: Ecosystem, setting: UpstreamSetting, why: str) -> Upstream:
    """An upstream from its setting, credentials read and out of the URL.

    Raises:
        ConfigError: a credential's file or variable is missing.
    """
    parts = urlsplit(setting.url)
    path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
    url = f"{origin_of(setting.url)}{path}"
    return Upstream(
        ecosystem,
        url,
        ecosystem.bases(url),
        setting.namespaces,
        setting.private,
        _authorization(setting, ecosystem.authorization_scheme),
        why,
    )


def storage_key(*parts: str) -> str:
    """A file-name-safe key for what is stored under `parts`."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:40]


def _public_last(upstream: Upstream) -> bool:
    return not (upstream.private or upstream.namespaces)


def _learns(upstream: Upstream) -> str | None:
    ecosystem = upstream.ecosystem
    return f"/{ecosystem.mount}/{ecosystem.roles[ecosystem.learned_role]}" if ecosystem.learned_role else None


def _authorization(setting: UpstreamSetting, authorization_scheme: str) -> str:
    token = _secret(setting.token_env, setting.token_file, setting.url)
    if token:
        return f"{authorization_scheme} {token}".lstrip()
    parts = urlsplit(setting.url)
    user = setting.username or unquote(parts.username or "")
    password = _secret(setting.password_env, setting.password_file, setting.url) or unquote(parts.password or "")
    if not user and not password:
        return ""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _secret(variable: str, path: str, url: str) -> str:
    where = origin_of(url)
    if variable:
        if variable not in os.environ:
            raise ConfigError(f"the credential of upstream {where} is missing: {variable} is not set.")
        return os.environ[variable].strip()
    if path:
        try:
            return Path(path).expanduser().read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the credential of upstream {where} cannot be read from {path}: {error}.") from error
    return ""


@lru_cache(maxsize=1024)
def _stable_name(url: str) -> str:
    return f"{origin_of(url)}{urlsplit(url).path}"
