// Bytes to events. Knows the framing of docs/contract.md ("Framing", "Read it"), and no page.
//
// A block is cut at LF LF and at nothing else; one that does not begin with "data: " is no event (a
// heartbeat, an id); of one that does, the whole rest is a line of JSON.

/** A stream that ended before its `complete`. `reason`: "closed", "silent", "network" or "garbled". */
export class Cut extends Error {
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

/** Milliseconds without a byte after which the connection is dead: three heartbeats. */
export const SILENCE = 30_000;

/** Text in pieces to events; what is not whole yet is kept for the next piece. */
export class Blocks {
  #rest = "";

  /** The events that are whole with `text`. Throws `Cut` on a block that can't be read. */
  feed(text) {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop();
    const events = [];
    for (const block of blocks) {
      if (!block.startsWith("data: ")) continue;
      events.push(parse(block.slice(6)));
    }
    return events;
  }
}

function parse(json) {
  let event;
  try {
    event = JSON.parse(json);
  } catch {
    throw new Cut("garbled", "An event could not be read.");
  }
  if (event === null || typeof event !== "object") {
    throw new Cut("garbled", "An event is no object.");
  }
  return event;
}

/**
 * The events of `body`, a ReadableStream of bytes: an array for each read that brought some, so that
 * a reader does its work once a read and not once an event.
 *
 * Returns when the stream has ended, whether or not `complete` was in it. Throws `Cut` after
 * `silence` milliseconds without a byte, and when the connection breaks. To leave is to stop: the
 * connection is closed with the loop.
 */
export async function* readEvents(body, silence = SILENCE) {
  const reader = body.getReader();
  const decoder = new TextDecoder(); // keeps the bytes of a character that is not whole yet
  const blocks = new Blocks();
  try {
    for (;;) {
      const { done, value } = await soon(reader.read(), silence);
      if (done) return;
      const events = blocks.feed(decoder.decode(value, { stream: true }));
      if (events.length > 0) yield events;
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have broken already
  }
}

/** What `read` resolves to, if that is within `silence` milliseconds; else throws `Cut`. */
export function soon(read, silence) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Cut("silent", `Nothing came for ${silence / 1000} s.`));
    }, silence);
    read.then(
      (result) => {
        clearTimeout(timer);
        resolve(result);
      },
      (error) => {
        clearTimeout(timer);
        reject(error.name === "AbortError" ? error : new Cut("network", error.message));
      },
    );
  });
}
