// Events to state: pure, so that the same events at the same times are the same picture.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  figures, firstTokenAfter, historyFor, isOpen, isOver, lasted, newRound, replayed, tell, uniqueNames,
} from "./web/state.js";

const done = (model, more = {}) => ({
  model, type: "done", error: false, code: null, finish_reason: "stop",
  timings: { queue_ms: 0, connect_ms: 1, first_byte_ms: 2, first_token_ms: 100, duration_ms: 900 },
  usage: { input_tokens: 1, output_tokens: 2, reasoning_tokens: 0, estimated: false },
  cost_usd: 0.5, chunks: 1, attempts: 1, ...more,
});
const complete = { type: "complete", metadata: {
  processing_time_ms: 1000, slowest_model_ms: 900, sum_of_models_ms: 1500, speedup: 1.5, cost_usd: 1 } };

function asked(...ids) {
  const round = newRound({ id: "r", question: "Why?", models: ids.map((id) => ({ id })) });
  tell(round, 0, { type: "asked", slots: ids.map((_, index) => index) }, 0);
  tell(round, 0, { type: "accepted", comparison_id: "c" }, 5);
  for (const model of uniqueNames(ids)) tell(round, 0, { model, type: "start", provider: "p", parameters: {} }, 10);
  return round;
}

const states = (round) => round.slots.map((slot) => slot.state);

test("a slot goes through the states of its model and of no other", () => {
  const round = asked("a", "b");
  assert.deepEqual(states(round), ["connecting", "connecting"]);
  tell(round, 0, { model: "a", type: "queued", ahead: 2 }, 20);
  tell(round, 0, { model: "b", type: "reasoning", content: "hm" }, 30);
  assert.deepEqual(states(round), ["queued", "thinking"]);
  assert.equal(round.slots[0].ahead, 2);
  tell(round, 0, { model: "b", type: "chunk", content: "x" }, 40);
  tell(round, 0, { model: "b", type: "chunk", content: "y" }, 50);
  tell(round, 0, done("b"), 60);
  assert.deepEqual(states(round), ["queued", "done"]);
  assert.deepEqual([round.slots[1].text, round.slots[1].reasoning], ["xy", "hm"]);
  assert.equal(isOver(round), false);
});

test("an error is no part of the answer, and text that came before it stays", () => {
  const round = asked("a");
  tell(round, 0, { model: "a", type: "chunk", content: "half" }, 20);
  tell(round, 0, { model: "a", type: "chunk", content: "Error: Rate limited", error: true }, 30);
  tell(round, 0, done("a", { error: true, code: "rate_limited" }), 30);
  assert.deepEqual([round.slots[0].state, round.slots[0].text, round.slots[0].words], ["failed", "half", "Error: Rate limited"]);
});

test("a stopped one is no failure", () => {
  const round = asked("a");
  tell(round, 0, done("a", { error: true, code: "cancelled", stopped_by: "request" }), 30);
  assert.deepEqual(states(round), ["stopped"]);
});

test("after its end a slot hears nothing, and a run after its end neither", () => {
  const round = asked("a");
  tell(round, 0, done("a"), 30);
  tell(round, 0, { model: "a", type: "chunk", content: "late" }, 40);
  tell(round, 0, complete, 50);
  tell(round, 0, { type: "cut", reason: "network" }, 60);
  assert.deepEqual([round.slots[0].text, round.slots[0].state], ["", "done"]);
  assert.equal(isOver(round), true);
});

test("when the connection breaks, what was open is lost and what was whole stays", () => {
  const round = asked("a", "b");
  tell(round, 0, { model: "a", type: "chunk", content: "half" }, 20);
  tell(round, 0, done("b"), 30);
  tell(round, 0, { type: "cut", reason: "network" }, 40);
  assert.deepEqual(states(round), ["lost", "done"]);
  assert.equal(round.slots[0].text, "half");
});

test("a stream that is complete without a model's end is no success of it", () => {
  const round = asked("a");
  tell(round, 0, complete, 40);
  assert.deepEqual(states(round), ["lost"]);
});

test("the same model twice is two slots", () => {
  const round = asked("a", "a");
  tell(round, 0, { model: "a#2", type: "chunk", content: "x" }, 20);
  assert.deepEqual(round.slots.map((slot) => slot.text), ["", "x"]);
  assert.deepEqual(uniqueNames(["a", "b", "a", "a"]), ["a", "b", "a#2", "a#3"]);
});

