"""Puts the newest results between `<!-- bench:begin -->` and `<!-- bench:end -->`: a summary of them into
README.md, all into bench/README.md.
"""

import re
import sys

from bench.processes import ROOT
from bench.report import block, newest, summary

_BLOCK = re.compile(r"(<!-- bench:begin[^>]*-->\n).*?(<!-- bench:end -->)", re.DOTALL)
FILES = {ROOT / "README.md": summary, ROOT / "bench" / "README.md": block}


def refreshed(text: str, lines: list[str]) -> str:
    """The text with its marked block replaced."""
    return _BLOCK.sub(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], text)


def main() -> None:
    """Refreshes both files; one without the marks is left as it is."""
    result = newest()
    for file, told in FILES.items():
        if file.exists() and (text := file.read_text()) != (new := refreshed(text, told(result))):
            file.write_text(new)
            sys.stdout.write(f"refreshed {file.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
