"""Where Node's package managers are told of a registry, for `mainstay setup`.

Sources: npm's config page (npmrc), pnpm's page on .npmrc, yarn 1's and yarn 4's configuration pages. Which yarn is
started is a project's matter, so the files of both are written. yarn 1 takes a registry in .npmrc before its own.
"""

from __future__ import annotations

from mainstay.model import ClientFile, ClientSetup

_NPMRC = ClientFile(
    places=("${npm_config_userconfig}", "${NPM_CONFIG_USERCONFIG}", "~/.npmrc"),
    form="npmrc",
    text="registry={url}/",
    replaces=(("registry",),),
    variables=("npm_config_registry", "NPM_CONFIG_REGISTRY"),
)
_YARNRC = ClientFile(
    places=("~/.yarnrc",),
    form="yarnrc",
    text='registry "{url}/"',
    replaces=(("registry",),),
    variables=("YARN_REGISTRY",),
)
_YARNRC_YML = ClientFile(
    places=("~/.yarnrc.yml",),
    form="yaml",
    text='npmRegistryServer: "{url}"',
    replaces=(("npmRegistryServer",),),
    http_hosts="unsafeHttpWhitelist",
    loopback_too=True,
    variables=("YARN_NPM_REGISTRY_SERVER",),
)
CLIENTS = (
    ClientSetup("npm", ("npm",), (_NPMRC,)),
    ClientSetup("pnpm", ("pnpm",), (_NPMRC,)),
    ClientSetup("yarn", ("yarn", "yarnpkg"), (_NPMRC, _YARNRC, _YARNRC_YML)),
)
