// The cards of a round, side by side. Only cards that can have changed are drawn.

import { Card } from "./card.js";
import { isOpen } from "./state.js";

export class Cards {
  #root;
  #cards = [];
  #drawn = new WeakMap();
  #grown = [];

  /** `act(name, slot, card)` is told what was pressed: "stop", "again", "copy". */
  constructor(root, act) {
    this.#root = root;
    root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-action]");
      const card = this.of(event.target);
      if (!card) return;
      if (button) this.do(button.dataset.action, card, act);
      else if (event.target.closest("header") && isNarrow()) this.do("open", card, act);
    });
    this.act = act;
  }

  /** Show the cards of `round`; `before` are the rounds that led to it. */
  show(round, before) {
    for (const card of this.#cards) card.dispose();
    this.#cards = round.slots.map((slot, index) => new Card(slot, index + 1, earlierOf(slot, before)));
    this.#root.replaceChildren(...this.#cards.map((card) => card.element));
    this.#root.dataset.count = this.#cards.length;
    this.#drawn = new WeakMap();
    if (isNarrow()) this.#cards[0]?.open(true);
  }

  /** Write what has changed. `settle` comes after all writing of the frame, so that it has one layout. */
  draw(now) {
    for (const card of this.#cards) {
      const { slot } = card;
      const sight = isOpen(slot) ? null : `${slot.asks} ${slot.state}`;
      if (sight !== null && this.#drawn.get(card) === sight) continue; // it has ended, and is drawn
      if (card.draw(now)) this.#grown.push(card);
      this.#drawn.set(card, sight);
    }
  }

  /** Scroll what has grown, for whoever follows it. */
  settle() {
    for (const card of this.#grown.splice(0)) card.settle();
  }

  do(name, card, act = this.act) {
    if (name === "open") this.#open(card);
    else if (name === "raw") card.toggleRaw();
    else if (name === "follow") card.follow();
    else if (name === "reasoning") card.toggleReasoning();
    else act(name, card.slot, card);
  }

  /** One at a time: beside eight others there is no room for two. */
  #open(card) {
    const wanted = !card.isOpened;
    for (const other of this.#cards) if (other !== card && other.isOpened) other.open(false);
    card.open(wanted);
    if (wanted) card.element.scrollIntoView({ block: "nearest" });
  }

  /** The card that holds `element`, or undefined. */
  of(element) {
    const article = element?.closest?.(".card");
    return article && this.#cards.find((card) => card.element === article);
  }

  /** Move the focus to the card at `index`; on a phone that opens it. */
  goTo(index) {
    const card = this.#cards[index];
    if (!card) return;
    if (isNarrow() && !card.isOpened) this.#open(card);
    card.focus();
  }

  get count() {
    return this.#cards.length;
  }

  /** Move the focus to the next card, or the one before it. */
  step(by) {
    const here = this.#cards.indexOf(this.of(document.activeElement));
    const next = here < 0 ? 0 : (here + by + this.#cards.length) % this.#cards.length;
    this.goTo(next);
  }
}

function earlierOf(slot, before) {
  return before
    .map((round) => ({ question: round.question, slot: round.slots.find((other) => other.name === slot.name) }))
    .filter(({ slot: other }) => other && other.text !== "")
    .map(({ question, slot: other }) => ({ question, text: other.text }));
}

const isNarrow = () => matchMedia("(max-width: 46rem)").matches;
