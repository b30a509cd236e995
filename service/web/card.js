// One model's card: made once, then only what has changed is written, once a frame.

import { el, mark, put, show } from "./dom.js";
import { formatInto, makeReachable } from "./formatted.js";
import { PlainText } from "./plain.js";
import { firstTokenAfter, isOpen, lasted, pace } from "./state.js";
import { counted, factsLine, seconds, shortName, STATES, trouble } from "./words.js";

/** Pixels from the end of a text within which the reader counts as being at it. */
const NEAR_END = 48;

const action = (slot, name, words, key, title) =>
  el("button", {
    type: "button", "data-action": name, "aria-label": `${words}: ${slot.name}`, "aria-keyshortcuts": key,
    title: `${title} (${key})`, hidden: true,
  }, words);

function stateWords(slot) {
  if (slot.stopping && isOpen(slot)) return "stopping…";
  return slot.state === "queued" && slot.ahead > 0 ? `queued, ${slot.ahead} ahead` : STATES[slot.state];
}

export class Card {
  #plain;
  #thoughts;
  #asks = 0;
  #following = true;
  #raw = false;
  #formatted = false;
  #formatting = null;
  #ended = false;

  constructor(slot, number, earlier) {
    this.slot = slot;
    this.#build(number);
    this.#showEarlier(earlier);
    this.#plain = new PlainText(this.plain);
    this.#thoughts = new PlainText(this.thoughts);
    this.body.addEventListener("scroll", () => this.#follow(this.#isAtEnd()), { passive: true });
    mark(this.element, "data-model", slot.name);
  }

  #build(number) {
    const { slot } = this;
    const id = `card-${number}`;
    this.word = el("span", { class: "state" });
    this.clock = el("span", { class: "clock" });
    this.facts = el("p", { class: "facts" });
    this.fill = el("div", { class: "bar-fill" });
    this.bar = el("div", { class: "bar", role: "progressbar", "aria-label": `${slot.name}: how far`, "aria-valuemin": 0, "aria-valuemax": 100 }, this.fill);
    this.openButton = el("button", {
      type: "button", class: "quiet open", "data-action": "open", "aria-expanded": "false",
      "aria-controls": `${id}-body`, "aria-keyshortcuts": "o", title: "Open this card (o)",
      "aria-label": `Open ${slot.name}`,
    });
    const header = el("header", {},
      el("h3", { id: `${id}-name`, title: slot.name }, shortName(slot.name)),
      el("span", { class: "status" }, this.word, this.clock),
      this.openButton, this.facts, this.bar);

    this.thoughts = el("div", { class: "thoughts plain" });
    this.thoughtsTitle = el("summary", {}, "Reasoning");
    this.reasoning = el("details", { class: "reasoning", hidden: true }, this.thoughtsTitle, this.thoughts);
    this.reasoning.addEventListener("toggle", () => {
      if (this.reasoning.open) this.#thoughts.grow(this.slot.reasoning);
    });
    this.plain = el("div", { class: "answer plain" });
    this.pretty = el("div", { class: "answer formatted", hidden: true });
    this.trouble = el("div", { class: "trouble", hidden: true });
    this.earlier = el("div", { class: "earlier" });
    this.body = el("div", { class: "body", id: `${id}-body`, tabindex: 0, role: "group", "aria-label": `${slot.name}: answer` },
      this.earlier, this.reasoning, this.plain, this.pretty, this.trouble);

    this.followButton = action(slot, "follow", "↓ follow", "f", "Follow the end of the text again");
    this.stopButton = action(slot, "stop", "Stop", "s", "Stop this model");
    this.copyButton = action(slot, "copy", "Copy", "c", "Copy the answer");
    this.againButton = action(slot, "again", "Ask again", "a", "Ask this model again");
    this.rawButton = action(slot, "raw", "Raw", "r", "The text as it came");
    this.part = el("span", { class: "part" });
    const footer = el("footer", {}, this.part, this.followButton, this.copyButton, this.rawButton, this.againButton, this.stopButton);
    this.element = el("article", { class: "card", "aria-labelledby": `${id}-name`, "data-number": number }, header, this.body, footer);
  }

