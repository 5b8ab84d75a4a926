"""What the ledger holds: one event for each reply. No raw address and no raw user agent has a place in it."""

from __future__ import annotations

import msgspec


class Client(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a caller's program says of itself, parsed; "" where it does not say. Names are lower case."""

    name: str = ""
    """The program, by the name it uses: `pip`, `npm`, `cargo`."""
    version: str = ""
    kind: str = "unknown"
    """person, ci, mirror, scanner, updater, agent or unknown."""
    runtime: str = ""
    """What runs it: `cpython`, `node`, `java`."""
    runtime_version: str = ""
    system: str = ""
    """linux, darwin, windows or what it says."""
    arch: str = ""
    ci: bool = False
    """Whether it says that it runs in CI; what says nothing may be there all the same."""
    ci_vendor: str = ""
    """The CI system: `github-actions`, `gitlab`."""
    agent: str = ""
    """The coding agent that started it, where one says so: `claude-code`."""


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One reply to a client; with `status` 0, traffic with upstream that ended after its reply or belongs to none.

    The order of fields is the order on disk: new ones are added at the end, with a default.
    """

    time_us: int
    """When the reply ended: microseconds since 1970, UTC."""
    consumer: str = ""
    """A consumer's name, `address:<pseudonym of the day>`, or `mainstay` for the gateway's own work."""
    identified_by: str = ""
    """token, network, address, or gateway; log where an imported log says it."""
    tier: str = ""
    ecosystem: str = ""
    kind: str = ""
    """index, artifact, sidecar, passthrough or generated."""
    project: str = ""
    version: str = ""
    filename: str = ""
    digest: str = ""
    """Of an artifact: `sha256:<hex>`."""
    method: str = ""
    status: int = 0
    bytes_down: int = 0
    """Body bytes sent to the client."""
    cache_status: str = ""
    """hit, miss, stale, revalidated, collapsed, error, refused or missing."""
    upstream: str = ""
    bytes_up: int = 0
    """Body bytes received from upstream because of it."""
    upstream_requests: int = 0
    """Requests sent to upstream because of it."""
    queue_ms: int = 0
    """Time spent waiting for a turn at upstream."""
    throttled: str = ""
    """What its tier did to it: "", waited, refused; in evaluation: would-wait, would-refuse."""
    client_name: str = ""
    client_version: str = ""
    client_class: str = "unknown"
    runtime: str = ""
    runtime_version: str = ""
    system: str = ""
    arch: str = ""
    ci: bool = False
    ci_vendor: str = ""
    agent: str = ""


COLUMNS: dict[str, type] = {field.name: field.type for field in msgspec.structs.fields(Event)}
"""The ledger's columns in order, with their types: int, str or bool."""
