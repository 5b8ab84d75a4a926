"""Where Python's installers are told of an index, for `mainstay setup`.

Sources: pip's configuration page, uv's concepts/configuration-files and concepts/indexes, PDM's `pdm config`.
Poetry is not here: it knows replacements per project alone.
"""

from __future__ import annotations

from mainstay.model import ClientFile, ClientSetup

_PIP = ClientFile(
    # With the variable, pip reads no file of the user's besides.
    places=("${PIP_CONFIG_FILE}", "{config}/pip/pip.conf", "${XDG_CONFIG_HOME:-~/.config}/pip/pip.conf"),
    form="ini",
    under=("global",),
    text="index-url = {url}/simple/",
    replaces=(("index-url",),),
    http_hosts="trusted-host",
    variables=("PIP_INDEX_URL",),
)
_UV = ClientFile(
    places=("${UV_CONFIG_FILE}", "${XDG_CONFIG_HOME:-~/.config}/uv/uv.toml"),
    form="toml",
    text="""
[[index]]
name = "mainstay"
url = "{url}/simple/"
default = true
""",
    replaces=(("index-url",), ("pip", "index-url"), ("index", "default")),
    variables=("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_NO_CONFIG"),
)
_PDM = ClientFile(
    places=("${PDM_CONFIG_FILE}", "{config}/pdm/config.toml"),
    form="toml",
    under=("pypi",),
    text='url = "{url}/simple"',
    replaces=(("pypi", "url"),),
    variables=("PDM_PYPI_URL",),
)
CLIENTS = (
    ClientSetup("pip", ("pip", "pip3"), (_PIP,)),
    ClientSetup("uv", ("uv",), (_UV,)),
    ClientSetup("pdm", ("pdm",), (_PDM,)),
)
