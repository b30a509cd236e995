// Where the question is written.

import { $, el, mark, put, show } from "./dom.js";
import { shortName } from "./words.js";

const EXAMPLES = [
  "Explain structured concurrency to a Go programmer.",
  "Why is the sky blue? Answer for a curious ten-year-old.",
  "Compare three ways to cache HTTP responses, as a table.",
];

export class Ask {
  #last = "";

  /** `asked(question)` when one is to be asked; `open(dialog)` for the models. */
  constructor(choice, { asked, openPicker }) {
    this.choice = choice;
    this.prompt = $("prompt");
    this.asked = asked;
    this.prompt.value = EXAMPLES[0];
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.prompt.addEventListener("keydown", (event) => this.#onKey(event));
    this.prompt.addEventListener("input", () => this.refuse(""));
    $("examples").replaceChildren(...EXAMPLES.map((example) =>
      el("button", { type: "button", class: "quiet", click: () => this.write(example) }, example)));
    $("chosen-more").addEventListener("click", openPicker);
    choice.onChange(() => this.#showChosen());
  }

  submit() {
    const question = this.prompt.value.trim();
    const wrong = this.#whatIsWrong(question);
    this.refuse(wrong ?? "");
    if (wrong !== null) return;
    this.#last = question;
    this.asked(question);
  }

  #whatIsWrong(question) {
    if (question === "") {
      this.prompt.focus({ preventScroll: true });
      return "Write a question first.";
    }
    if (this.choice.ids.length === 0) return "Choose at least one model.";
    return this.choice.contradiction;
  }

  #onKey(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "ArrowUp" && this.prompt.value === "" && this.#last) {
      event.preventDefault();
      this.write(this.#last);
    }
  }

  write(text) {
    this.prompt.value = text;
    this.prompt.focus({ preventScroll: true });
    this.refuse("");
  }

  /** What is wrong with the question, beside it. */
  refuse(sentence) {
    put($("ask-error"), sentence);
    show($("ask-error"), sentence !== "");
    mark(this.prompt, "aria-invalid", sentence === "" ? null : "true");
  }

  /**
   * `rounds`: so many questions of what is shown have been asked; `running`: the last is being
   * answered; `recording`: a recording is shown, after which nothing can be asked further.
   */
  draw({ rounds, running, recording }) {
    const canFollow = rounds > 0 && !recording;
    const follows = canFollow && this.followsUp;
    const focused = document.activeElement;
    show($("follow"), canFollow);
    put($("compare"), follows ? "Ask further" : "Compare");
    if (running) show($("stop-all"), true);
    // Each stands in for the other, so the focus goes along; the reader stays where they read.
    if (running && focused === $("compare")) $("stop-all").focus({ preventScroll: true });
    $("compare").disabled = running;
    if (!running && focused === $("stop-all")) $("compare").focus({ preventScroll: true });
    show($("stop-all"), running);
    show($("welcome"), rounds === 0 && !recording);
    put($("follow-words"), `: each remembers its own ${rounds > 1 ? "answers" : "answer"}`);
    mark(this.prompt, "placeholder", follows ? "Ask all of them further…" : "Ask all of them…");
  }

  get followsUp() {
    return $("follow-up").checked;
  }

  #showChosen() {
    const { names } = this.choice;
    $("chosen").replaceChildren(...names.map((name, place) =>
      el("li", { title: name }, shortName(name), Object.hasOwn(this.choice.own, name) ? el("span", { class: "own", title: "has parameters of its own" }, " ✱") : null,
        el("button", { type: "button", class: "remove", "aria-label": `Leave ${name} out`, click: () => this.#remove(place) }, "×"))));
    put($("models-count"), String(names.length));
    put($("parameters-count"), this.choice.changes > 0 ? String(this.choice.changes) : "");
  }

  #remove(place) {
    this.choice.removeAt(place);
    const rest = $("chosen").querySelectorAll("button");
    (rest[Math.min(place, rest.length - 1)] ?? $("chosen-more")).focus();
  }
}
