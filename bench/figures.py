"""The shape of figures: what a part measured, as it goes into the JSON file."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
