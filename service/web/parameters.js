// The dialog of the parameters: of the question, and of single models.

import { DEFAULTS } from "./choice.js";
import { $, el, openDialog, put } from "./dom.js";

const NUMBERS = ["temperature", "top_p", "max_tokens", "k", "max_cost_usd", "hedge_after"];
const OWN = [
  ["temperature", "Temperature", { min: 0, max: 2, step: 0.1 }],
  ["top_p", "Top p", { min: 0, max: 1, step: 0.05 }],
  ["max_tokens", "Most tokens", { min: 256, max: 65536, step: 1 }],
];

export class Parameters {
  constructor(choice) {
    this.choice = choice;
    this.dialog = $("parameters");
    this.form = $("shared");
    this.form.addEventListener("input", () => this.#read());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    $("parameters-reset").addEventListener("click", () => this.#reset());
  }

  open() {
    this.#write();
    this.#rows();
    this.#say();
    openDialog(this.dialog);
  }

  #write() {
    for (const field of this.form.elements) {
      if (field.name) field.value = this.choice.shared[field.name] ?? DEFAULTS[field.name] ?? "";
    }
    this.form.elements.k.disabled = this.choice.shared.mode !== "first_k";
  }

  #read() {
    const shared = {};
    for (const field of this.form.elements) {
      if (!field.name || field.value.trim() === "" || field.value === DEFAULTS[field.name]) continue;
      if (!field.checkValidity()) continue; // the browser shows what is wrong with it
      shared[field.name] = NUMBERS.includes(field.name) ? Number(field.value) : field.value;
    }
    if (shared.mode !== "first_k") delete shared.k;
    else shared.k ??= 1;
    this.form.elements.k.disabled = shared.mode !== "first_k";
    if (shared.k && this.form.elements.k.value === "") this.form.elements.k.value = shared.k;
    this.choice.setShared(shared);
    this.#say();
  }

  #rows() {
    const heads = ["Model", ...OWN.map(([, words]) => words), "If it fails, ask", ""];
    const rows = this.choice.names.map((name, place) => this.#row(name, this.choice.ids[place]));
    $("own").replaceChildren(
      el("thead", {}, el("tr", {}, heads.map((words) => (words ? el("th", { scope: "col" }, words) : el("td"))))),
      el("tbody", {}, rows));
  }

  #row(name, id) {
    const own = this.choice.own[name] ?? {};
    const fields = OWN.map(([field, words, range]) =>
      el("input", { type: "number", ...range, name: field, value: own[field] ?? null, "aria-label": `${words} of ${name}`, placeholder: "as all" }));
    const others = el("input", {
      type: "text", name: "fallbacks", value: (own.fallbacks ?? []).join(", "), spellcheck: "false",
      autocomplete: "off", "aria-label": `Who is asked if ${name} fails: up to three ids, with commas`, placeholder: "nobody",
    });
    const row = el("tr", {}, el("th", { scope: "row" }, name),
      [...fields, others].map((field) => el("td", {}, field)),
      el("td", {}, el("button", {
        type: "button", class: "quiet", "aria-label": `Ask ${id} once more`, title: "Ask this model twice, with other parameters",
        click: () => {
          this.choice.double(id);
          this.#rows();
          $("own").querySelector("tbody tr:last-child input").focus();
        },
      }, "twice")));
    row.addEventListener("input", () => {
      const read = {};
      for (const field of fields) if (field.value !== "" && field.checkValidity()) read[field.name] = Number(field.value);
      const ids = others.value.split(",").map((each) => each.trim()).filter(Boolean);
      if (ids.length > 0) read.fallbacks = ids.slice(0, 3);
      this.choice.setOwn(name, read);
      this.#say();
    });
    return row;
  }

  #reset() {
    this.choice.setShared({});
    for (const name of Object.keys(this.choice.own)) this.choice.setOwn(name, {});
    this.#write();
    this.#rows();
    this.#say();
  }

  #say() {
    put($("parameters-said"), this.choice.contradiction ?? "");
  }
}
