// What concerns the whole page: a connection that broke, a service that is away or back.

import { isReady } from "./api.js";
import { $, el } from "./dom.js";

/** Milliseconds between looks at a service that is away. */
const LOOK = 2000;

let newest = 0;

/** Show `sentence` with buttons: [[words, action]]. An empty sentence shows nothing. */
export function notice(sentence, buttons = []) {
  newest += 1; // whoever still looks for the service does so for an older notice
  write(sentence, buttons);
}

function write(sentence, buttons) {
  $("notice").replaceChildren(...(sentence === "" ? [] : [
    el("span", {}, sentence),
    ...buttons.map(([words, act]) => el("button", { type: "button", click: act }, words)),
    el("button", { type: "button", class: "quiet", "aria-label": "Hide this", click: () => notice("") }, "×"),
  ]));
  $("notice").hidden = sentence === "";
}

/** The connection broke: say so, look until the service is there, say that. `offer` are buttons. */
export async function lost(sentence, offer) {
  newest += 1;
  const mine = newest;
  let away = false;
  while (!(await isReady())) {
    if (mine !== newest) return;
    away = true;
    write(`${sentence} What arrived stays. The service can't be reached; the page looks for it every ${LOOK / 1000} s.`, []);
    await new Promise((resolve) => setTimeout(resolve, LOOK));
  }
  if (mine === newest) write(`${sentence} What arrived stays. The service ${away ? "is back" : "can be reached"}.`, offer);
}
