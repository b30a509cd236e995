// What models are reminded of. Pure.

import { uniqueNames } from "./names.js";

/** Turns of history that the service hands on (docs/contract.md). */
const KEPT_TURNS = 20;

/**
 * What a run that asks `slots` is reminded of: the questions of `rounds` with those models' own
 * answers, and `system` before them. A slot is the same model's where it has the same name.
 */
export function historyFor(rounds, slots, system = "") {
  const called = uniqueNames(slots.map((slot) => slot.requested));
  const names = new Map(slots.map((slot, place) => [slot.name, called[place]]));
  const turns = [];
  for (const round of rounds) {
    const answers = round.slots.filter((slot) => names.has(slot.name) && worthRemembering(slot));
    if (answers.length === 0) continue;
    turns.push({ role: "user", content: round.question });
    for (const slot of answers) {
      turns.push({ role: "assistant", content: slot.text, model_id: names.get(slot.name) });
    }
  }
  // The service keeps the last 20 turns. Cut where a question begins, so that no answer comes first.
  let kept = turns.slice(-(system ? KEPT_TURNS - 1 : KEPT_TURNS));
  while (kept.length > 0 && kept[0].role !== "user") kept = kept.slice(1);
  return system ? [{ role: "system", content: system }, ...kept] : kept;
}

function worthRemembering(slot) {
  return slot.text.trim() !== "" && (slot.state === "done" || slot.state === "stopped");
}
