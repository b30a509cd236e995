// What a recording from a stranger's file may hold, and what becomes of it in words.

import assert from "node:assert/strict";
import { test } from "node:test";
import { recordingFrom } from "./web/keep.js";
import { cutWords, trouble } from "./web/words.js";

const EVERY_OBJECT_HAS = ["constructor", "toString", "__proto__", "hasOwnProperty", "valueOf"];

const done = {
  model: "a", type: "done", error: true, code: "rate_limited", finish_reason: null,
  timings: { duration_ms: 1, first_token_ms: null }, usage: null, cost_usd: null, tokens_per_second: null, attempts: 1,
};
const file = (more) => JSON.stringify({
  recording: { question: "Why?", models: [{ id: "a" }], log: [[0, 0, { type: "asked", slots: [0] }], [1, 0, { ...done, ...more }]] },
});

test("a code that nobody knows is told as a failure, whatever it is called", () => {
  const words = (code) => trouble({ state: "failed", provider: "p", facts: { code } });
  for (const code of EVERY_OBJECT_HAS) assert.deepEqual(words(code), words("provider_error"));
});

test("a reason that nobody knows is told in words", () => {
  for (const reason of EVERY_OBJECT_HAS) {
    assert.equal(cutWords(reason), cutWords("network"));
    assert.equal(trouble({ state: "stopped", facts: { stopped_by: reason } }).what, "Stopped. What had come stays.");
  }
});

test("a recording whose codes and reasons are no strings is none", () => {
  assert.equal(recordingFrom(file({})).log.length, 2);
  assert.equal(recordingFrom(file({ code: "constructor", stopped_by: "x" })).log.length, 2);
  for (const name of ["code", "stopped_by", "finish_reason"]) {
    for (const value of [1, {}, ["x"], true]) {
      assert.throws(() => recordingFrom(file({ [name]: value })), /no recording/);
    }
  }
});
