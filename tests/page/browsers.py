"""The browsers of the tests: Debian's own; nothing downloads another."""

import shutil
from collections.abc import Awaitable, Callable
from typing import Any

from playwright.async_api import Browser, Playwright

LAN = "chat.lan"  # resolves to this machine, yet is no secure context, as http://192.168.… is none
ARGS = (
    f"--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    f"--disable-component-update --disable-sync --host-resolver-rules=MAP|{LAN}|127.0.0.1"
).split()
PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
}


def program_of(name: str) -> str | None:
    """Where `chromium` or `firefox` is, if it is."""
    return next((found for program in PROGRAMS[name] if (found := shutil.which(program))), None)


async def launch(playwright: Playwright) -> Browser:
    """Chromium, without which there are no tests of the page."""
    program = program_of("chromium")
    assert program, "the page's tests need Chromium: sudo apt install -y chromium"
    args = [arg.replace("|", " ") for arg in ARGS]
    return await playwright.chromium.launch(executable_path=program, args=args)


async def launch_firefox(playwright: Playwright) -> Browser:
    """Over WebDriver BiDi, which needs no Firefox of Playwright's own."""
    prefs: dict[str, str | float | bool] = {"network.dns.localDomains": LAN}
    program = program_of("firefox")
    return await playwright.firefox.launch(
        channel="moz-firefox", executable_path=program, firefox_user_prefs=prefs
    )


LAUNCH: dict[str, Callable[[Playwright], Awaitable[Browser]]] = {
    "chromium": launch,
    "firefox": launch_firefox,
}


def suited(browser: Browser, context: dict[str, Any]) -> dict[str, Any]:
    """`context` without what the browser cannot be: Firefox is no phone, and has a small window instead."""
    if browser.browser_type.name == "chromium":
        return context
    return {name: value for name, value in context.items() if name != "is_mobile"}