for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty", "<b>", "a#2"]) {
  test(`a model may be called ${name}`, () => {
    const round = asked(name);
    tell(round, 0, { model: name, type: "chunk", content: "x" }, 20);
    tell(round, 0, { model: "nobody", type: "chunk", content: "y" }, 20);
    assert.equal(round.slots[0].text, "x");
    assert.equal({}.text, undefined);
  });
}

test("unknown events and fields change nothing", () => {
  const round = asked("a");
  const before = JSON.stringify(round.slots);
  tell(round, 0, { type: "unheard-of" }, 20);
  tell(round, 0, { model: "a", type: "unheard-of", content: "x" }, 20);
  assert.equal(JSON.stringify(round.slots), before);
});

test("asked again, a slot begins anew and no longer listens to its old stream", () => {
  const round = asked("a", "b");
  tell(round, 0, { model: "a", type: "chunk", content: "old" }, 20);
  tell(round, 0, done("a", { error: true, code: "overloaded" }), 30);
  tell(round, 1, { type: "asked", slots: [0] }, 100);
  tell(round, 1, { type: "accepted", comparison_id: "d" }, 105);
  tell(round, 0, { model: "a", type: "chunk", content: "late" }, 110);
  tell(round, 1, { model: "a", type: "chunk", content: "new" }, 120);
  assert.deepEqual([round.slots[0].text, round.slots[0].state, round.slots[1].state], ["new", "writing", "connecting"]);
});

test("figures are the service's own once it has told them", () => {
  const round = asked("a", "b");
  assert.deepEqual([figures(round, 500).measured, figures(round, 500).wall], [true, 500]);
  tell(round, 0, done("a"), 600);
  assert.equal(lasted(round.slots[0], 5000), 900);
  assert.equal(firstTokenAfter(round.slots[0]), 100);
  tell(round, 0, done("b", { cost_usd: null }), 700);
  assert.equal(figures(round, 700).cost, null);
  tell(round, 0, complete, 710);
  const told = figures(round, 9000);
  assert.deepEqual([told.measured, told.wall, told.slowest, told.sum, told.speedup], [false, 1000, 900, 1500, 1.5]);
});

test("each model is reminded of its own answers, and of none that failed", () => {
  const round = asked("a", "b", "c");
  for (const model of ["a", "b", "c"]) tell(round, 0, { model, type: "chunk", content: `${model}!` }, 20);
  tell(round, 0, done("a"), 30);
  tell(round, 0, done("b"), 30);
  tell(round, 0, done("c", { error: true, code: "truncated" }), 30);
  assert.deepEqual(historyFor([round], round.slots, "Be brief."), [
    { role: "system", content: "Be brief." },
    { role: "user", content: "Why?" },
    { role: "assistant", content: "a!", model_id: "a" },
    { role: "assistant", content: "b!", model_id: "b" },
  ]);
  assert.deepEqual(historyFor([round], [round.slots[2]]), []);
});

test("a history that is too long begins with a question", () => {
  const rounds = Array.from({ length: 15 }, () => {
    const round = asked("a", "b");
    for (const model of ["a", "b"]) {
      tell(round, 0, { model, type: "chunk", content: "x" }, 20);
      tell(round, 0, done(model), 30);
    }
    return round;
  });
  const turns = historyFor(rounds, rounds[0].slots);
  assert.ok(turns.length <= 20);
  assert.equal(turns[0].role, "user");
});

test("a recording played again is the same state at every time", () => {
  const round = asked("a", "b");
  tell(round, 0, { model: "a", type: "reasoning", content: "hm" }, 20);
  tell(round, 0, { model: "a", type: "chunk", content: "x" }, 40);
  tell(round, 0, done("a"), 60);
  tell(round, 0, { type: "cut", reason: "network" }, 80);
  const recording = JSON.parse(JSON.stringify({ ...round, models: round.slots.map((slot) => ({ id: slot.requested })) }));
  assert.deepEqual(JSON.stringify(replayed(recording).slots), JSON.stringify(round.slots));
  assert.deepEqual(states(replayed(recording, 50)), ["writing", "connecting"]);
  assert.equal(isOpen(replayed(recording, 50).slots[0]), true);
});
