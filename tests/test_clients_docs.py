"""The readers in docs/clients.md do what they say, as they stand there."""

import re
import shutil
from pathlib import Path

import pytest

from tests.world import sdks
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply
from tests.world.processes import ROOT
from tests.world.sse import SseParser

BLOCK = re.compile(r"^```(sh|python|js|java|go) (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
READERS = {
    name: (kind, code) for kind, name, code in BLOCK.findall((ROOT / "docs" / "clients.md").read_text())
}
TOKENS = ["Hé ", "进入", "\n", "\n\n", "- b", " a\u2028b\x85c ", "✅ [DONE]\n", "data: x"]
BROWSER = (
    "globalThis.window = globalThis;"
    "globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };\n"
)
SUFFIX = {"sh": "sh", "python": "py", "js": "mjs", "java": "java", "go": "go"}


def program(kind: str) -> list[str]:
    if kind == "python":
        return sdks.python("openai 2")
    if kind == "js":
        return sdks.node()
    runner = {"sh": ["sh"], "java": ["java"], "go": ["go", "run"]}[kind]
    if not shutil.which(runner[0]):
        pytest.skip(f"there is no {runner[0]} here")
    return runner


def text_of(kind: str, printed: str) -> str:
    """What was said; three of the readers print the frames as they are."""
    if kind in ("python", "js"):
        return printed
    frames = SseParser().feed(printed.encode())
    if kind == "sh":
        return "".join(frame.data for frame in frames[:-1])
    return "".join(frame.json["text"] for frame in frames if frame.event == "text")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", READERS)
async def test_a_reader_prints_the_exact_text(
    cluster: Cluster, chat_id: str, ollama: FakeOllama, where: Path, name: str
) -> None:
    kind, code = READERS[name]
    runner = program(kind)
    ollama.default = Reply(tokens=TOKENS, pace=0.02)
    path = where / f"Read.{SUFFIX[kind]}"
    path.write_text((BROWSER if name == "fetch-event-source" else "") + code, encoding="utf-8")
    env = {
        "BASE": cluster.url,
        "CHAT": chat_id,
        "PYTHONUTF8": "1",
        "JAVA_TOOL_OPTIONS": "-Dfile.encoding=UTF-8",
    }
    printed = await sdks.output(runner, path, env=env)
    assert text_of(kind, printed) == ollama.default.text
    assert len(ollama.exchanges) == 1
    async with cluster.client() as client:
        assert len(await client.messages(chat_id)) == 2
