"""The site: pages, JSON API, sign-in and administration as one ASGI application."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from starlette.applications import Starlette
from starlette.types import ASGIApp

from mainstay.app import KEY_FILE, load_secret
from mainstay.config import Config
from mainstay.db.engine import Database
from mainstay.ecosystems import ecosystems
from mainstay.upstream.discover import discover, own_addresses
from mainstay.upstream.registry import Registry
from mainstay.web.admin import admin_routes
from mainstay.web.api import api_routes
from mainstay.web.auth import Guarded, auth_routes
from mainstay.web.pages import page_routes


@dataclass
class Site:
    """What the parts of the site share, as `request.app.state.site`."""

    config: Config
    database: Database
    secret: bytes

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.config.data_path

    @cached_property
    def registry(self) -> Registry:
        """The upstreams, as the gateway finds them. Blocks for a second or two the first time: it asks this machine's
        package managers."""
        return discover(self.config, ecosystems(), own=own_addresses(self.config), extras=False)


def make_site(config: Config) -> ASGIApp:
    """The site of a data folder.

    Raises:
        DataFolderError: the folder cannot be used.
    """
    folder = config.data_path
    site = Site(config, Database.open(folder), load_secret(folder / KEY_FILE))
    app = Starlette(routes=[*auth_routes(), *api_routes(), *admin_routes(), *page_routes()])
    app.state.site = site
    return Guarded(app, site)
