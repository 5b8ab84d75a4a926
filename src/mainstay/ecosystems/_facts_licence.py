"""Which kind of licence a text declares: SPDX expressions, names, whole texts. What is known of licences is handed in.

Source for expressions: SPDX specification 2.3, annex D. AND binds more than OR; what follows WITH only permits
more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNCLEAR = "unclear"
_CLOSED = ("file", "proprietary", "restricted")
"""In the order in which words count: "see EULA.txt" names a file, whatever is in it."""
_NAME_CHARS = 200
_EXPRESSION = re.compile(r"[()\s]*[\w.+:-]+(?:[()\s]+(?:AND|OR|WITH)[()\s]+[\w.+:-]+)*[()\s]*")
_INNERMOST = re.compile(r"\(([^()]*)\)")
_ALTERNATIVES = re.compile(r"\s+or\s+|\s*(?:/|\|\|?)\s*")
_UNLISTED = ("licenseref-", "documentref-")
_SOLVED = "="


class Licences:
    """What is known, ready to be looked up in.

    `tree` has a table for each kind but `unclear`: `ids`, SPDX identifiers with spaces between, and `words`, regular
    expressions for other names. That of `osi` has `texts`, expressions for whole texts; `classifiers` maps the
    beginnings of Python's classifiers to kinds. `order` are the kinds from the least to the most open.
    """

    def __init__(self, tree: Mapping[str, Any], order: Sequence[str]) -> None:
        kinds = [(kind, tree[kind]) for kind in order if kind in tree]
        self._order = order
        self._ids = {name.lower(): kind for kind, entry in kinds for name in entry.get("ids", "").split()}
        self._words = {kind: re.compile("|".join(entry["words"])) for kind, entry in kinds}
        self._texts = re.compile("|".join(tree["osi"]["texts"]))
        self._classifiers = sorted(tree["classifiers"].items(), key=lambda item: -len(item[0]))

    def kind(self, declared: str) -> str:
        """Of alternatives the most open, of what applies together the least open; `unclear` for what is not known."""
        text = " ".join(declared.lower().replace("licence", "license").split())
        if len(text) > _NAME_CHARS:
            return "osi" if self._texts.search(text) else self._kind_by_words(text[:_NAME_CHARS])
        return self._kind_of_expression(text) if _EXPRESSION.fullmatch(declared) else self._kind_by_words(text)

    def most_open(self, declared: Iterable[str]) -> str:
        """That of several whose kind is the most open, the first of equals."""
        return max(declared, key=lambda text: self._order.index(self.kind(text)))

    def classifier_kind(self, classifier: str) -> str:
        """What a classifier about a licence stands for."""
        return next((kind for start, kind in self._classifiers if classifier.startswith(start)), UNCLEAR)

    def _kind_of_expression(self, text: str) -> str:
        while (inner := _INNERMOST.search(text)) is not None:
            start, end = inner.span()
            text = f"{text[:start]} {_SOLVED}{self._kind_of_alternatives(inner[1])} {text[end:]}"
        return self._kind_of_alternatives(text)

    def _kind_of_alternatives(self, text: str) -> str:
        parts = (map(self._kind_of_part, part.split(" and ")) for part in text.split(" or "))
        return max((min(part, key=self._order.index) for part in parts), key=self._order.index)

    def _kind_of_part(self, text: str) -> str:
        name = text.partition(" with ")[0].strip(" ()")
        return name.split()[0].removeprefix(_SOLVED) if name.startswith(_SOLVED) else self._kind_by_words(name)

    def _kind_by_words(self, text: str) -> str:
        if kind := self._ids.get(text.removesuffix("+")):
            return kind
        found = [kind for kind, words in self._words.items() if words.search(text)]
        closed = next((kind for kind in _CLOSED if kind in found), "")
        opened = next((kind for kind in reversed(found) if kind not in _CLOSED), "")
        if text.startswith(_UNLISTED):
            return closed or UNCLEAR
        if not (closed and opened):
            return closed or opened or UNCLEAR
        alternatives = _ALTERNATIVES.split(text)
        if len(alternatives) > 1:
            return max(map(self._kind_by_words, alternatives), key=self._order.index)
        # Words about both: "Apache with Commons Clause" is the one, "see LICENSE (MIT)" the other, and of
        # "LGPL, commercial license available" nobody knows.
        return {"restricted": closed, "file": opened}.get(closed, UNCLEAR)
