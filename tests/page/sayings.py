"""Every sentence the page can say, found in its files: what a language has to have."""

import re
from html.parser import HTMLParser

from tests.world.processes import ROOT

STATIC = ROOT / "static"
STRING = r'"((?:[^"\\]|\\.)*)"'
# t("…"), t(isSo ? "…" : "…"), and the tables of sentences in trouble.js
CALL = re.compile(rf"\bt\(\s*(?:[\w.#]+\s*\?\s*)?{STRING}(?:\s*:\s*{STRING})?", re.S)
TABLE = re.compile(rf"^  \w+: {STRING},$", re.M)
STATES = {"asked", "running", "done", "failed", "stopped", "connected"}  # said as the service names them
SPOKEN = {"aria-label", "title", "placeholder"}


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside.append(tag)
        self.found += [value for name, value in attrs if name in SPOKEN and value]

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"title", "code", "kbd", "noscript", "script"} & set(self._inside):
            self.found.append(data.strip())


def sayings() -> set[str]:
    """All of them, as the keys of `static/languages/*.json`."""
    page = _Texts()
    page.feed((STATIC / "index.html").read_text())
    said = STATES | set(page.found)
    for path in [*STATIC.glob("*.js"), *(STATIC / "view").glob("*.js")]:
        text = path.read_text()
        for match in CALL.finditer(text):
            said |= {found for found in match.groups() if found}
    said |= set(TABLE.findall((STATIC / "trouble.js").read_text()))
    return {words for words in said if re.search(r"[A-Za-z]{2}", words)}
