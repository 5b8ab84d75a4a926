"""Where cargo is told of a source, for `mainstay setup` (The Cargo Book, "Configuration" and "Source Replacement").

Cargo.lock keeps the public source's name, so locks do not change. The gateway is a registry, not only a source: by its
name `cargo search --registry mainstay` finds it too.
"""

from __future__ import annotations

from mainstay.model import ClientFile, ClientSetup

_CONFIG = ClientFile(
    # The name without an ending is the older one and wins where both are there.
    places=("${CARGO_HOME:-~/.cargo}/config", "${CARGO_HOME:-~/.cargo}/config.toml"),
    form="toml",
    text="""
[source.crates-io]
replace-with = "mainstay"

[registries.mainstay]
index = "sparse+{url}/"
""",
    replaces=(("source", "crates-io"), ("source", "mainstay"), ("registries", "mainstay")),
)
CLIENTS = (ClientSetup("cargo", ("cargo",), (_CONFIG,)),)
