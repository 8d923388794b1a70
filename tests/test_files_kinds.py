"""What a file is, its bytes say: four kinds of pictures, and text; all else is refused."""

import gzip
import io
import random
import zipfile

import pytest

from app.agents.sniff import MOST_TEXT, kind_of
from app.errors import InvalidFile, TooLarge
from tests.world.pictures import MAKERS, gif, jpeg, png, webp

MOST = 1024 * 1024
SIZES = random.Random(1)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_picture_is_known_by_its_bytes_whatever_it_is_called(kind: str) -> None:
    for _ in range(50):
        width, height = SIZES.randint(1, 8000), SIZES.randint(1, 5000)
        for declared in (kind, "image/png", "text/plain", "application/octet-stream", "", "nonsense"):
            found = kind_of(MAKERS[kind](width, height), declared, MOST)
            assert (found.media_type, found.width, found.height) == (kind, width, height)


@pytest.mark.parametrize("kind", ["VP8L", "VP8 ", "VP8X"])
def test_each_form_of_webp_tells_its_size(kind: str) -> None:
    found = kind_of(webp(640, 480, kind), "image/webp", MOST)
    assert (found.media_type, found.width, found.height) == ("image/webp", 640, 480)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_torn_picture_is_refused_wherever_it_is_torn(kind: str) -> None:
    body = MAKERS[kind](40, 30)
    for length in range(1, len(body)):
        with pytest.raises(InvalidFile):
            kind_of(body[:length], kind, MOST)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_spoilt_picture_is_told_or_refused_and_nothing_else(kind: str) -> None:
    chance = random.Random(kind)
    for _ in range(2000):
        body = bytearray(MAKERS[kind](40, 30))
        for _ in range(chance.randint(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        try:
            found = kind_of(bytes(body), kind, MOST)
        except (InvalidFile, TooLarge):
            continue
        assert found.media_type in MAKERS
        assert 0 < found.width <= 8000 >= found.height > 0


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("size", [(20_000, 20_000), (8001, 1), (1, 8001), (7000, 7000)])
def test_a_bomb_is_refused(kind: str, size: tuple[int, int]) -> None:
    if kind == "image/webp" and max(size) > 16_384:
        size = (16_000, 16_000)
    with pytest.raises(InvalidFile, match="pixels"):
        kind_of(MAKERS[kind](*size), kind, MOST)
    if kind == "image/gif":  # the screen is small, a frame is not
        small = bytearray(gif(9000, 9000))
        small[6:10] = gif(4, 3)[6:10]
        with pytest.raises(InvalidFile, match="pixels"):
            kind_of(bytes(small), kind, MOST)


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.txt", "hello")
    return made.getvalue()


SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
SVGS = {
    "bare": SVG.encode(),
    "prolog": f'<?xml version="1.0"?>\n<!-- a -->\n<!DOCTYPE svg [<!ENTITY a "b">]>\n{SVG}'.encode(),
    "bom": b"\xef\xbb\xbf  " + SVG.encode(),
    "named": b'<s:svg xmlns:s="http://www.w3.org/2000/svg"/>',
    "loud": SVG.upper().encode(),
    "comments": b"<!--x-->" * 500 + SVG.encode(),
    "utf16": SVG.encode("utf-16"),
    "packed": gzip.compress(SVG.encode()),
}
DISGUISES = {
    "html": b"<!doctype html><script>alert(1)</script>",
    "script": b"alert(1)",
    "pdf": b"%PDF-1.4\n%some",
    "zip": zipped(),
    "bmp": b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0",
    "tiff": b"II*\0\x08\0\0\0",
    "heic": b"\0\0\0\x18ftypheic",
    "nothing but a mark": b"\x89PNG\r\n\x1a\n",
    "a mark and html": b"GIF89a" + b"<script>alert(1)</script>" * 20,
    "jpeg and html": b"\xff\xd8\xff" + b"<script>alert(1)</script>" * 20,
}


@pytest.mark.parametrize("declared", ["image/svg+xml", "image/png", "text/plain", "application/xml", ""])
@pytest.mark.parametrize("name", SVGS)
def test_svg_is_refused_whatever_it_is_called(name: str, declared: str) -> None:
    with pytest.raises(InvalidFile):
        kind_of(SVGS[name], declared, MOST)


@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguise_is_refused(name: str) -> None:
    for declared in ("image/png", "image/jpeg", "image/webp", "image/gif; charset=x"):
        with pytest.raises(InvalidFile):
            kind_of(DISGUISES[name], declared, MOST)


def test_noise_is_refused() -> None:
    chance = random.Random(7)
    for _ in range(500):
        with pytest.raises(InvalidFile):
            kind_of(b"\x80" + chance.randbytes(chance.randint(0, 3000)), "text/plain", MOST)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ("text/plain", "text/plain"),
        ("text/markdown; charset=utf-8", "text/markdown"),
        ("text/csv", "text/csv"),
        ("text/html", "text/plain"),
        ("application/json", "text/plain"),
        ("application/octet-stream", "text/plain"),
        ("", "text/plain"),
    ],
)
def test_text_is_sent_back_as_what_can_run_nothing(declared: str, told: str) -> None:
    body = "Grüße\n<script>, `x`\t\u2028🙂\r\n".encode()
    assert kind_of(body, declared, MOST).media_type == told


@pytest.mark.parametrize(
    "body", [b"", b" \n\t ", b"\xef\xbb\xbf", b"a\0b", b"a\x07b", b"\xff\xfea", b"caf\xe9"]
)
def test_what_is_no_text_in_utf8_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidFile):
        kind_of(body, "text/plain", MOST)


def test_what_is_larger_than_it_may_be_is_too_large() -> None:
    assert kind_of(b"x" * MOST_TEXT, "text/plain", MOST)
    with pytest.raises(TooLarge, match="100 KB"):
        kind_of(b"x" * (MOST_TEXT + 1), "text/plain", MOST)
    for maker in (png, jpeg):
        with pytest.raises(TooLarge, match="10 KB"):
            kind_of(maker() + b"\0" * 10_240, "image/png", 10_240)


def test_a_form_is_told_what_to_send_instead() -> None:
    with pytest.raises(InvalidFile, match="not a form"):
        kind_of(
            b"--x\r\nContent-Disposition: form-data\r\n\r\nhello\r\n--x--",
            "multipart/form-data; boundary=x",
            MOST,
        )
