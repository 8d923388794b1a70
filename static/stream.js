/**
 * Bytes of an HTTP body -> text -> Server-Sent Events, as an async iterator.
 *
 * Follows https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. Knows no page,
 * no chat and no network: it takes any ReadableStream of bytes and may be read under node.
 */

/**
 * The events of `body`, each `{type, data, id}`; `id` is the last one seen, as the standard has it.
 * An event the stream ends in the middle of is dropped. Rejects with `Silence` when no byte comes for `patience` ms;
 * `heard()` is called with each piece of bytes.
 */
export async function* events(body, { patience = 0, heard = () => {} } = {}) {
  const reader = body.getReader();
  const decoder = new TextDecoder(); // drops the one leading BOM, joins split characters
  const parser = new Parser();
  try {
    for (;;) {
      const { done, value } = await within(patience, reader.read());
      if (done) return;
      heard();
      yield* parser.feed(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** No byte came for too long: the connection is dead although nobody closed it. */
export class Silence extends Error {}

/** Turns pieces of text into events, wherever the pieces were cut. */
export class Parser {
  #rest = "";
  #afterCR = false;
  #data = [];
  #type = "";
  #id = "";

  *feed(text) {
    if (!text) return;
    if (this.#afterCR && text[0] === "\n") text = text.slice(1);
    this.#afterCR = text ? text.endsWith("\r") : false;
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop();
    for (const line of lines) {
      const event = this.#line(line);
      if (event) yield event;
    }
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return null; // a comment
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }

  #dispatch() {
    const event = { type: this.#type || "message", data: this.#data.join("\n"), id: this.#id };
    const empty = this.#data.length === 0;
    this.#data = [];
    this.#type = "";
    return empty ? null : event;
  }
}

/** `promise`, or a rejection with `Silence` after `ms`; 0 waits for ever. */
function within(ms, promise) {
  if (!ms) return promise;
  let timer;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Silence(`no byte for ${ms} ms`)), ms);
  });
  return Promise.race([promise, silence]).finally(() => clearTimeout(timer));
}
