"""Where Go is told of a module proxy, for `mainstay setup` (`go help environment`, The Go Modules Reference).

The proxy stands alone: with `,direct` behind it, what the gateway refuses would be fetched past it.
"""

from __future__ import annotations

from mainstay.model import ClientFile, ClientSetup

_ENV = ClientFile(
    places=("${GOENV}", "{config}/go/env"),
    form="env",
    text="GOPROXY={url}",
    replaces=(("GOPROXY",),),
    variables=("GOPROXY",),
)
CLIENTS = (ClientSetup("go", ("go",), (_ENV,)),)
