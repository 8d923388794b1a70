"""The files of the page: vendored as written down, small, nothing from outside, only the view touches the
document.
"""

import gzip
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.page.person import Person
from tests.world.processes import ROOT

STATIC = ROOT / "static"
SOURCES = sorted(
    path for path in STATIC.rglob("*.js") if "vendor" not in path.parts and not path.name.startswith("docs")
)
LIBRARIES = sorted((STATIC / "vendor").glob("*.js"))
PAGE_VENDOR = [path for path in LIBRARIES if path.name.startswith(("marked", "dompurify", "highlight"))]


@pytest.mark.parametrize(
    "folder", [STATIC / "vendor", ROOT / "tests" / "page" / "vendor"], ids=["page", "tests"]
)
def test_vendored_files_are_those_written_down(folder: Path) -> None:
    written = dict(re.findall(r"^([0-9a-f]{64})  (\S+\.js)$", (folder / "VENDOR.md").read_text(), re.M))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.js")}
    assert {name: digest for digest, name in written.items()} == found


def test_the_page_loads_under_60_kb_of_libraries() -> None:
    assert len(PAGE_VENDOR) == 3
    assert sum(len(gzip.compress(path.read_bytes(), 9)) for path in PAGE_VENDOR) < 60_000
    assert all("sourceMappingURL" not in path.read_text() for path in LIBRARIES)


def test_every_file_has_a_head_comment_and_a_size_to_read() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert text.startswith("/*"), path
        assert len(text.splitlines()) <= 250, path


def test_only_the_view_touches_the_document() -> None:
    for path in SOURCES:
        if path.name in {"view.js", "first.js"} or path.parent.name == "view":
            continue
        code = re.sub(r"/\*.*?\*/|//.*", "", path.read_text(), flags=re.S)
        uses = set(re.findall(r"\bdocument\.\w+|\bquerySelector\w*|\bgetElementById|\binnerHTML", code))
        assert uses <= (
            {"document.hidden", "document.addEventListener"} if path.name == "watch.js" else set()
        ), path


def test_no_html_is_made_of_strings_outside_the_sanitiser() -> None:
    for path in SOURCES:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
        ), path


def test_nothing_is_inline_and_nothing_comes_from_outside() -> None:
    html = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)", html)
    texts = [html, (STATIC / "style.css").read_text(), *(path.read_text() for path in SOURCES)]
    for text in texts:
        code = re.sub(r"/\*.*?\*/|^\s*//.*$", "", text, flags=re.S | re.M)
        assert not re.search(r"(src|href|url|import|from|fetch)[\s=(]*[\"']?(https?:)?//", code)


def test_the_stream_reader_passes_the_examples_of_the_standard() -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("needs node: sudo apt install -y nodejs")
    command = [node, "--test", str(ROOT / "tests" / "page" / "stream.test.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_half_of_the_files_have_at_most_110_lines() -> None:
    sizes = sorted(len(path.read_text().splitlines()) for path in SOURCES)
    assert sizes[len(sizes) // 2] <= 110


def _needed(path: Path, known: list[Path]) -> list[Path]:
    """The module at `path` and all that it imports, as they are found."""
    if path in known:
        return known
    known.append(path)
    for other in re.findall(r'(?:from|import) "(\.[^"]+)"', path.read_text()):
        _needed((path.parent / other).resolve(), known)
    return known


def test_what_the_page_begins_with_is_asked_for_at_once() -> None:
    """One after the other they would take a slow line many times longer."""
    html = (STATIC / "index.html").read_text()
    asked = re.findall(r'<link rel="modulepreload" href="/static/([^"]+)">', html)
    needed = _needed(STATIC / "main.js", [])
    assert len(asked) == len(set(asked))
    assert {"main.js", *asked} == {str(path.relative_to(STATIC)) for path in needed}


@pytest.mark.chromium_only("asks the Chrome DevTools Protocol")
async def test_the_first_paint_is_under_110_kb(person: Person) -> None:
    cdp = await person.page.context.new_cdp_session(person.page)
    await cdp.send("Network.enable")
    sizes: list[float] = []
    cdp.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    await person.page.goto(f"{person.origin}/")
    await person.page.wait_for_load_state("networkidle")
    assert len(sizes) > 10
    print(f"\nfirst paint: {sum(sizes):.0f} bytes in {len(sizes)} answers")
    assert sum(sizes) < 110_000
    assert not any(re.search("highlight|temml|marked", url) for url in person.requests)
