// The service's routes, when the service does not answer.

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { ask, stop } from "./web/api.js";
import { SILENCE } from "./web/stream.js";

globalThis.sessionStorage = { getItem: () => null };

test("a service that says nothing is waited for as long as a stream may be silent", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  globalThis.fetch = () => new Promise(() => {});
  for (const call of [() => ask({}), () => stop("c")]) {
    const refused = assert.rejects(call(), { reason: "silent" });
    mock.timers.tick(SILENCE);
    await refused;
  }
  mock.timers.reset();
});

test("a service that is not there is no silence, and an abort is neither", async () => {
  globalThis.fetch = async () => { throw new TypeError("Failed to fetch"); };
  await assert.rejects(ask({}), { reason: "network" });
  globalThis.fetch = async () => { throw new DOMException("", "AbortError"); };
  await assert.rejects(ask({}), { name: "AbortError" });
});
