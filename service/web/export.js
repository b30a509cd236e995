// A round for other programs: Markdown to read, JSON with everything, CSV for a table. Pure.

import { recordingOf } from "./keep.js";
import { figures, firstTokenAfter, lasted } from "./state.js";
import { seconds, STATES, trouble } from "./words.js";

const now = (round) => round.log.at(-1)?.[0] ?? 0;

/** The question and all answers, each under its model's name. */
export function asMarkdown(rounds) {
  return rounds.map((round) => {
    const told = figures(round, now(round));
    const head = [
      `# ${round.question.replace(/\s+/g, " ").trim()}`,
      `${round.askedAt ?? ""} · together ${seconds(told.wall)}, one after another ${seconds(told.sum)} (${told.speedup.toFixed(1)} × faster)`,
    ];
    return [...head, ...round.slots.flatMap((slot) => answerOf(slot, now(round)))].join("\n\n");
  }).join("\n\n---\n\n") + "\n";
}

function answerOf(slot, at) {
  const wrong = trouble(slot);
  const line = [STATES[slot.state], seconds(lasted(slot, at))];
  const first = firstTokenAfter(slot);
  if (first !== null) line.push(`first text after ${seconds(first)}`);
  if (slot.simulated) line.push("simulated");
  return [`## ${slot.name}`, `*${line.join(", ")}*`, slot.text, ...(wrong ? [`> ${wrong.what} ${wrong.todo}`] : [])].filter(Boolean);
}

/** Everything: the answers, the figures, and the recording that can be played again. */
export function asJson(round) {
  const answers = round.slots.map((slot) => ({
    model: slot.name,
    provider: slot.provider,
    simulated: slot.simulated,
    state: slot.state,
    text: slot.text,
    reasoning: slot.reasoning,
    parameters: slot.parameters,
    error: slot.words,
    facts: slot.facts,
  }));
  const whole = { question: round.question, asked_at: round.askedAt, figures: figures(round, now(round)), answers, recording: recordingOf(round) };
  return `${JSON.stringify(whole, null, 1)}\n`;
}

const COLUMNS = [
  ["asked_at", (slot, round) => round.askedAt],
  ["question", (slot, round) => round.question],
  ["model", (slot) => slot.name],
  ["provider", (slot) => slot.provider],
  ["state", (slot) => slot.state],
  ["code", (slot) => slot.facts?.code],
  ["queue_ms", (slot) => slot.facts?.timings?.queue_ms],
  ["connect_ms", (slot) => slot.facts?.timings?.connect_ms],
  ["first_byte_ms", (slot) => slot.facts?.timings?.first_byte_ms],
  ["first_token_ms", (slot) => slot.facts?.timings?.first_token_ms],
  ["duration_ms", (slot) => slot.facts?.timings?.duration_ms],
  ["tokens_per_second", (slot) => slot.facts?.tokens_per_second],
  ["input_tokens", (slot) => slot.facts?.usage?.input_tokens],
  ["output_tokens", (slot) => slot.facts?.usage?.output_tokens],
  ["reasoning_tokens", (slot) => slot.facts?.usage?.reasoning_tokens],
  ["tokens_estimated", (slot) => slot.facts?.usage?.estimated],
  ["cost_usd", (slot) => slot.facts?.cost_usd],
  ["finish_reason", (slot) => slot.facts?.finish_reason],
  ["attempts", (slot) => slot.facts?.attempts],
  ["answer", (slot) => slot.text],
];

/** A line for each answer, as RFC 4180 has it. */
export function asCsv(rounds) {
  const lines = [COLUMNS.map(([name]) => name)];
  for (const round of rounds) {
    for (const slot of round.slots) lines.push(COLUMNS.map(([, read]) => read(slot, round)));
  }
  return lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

function cell(value) {
  if (value === null || value === undefined) return "";
  let text = String(value);
  // A spreadsheet takes what begins so for a formula, and a model may have written it.
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A name for the file: the question's first words. */
export function fileName(round, ending) {
  const words = round.question.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["comparison"];
  return `${words.slice(0, 6).join("-").slice(0, 60)}.${ending}`;
}
