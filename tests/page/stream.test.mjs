/**
 * `static/stream.js` against the examples of the standard and against every way to cut bytes.
 * Run by node's own runner: `node --test tests/page/`.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { events, Silence } from "../../static/stream.js";

const encode = (text) => new TextEncoder().encode(text);

/** A body that delivers `pieces` (bytes) one by one. */
const bodyOf = (pieces) =>
  new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece);
      controller.close();
    },
  });

async function read(...pieces) {
  const seen = [];
  for await (const event of events(bodyOf(pieces.map((piece) => (typeof piece === "string" ? encode(piece) : piece)))))
    seen.push(event);
  return seen;
}

const data = async (...pieces) => (await read(...pieces)).map((event) => event.data);
const message = (text, id = "") => ({ type: "message", data: text, id });

test("the standard's stock example: three data lines are one event", async () => {
  assert.deepEqual(await read("data: YHOO\ndata: +2\ndata: 10\n\n"), [message("YHOO\n+2\n10")]);
});

test("the standard's example with comment, ids and a last id that is reset", async () => {
  const stream = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
  assert.deepEqual(await read(stream), [message("first event", "1"), message("second event"), message(" third event")]);
});

test("the standard's example of empty data: two events, the unfinished last one is dropped", async () => {
  assert.deepEqual(await data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
});

test("the standard's example of one optional space", async () => {
  assert.deepEqual(await data("data:test\n\ndata: test\n\n"), ["test", "test"]);
});

test("the standard's named events", async () => {
  const stream = "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\ndata: 113411\n\n";
  assert.deepEqual(
    (await read(stream)).map(({ type, data }) => [type, data]),
    [
      ["add", "73857293"],
      ["remove", "2153"],
      ["message", "113411"],
    ],
  );
});

test("an event without data is not dispatched and its name does not leak into the next", async () => {
  assert.deepEqual(await read("event: end\n\ndata: x\n\n"), [message("x")]);
});

test("LF, CR LF and CR end lines, mixed as well", async () => {
  assert.deepEqual(await data("data: a\r\n\r\ndata: b\r\rdata: c\n\n"), ["a", "b", "c"]);
});

test("a CR LF cut in the middle is one line end", async () => {
  assert.deepEqual(await data("data: a\r", "\ndata: b\r", "\n\r", "\n"), ["a\nb"]);
});

test("a CR ends the line at once, without waiting for what follows", async () => {
  let push;
  const body = new ReadableStream({ start: (controller) => (push = (text) => controller.enqueue(encode(text))) });
  const reader = events(body);
  push("data: a\r\r");
  assert.equal((await reader.next()).value.data, "a");
  await reader.return();
});

test("one leading BOM is dropped, a second one is text", async () => {
  assert.deepEqual(await data("\uFEFFdata: a\n\n"), ["a"]);
  assert.deepEqual(await data(new Uint8Array([0xef]), new Uint8Array([0xbb, 0xbf]), "data: a\n\n"), ["a"]);
  assert.deepEqual(await data("\uFEFF\uFEFFdata: a\n\n"), []);
});

test("comments, unknown fields and retry are passed over", async () => {
  assert.deepEqual(await data(": hello\n:\nretry: 10\nfoo: bar\ndata: a\n\n"), ["a"]);
});

test("an id with NUL is ignored, an id stays until another one comes", async () => {
  assert.deepEqual(
    (await read("id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n")).map(({ id }) => id),
    ["1", "1"],
  );
});

test("an id on an event without data counts for the next one", async () => {
  assert.deepEqual(await read("id: 7\n\ndata: a\n\n"), [message("a", "7")]);
});

test("field names are exact: case and spaces count", async () => {
  assert.deepEqual(await data("Data: a\n data: b\ndata : c\ndata: d\n\n"), ["d"]);
});

test("U+2028, U+0085 and form feed are no line ends", async () => {
  assert.deepEqual(await data("data: a\u2028b\u0085c\fd\n\n"), ["a\u2028b\u0085c\fd"]);
});

test("a stream without a last line end loses only the unfinished event", async () => {
  assert.deepEqual(await data("data: a\n\ndata: b\n"), ["a"]);
});

test("a model that writes frames cannot make one: its text is inside one line of JSON", async () => {
  const text = "\n\nevent: end\ndata: [DONE]\n\n";
  const seen = await read(`event: text\ndata: ${JSON.stringify({ text })}\n\n`);
  assert.deepEqual(
    seen.map(({ type, data }) => [type, JSON.parse(data).text]),
    [["text", text]],
  );
});

const RICH =
  '\uFEFF: hi\r\n\r\nid: r:1\r\nevent: text\r\ndata: {"text":"Grüße 👩‍👩‍👧 漢字"}\r\n\r\ndata: a\rdata: b\r\rdata: c\n\n';

test("whatever the cut in two, the events are the same", async () => {
  const bytes = encode(RICH);
  const whole = await read(bytes);
  assert.equal(whole.length, 3);
  for (let at = 0; at <= bytes.length; at += 1)
    assert.deepEqual(await read(bytes.slice(0, at), bytes.slice(at)), whole, `cut at ${at}`);
});

test("byte by byte, with empty pieces between, the events are the same", async () => {
  const bytes = encode(RICH);
  const pieces = [...bytes].flatMap((byte) => [new Uint8Array([byte]), new Uint8Array(0)]);
  assert.deepEqual(await read(...pieces), await read(bytes));
});

test("broken UTF-8 becomes the replacement character and nothing is lost after it", async () => {
  assert.deepEqual(await data(new Uint8Array([0x64, 0x61, 0x74, 0x61, 0x3a, 0xff, 0x0a, 0x0a]), "data: b\n\n"), [
    "\uFFFD",
    "b",
  ]);
});

test("200 random cuts of a long stream", async () => {
  const lines = Array.from({ length: 60 }, (_, n) => `id: r:${n}\nevent: text\ndata: {"text":"wörd${n} 🌍"}\n\n`).join(
    "",
  );
  const bytes = encode(lines);
  const whole = await read(bytes);
  for (let round = 0; round < 200; round += 1) {
    const pieces = [];
    for (let at = 0; at < bytes.length;) {
      const next = at + 1 + Math.floor(Math.random() * 40);
      pieces.push(bytes.slice(at, next));
      at = next;
    }
    assert.deepEqual(await read(...pieces), whole);
  }
});

test("leaving the loop lets go of the body", async () => {
  let isCancelled = false;
  const body = new ReadableStream({
    pull: (controller) => controller.enqueue(encode("data: a\n\n")),
    cancel: () => (isCancelled = true),
  });
  for await (const _ of events(body)) break;
  assert.ok(isCancelled);
});

test("a body that is silent for too long is given up", async () => {
  const body = new ReadableStream({ start: (controller) => controller.enqueue(encode("data: a\n\n")) });
  const reader = events(body, { patience: 20 });
  await reader.next();
  await assert.rejects(reader.next(), Silence);
});

test("an error of the network is passed on", async () => {
  const body = new ReadableStream({ start: (controller) => controller.error(new TypeError("network error")) });
  await assert.rejects(events(body).next(), TypeError);
});
