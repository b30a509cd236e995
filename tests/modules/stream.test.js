// Bytes to events, however they are cut.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Blocks, Cut, readEvents } from "./web/stream.js";

const { stream, events } = JSON.parse(readFileSync(new URL("given.json", import.meta.url)));
const bytes = new TextEncoder().encode(stream);

const body = (...pieces) =>
  new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece);
      controller.close();
    },
  });

async function all(iterable) {
  const found = [];
  for await (const batch of iterable) found.push(...batch);
  return found;
}

test("cut at every byte, in the middle of characters too, the events are the same", async () => {
  for (let at = 0; at <= bytes.length; at++) {
    assert.deepEqual(await all(readEvents(body(bytes.slice(0, at), bytes.slice(at)))), events);
  }
});

test("byte by byte they are the same", async () => {
  assert.deepEqual(await all(readEvents(body(...[...bytes].map((byte) => Uint8Array.of(byte))))), events);
});

test("comments, ids and blocks of other kinds are no events", () => {
  const blocks = new Blocks();
  assert.deepEqual(blocks.feed(": ping\n\nid: 7\n\nretry: 3000\n\nevent: x\n\n"), []);
  assert.deepEqual(blocks.feed('data: {"type":"later"}\n\n'), [{ type: "later" }]);
});

test("what is not whole is no event", async () => {
  const half = bytes.slice(0, bytes.length - 1);
  assert.deepEqual(await all(readEvents(body(half))), events.slice(0, -1));
});

for (const wrong of ["data: {\n\n", "data: null\n\n", "data: 3\n\n", "data: \n\n"]) {
  test(`${JSON.stringify(wrong)} is told as garbled, and nothing is made of it`, () => {
    assert.throws(() => new Blocks().feed(wrong), (error) => error instanceof Cut && error.reason === "garbled");
  });
}

test("a connection that breaks is told, after all that came", async () => {
  const broken = new ReadableStream({
    pull(controller) {
      this.begun ? controller.error(new TypeError("gone")) : controller.enqueue(bytes);
      this.begun = true;
    },
  });
  const found = [];
  await assert.rejects(async () => {
    for await (const batch of readEvents(broken)) found.push(...batch);
  }, (error) => error instanceof Cut && error.reason === "network");
  assert.deepEqual(found, events);
});

test("silence is told", async () => {
  const silent = new ReadableStream({ start: (controller) => controller.enqueue(bytes) });
  await assert.rejects(all(readEvents(silent, 20)), (error) => error instanceof Cut && error.reason === "silent");
});

test("who leaves the loop closes the connection", async () => {
  let closed = false;
  const endless = new ReadableStream({
    pull: (controller) => controller.enqueue(bytes),
    cancel: () => { closed = true; },
  });
  for await (const batch of readEvents(endless)) if (batch) break;
  assert.equal(closed, true);
});
