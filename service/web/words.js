// Figures, states and failures in words. Pure.

/** The states of a slot as people read them. */
export const STATES = {
  connecting: "connecting",
  queued: "queued",
  thinking: "thinking",
  writing: "writing",
  done: "done",
  failed: "failed",
  stopped: "stopped",
  lost: "connection lost",
};

/** A time as people compare it: "0.2 s", "12.4 s", "3 min 05 s". */
export function seconds(milliseconds) {
  const value = milliseconds / 1000;
  if (value < 99.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

/** The same for a screen reader, which reads "s" as a letter. */
export const spokenSeconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} seconds`;

/** A price: enough digits to compare, "$0" for nothing. */
export function dollars(value) {
  if (value === 0) return "$0";
  if (value >= 1) return `$${value.toFixed(2)}`;
  if (value >= 0.01) return `$${value.toFixed(3)}`;
  if (value >= 0.0001) return `$${value.toFixed(5).replace(/0+$/, "")}`;
  return "< $0.0001";
}

/** Tokens of context: "128k", "1M". */
export function tokens(count) {
  if (count >= 1_000_000) return `${Number((count / 1_000_000).toFixed(1))}M`;
  if (count >= 1000) return `${Math.round(count / 1000)}k`;
  return String(count);
}

/** "1 model", "3 models". */
export const counted = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;

/** An id without what comes before its last slash or its provider's colon: what a card is called. */
export function shortName(id) {
  const bare = id.slice(id.lastIndexOf("/") + 1);
  const colon = id.indexOf("/") < 0 ? bare.indexOf(":") : -1;
  return bare.slice(colon + 1) || id;
}

/** Whose fault it is and what to do, by error code; `who` is the provider. */
const TROUBLES = {
  connect_error: (who) => [`${who} could not be reached.`, "Try again in a moment; if it stays, whoever runs this service should look at the provider's address."],
  connect_timeout: (who) => [`${who} did not take the connection in time.`, "Try again in a moment."],
  tls_error: (who) => [`The secure connection to ${who} was refused.`, "Only whoever runs this service can mend that."],
  first_token_timeout: (who) => [`${who} took the question and then said nothing in time.`, "Ask again. If this model thinks long in silence, the service needs a longer first_token time."],
  idle_timeout: (who) => [`${who} fell silent in the middle of the answer.`, "Keep what came, or ask again."],
  total_timeout: () => ["The answer was not whole within the time for one answer.", "Ask again with fewer tokens, or ask a faster model."],
  rate_limited: (who) => [`Rate limited by ${who}: too many requests.`, "Try again in half a minute, or ask another model."],
  unauthorized: (who) => [`${who} refused this service's key.`, "Asking again does not help; whoever runs this service has to mend the key."],
  payment_required: (who) => [`This service's account at ${who} is out of credit.`, "Whoever runs this service has to fill it up."],
  model_not_found: (who) => [`${who} does not have this model.`, "Choose another one."],
  bad_request: (who) => [`${who} refused the question for this model.`, "Shorten it, or change its parameters."],
  overloaded: (who) => [`${who} has no capacity just now.`, "Try again in a moment, or ask another model."],
  provider_error: (who) => [`${who} failed.`, "Ask again."],
  truncated: (who) => [`${who} ended the stream without finishing the answer.`, "What came is only a part. Ask again."],
  empty_response: (who) => [`${who} ended without a word.`, "Ask again."],
  not_event_stream: (who) => [`${who} answered with something else than a stream.`, "Whoever runs this service should look at the provider's address."],
  protocol_error: (who) => [`What ${who} sent made no sense.`, "Whoever runs this service should look at the provider's address."],
  frame_too_large: (who) => [`${who} sent more in one piece than the service takes.`, "Ask another model."],
  upstream_disconnected: (who) => [`The connection to ${who} broke in the middle of the answer.`, "What came is only a part. Ask again."],
  content_filtered: (who) => [`A filter of ${who}, or the model itself, stopped this.`, "Change the question."],
  server_shutdown: () => ["This service is being stopped, and the answer was not whole in time.", "What came stays. Ask again when the service is back."],
  internal_error: () => ["This service made a mistake with this model.", "Ask again, and tell whoever runs it: the log has the reason."],
};

const STOPPED_BY = {
  request: "Stopped, as you wanted. What had come stays.",
  first_k: "Stopped: enough other answers had finished.",
  max_cost_usd: "Stopped: the question had reached what it may cost.",
};

const CUTS = {
  closed: "The service closed the stream before this answer was whole.",
  silent: "Nothing was heard from the service for half a minute.",
  network: "The connection to the service broke.",
  garbled: "What came from the service could not be read.",
  left: "The page was left before this answer was whole.",
};

/** Codes and reasons may be a stranger's: "constructor" is in every object, and is none of these. */
const found = (table, key) => (Object.hasOwn(table, key) ? table[key] : undefined);

/** Why a stream ended too early, as one sentence. */
export const cutWords = (reason) => found(CUTS, reason) ?? CUTS.network;

/** {what, todo, said?} of a slot that is not whole; null where nothing is wrong. `said`: its own words. */
export function trouble(slot) {
  if (slot.state === "lost") {
    return { what: cutWords(slot.trouble?.detail), todo: "What arrived stays. Ask again to get a whole answer." };
  }
  if (slot.state === "stopped") {
    return { what: found(STOPPED_BY, slot.facts?.stopped_by) ?? "Stopped. What had come stays.", todo: "" };
  }
  if (slot.state === "failed") {
    if (slot.trouble) return { what: slot.trouble.detail, todo: "Nothing was asked." };
    const code = slot.facts?.code;
    const who = slot.provider ? `the provider “${slot.provider}”` : "the provider";
    const [what, todo] = (found(TROUBLES, code) ?? TROUBLES.provider_error)(who);
    const said = slot.words?.replace(/^Error: /, "").trim();
    const tellsMore = said && !/^(Timeout|Rate limited|Model not available|Authentication failed)/.test(said);
    return { what: what[0].toUpperCase() + what.slice(1), todo, said: tellsMore ? said : null };
  }
  if (["length", "max_tokens", "MAX_TOKENS"].includes(slot.facts?.finish_reason)) {
    return { what: "The answer was cut at its most tokens.", todo: "Raise “most tokens” in the parameters for more." };
  }
  return null;
}

/** The head of a card after its state: first token, pace, cost. What is not known is left out. */
export function factsLine({ first, pace, cost, costEstimated, attempts }) {
  const parts = [];
  if (first !== null) parts.push(`first ${seconds(first)}`);
  if (pace) parts.push(`${pace.estimated ? "≈ " : ""}${Math.round(pace.value)} tok/s`);
  if (cost !== null && cost !== undefined) parts.push(`${costEstimated && cost > 0 ? "≈ " : ""}${dollars(cost)}`);
  if (attempts > 1) parts.push(`${attempts} attempts`);
  return parts.join(" · ");
}
