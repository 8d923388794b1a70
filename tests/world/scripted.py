"""What the model of the property test says: the same to the same question, so that anybody can tell it."""

from tests.world.fakes.reply import Exchange, Failure, Reply, ToolCall
from tests.world.thread import Parts

KINDS = ["plain", "plain", "held", "held", "held", "cut", "tool", "cuttool", "broken", "empty"]
GO_ON = "Go on exactly"


def kind_of(asked: str, before: str) -> tuple[str, str]:
    """How a question is answered, and the first word; one to go on by how much there is already."""
    if asked.startswith(GO_ON):
        return ("plain", "held", "cut")[len(before) % 3], f"+{len(before)} "
    return asked.split(maxsplit=1)[0], f"{asked} is "


def play(exchange: Exchange) -> Reply:
    """What the model says: the same to the same question."""
    before = [str(m.get("content", "")) for m in exchange.body["messages"] if m["role"] == "assistant"]
    asked = exchange.asked.rpartition("\n\n")[2]  # of questions behind each other the last
    kind, first = kind_of(asked, before[-1] if before else "")
    tool = ToolCall("calculate", {"expression": "6 * 7"})
    return {
        "plain": Reply(tokens=[first, "answered. "]),
        "held": Reply(tokens=[first, "half "], fault="stall", fault_after=2),
        "cut": Reply(tokens=[first, "cut "], stop_reason="length"),
        "tool": Reply(tokens=[first, "42. "], tool=tool, thinking=["hm"]),
        "cuttool": Reply(tokens=[first, "42 "], tool=tool, thinking=["hm"], stop_reason="length"),
        "broken": Reply(tokens=[first, "bro "], fault="error", fault_after=2),
        "empty": Reply(refuse=True, failure=Failure(500)),
    }[kind]


def expected(kind: str, first: str) -> tuple[str, str, Parts, bool]:
    """Outcome, text, steps of a reply that ends by itself, and whether it can go on."""
    thought = {"type": "reasoning", "text": "hm"}
    used = {"type": "tool", "name": "calculate", "status": "done", "output": "42"}
    words = {"plain": "answered. ", "cut": "cut ", "tool": "42. ", "cuttool": "42 ", "broken": "bro "}
    text = first + words[kind] if kind in words else ""
    outcome = "failed" if kind in ("broken", "empty") else "done"
    parts = [thought, used, thought, {"type": "text", "text": text}] if "tool" in kind else None
    return outcome, text, parts, kind in ("cut", "cuttool", "broken", "empty")
