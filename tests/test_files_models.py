"""What a model gets of the files that messages name."""

import hashlib

from tests.world.cluster import Cluster
from tests.world.pictures import MAKERS, jpeg, png
from tests.world.sides import NUMBER, Side
from tests.world.uploads import pictures_in, sent

TEXT = 'Grüße aus ```der``` Datei\r\nline 2 \\ "quoted" 🙂\n\n'.encode()


async def test_pictures_reach_every_model_bit_by_bit_in_one_message_with_their_words(
    side: Side, mixed: Cluster, chat_id: str
) -> None:
    made = [maker(40 + n, 30) for n, maker in enumerate(MAKERS.values())]
    async with mixed.client(NUMBER[side.name]) as client:
        ids = [(await sent(client, chat_id, body))["file_id"] for body in made]
        stream = await client.ask(chat_id, "What do you see?", files=ids)
        assert stream.outcome == "done"
        told = (await client.messages(chat_id))[0]["files"]
        assert [one["file_id"] for one in told] == ids == [hashlib.sha256(body).hexdigest() for body in made]
        assert [(one["media_type"], one["width"], one["height"]) for one in told] == [
            (kind, 40 + n, 30) for n, kind in enumerate(MAKERS)
        ]
    (exchange,) = side.fake.of("What do you see?")
    assert pictures_in(side.name, exchange.body) == [("user", made, "What do you see?")]


async def test_a_text_goes_along_in_front_of_the_words_under_its_name(
    side: Side, mixed: Cluster, chat_id: str
) -> None:
    async with mixed.client(NUMBER[side.name]) as client:
        text = await sent(client, chat_id, TEXT, "text/markdown", "Notizen%20%C3%BC.md")
        assert (text["name"], text["media_type"], text["bytes"]) == (
            "Notizen ü.md",
            "text/markdown",
            len(TEXT),
        )
        picture = await sent(client, chat_id, png())
        await client.ask(chat_id, "Sum it up", files=[text["file_id"], picture["file_id"]])
    (exchange,) = side.fake.of("Sum it up")
    ((_, pictures, words),) = pictures_in(side.name, exchange.body)
    assert pictures == [png()]
    assert words == f"File Notizen ü.md:\n````\n{TEXT.decode()}\n````\n\nSum it up"


async def test_the_newest_four_pictures_go_along_in_later_turns(
    side: Side, mixed: Cluster, chat_id: str
) -> None:
    made = [png(50 + n) for n in range(6)]
    async with mixed.client(NUMBER[side.name]) as client:
        for n in range(0, 6, 2):
            ids = [(await sent(client, chat_id, b, name=f"{b[19]}.png"))["file_id"] for b in made[n : n + 2]]
            await client.ask(chat_id, f"question {n}", files=ids)
        await client.ask(chat_id, "and now?")
    (last,) = side.fake.of("and now?")
    users = [
        (pictures, words) for role, pictures, words in pictures_in(side.name, last.body) if role == "user"
    ]
    assert users == [
        ([], "[50.png: not shown]\n\n[51.png: not shown]\n\nquestion 0"),
        (made[2:4], "question 2"),
        (made[4:6], "question 4"),
        ([], "and now?"),
    ]


async def test_the_demo_model_tells_what_came(mixed: Cluster, chat_id: str) -> None:
    async with mixed.client(3) as client:
        ids = [
            (await sent(client, chat_id, jpeg(640, 480)))["file_id"],
            (await sent(client, chat_id, b"1 + 1\n2\n", "text/plain", "sums.txt"))["file_id"],
        ]
        text = (await client.ask(chat_id, "Look", files=ids)).text
    assert "image/jpeg, 640 × 480 pixels" in text
    assert "sums.txt" in text