  #showEarlier(earlier) {
    if (earlier.length === 0) return;
    const list = earlier.map(({ question, text }) => [
      el("p", { class: "earlier-question" }, question), el("div", { class: "plain" }, text)]);
    this.earlier.append(el("details", {}, el("summary", {}, counted(earlier.length, "earlier answer")), ...list.flat()));
  }

  /** Write what has changed; `now` is the round's time. True when the text has grown. */
  draw(now) {
    const { slot } = this;
    if (slot.asks !== this.#asks) this.#reset();
    mark(this.element, "data-state", slot.state);
    put(this.word, stateWords(slot));
    put(this.clock, seconds(lasted(slot, now)));
    put(this.facts, this.#factsLine(now));
    this.#drawProgress();
    const grown = this.#drawText();
    if (isOpen(slot) || this.#ended) return grown;
    this.#finish();
    return true; // what went wrong stands at the end
  }

  /** Keep the end of the text in view, for a reader who was there. After all cards are drawn. */
  settle() {
    if (this.#following) this.body.scrollTop = 1e9;
  }

  #reset() {
    this.#asks = this.slot.asks;
    this.#ended = false;
    this.#formatting?.abort();
    this.#formatted = false;
    this.#plain.clear();
    this.#thoughts.clear();
    show(this.trouble, false);
    show(this.reasoning, false);
    this.#follow(true);
    this.#showText();
    this.#buttons();
  }

  #factsLine(now) {
    const { slot } = this;
    const line = factsLine({
      first: firstTokenAfter(slot),
      pace: pace(slot, now),
      cost: slot.facts?.cost_usd ?? null,
      costEstimated: slot.facts?.cost_estimated === true,
      attempts: slot.facts?.attempts ?? 0,
    });
    const who = slot.stepsIn ? `${slot.stepsIn.asked} steps in` : slot.simulated ? "simulated" : slot.provider;
    return [line, who].filter(Boolean).join(" · ") || " ";
  }

  #drawProgress() {
    const { slot } = this;
    const part = slot.state === "done" ? 1 : slot.fraction;
    const known = part !== null && (slot.state === "writing" || slot.state === "thinking" || !isOpen(slot));
    this.fill.style.transform = `scaleX(${known ? part : 0})`;
    mark(this.bar, "aria-valuenow", known ? Math.round(part * 100) : null);
    put(this.part, isOpen(slot) && known ? `${Math.round(part * 100)} %` : "");
  }

  #drawText() {
    const { slot } = this;
    if (slot.reasoning !== "") {
      show(this.reasoning, true);
      const size = slot.facts?.usage?.reasoning_tokens || Math.ceil(slot.reasoning.length / 4);
      put(this.thoughtsTitle, `Reasoning (${counted(size, "token")})`);
      if (this.reasoning.open) this.#thoughts.grow(slot.reasoning);
    }
    if (!this.copyButton.hidden === (slot.text === "")) show(this.copyButton, slot.text !== "");
    return this.#plain.grow(slot.text) || slot.state === "thinking";
  }

  #finish() {
    this.#ended = true;
    const wrong = trouble(this.slot);
    show(this.trouble, wrong !== null);
    if (wrong) {
      this.trouble.replaceChildren(
        el("p", {}, el("strong", {}, wrong.what)),
        ...(wrong.todo ? [el("p", {}, wrong.todo)] : []),
        ...(wrong.said ? [el("p", { class: "said" }, `What was said: “${wrong.said}”`)] : []));
    }
    this.#buttons();
    if (this.slot.text.trim() !== "") this.#format();
  }

  async #format() {
    const asks = this.#asks;
    this.#formatting = new AbortController();
    const done = await formatInto(this.pretty, this.slot.text, this.#formatting.signal);
    if (!done || asks !== this.#asks) return;
    this.#formatted = true;
    this.#showText();
    makeReachable(this.pretty);
    this.#buttons();
    if (this.#following) this.settle();
  }

  #showText() {
    const pretty = this.#formatted && !this.#raw;
    show(this.plain, !pretty);
    show(this.pretty, pretty);
    mark(this.rawButton, "aria-pressed", this.#raw ? "true" : "false");
  }

  #buttons() {
    const open = isOpen(this.slot);
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    show(this.stopButton, open);
    show(this.againButton, !open);
    show(this.rawButton, !open && this.#formatted);
    // Who had pressed what is gone now is led to what is in its place.
    if (focused?.hidden) (open ? this.stopButton : this.againButton).focus({ preventScroll: true });
  }

  #isAtEnd() {
    return this.body.scrollHeight - this.body.scrollTop - this.body.clientHeight < NEAR_END;
  }

  #follow(following) {
    this.#following = following;
    show(this.followButton, !following && isOpen(this.slot));
  }

  // What a reader may do to a card alone.

  follow() {
    this.#follow(true);
    this.settle();
    this.body.focus({ preventScroll: true });
  }

  toggleRaw() {
    this.#raw = !this.#raw;
    this.#showText();
  }

  toggleReasoning() {
    if (!this.reasoning.hidden) this.reasoning.open = !this.reasoning.open;
  }

  open(wanted) {
    this.element.classList.toggle("opened", wanted);
    mark(this.openButton, "aria-expanded", wanted ? "true" : "false");
  }

  get isOpened() {
    return this.element.classList.contains("opened");
  }

  focus() {
    this.body.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** The card is not shown any more. */
  dispose() {
    this.#formatting?.abort();
  }
}
