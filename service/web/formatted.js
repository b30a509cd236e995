// The one place where a text becomes markup. What comes in was made by `POST /format`, on the
// server, by libraries kept for it; the policy's name is the only one that the page's
// Content-Security-Policy allows, so a second place would not work.

import { format } from "./api.js";

const policy = globalThis.trustedTypes?.createPolicy("formatted", { createHTML: (html) => html });

/** At once: an answer that is waited for counts more than the ninth of a batch. */
const MOST_AT_ONCE = 2;
const waiting = [];
let running = 0;

/**
 * `text`, formatted, into `element`; resolves to whether that was done. It is not for a text that is
 * too long, or when the service can't be reached: then the plain text stays, which is no failure.
 */
export function formatInto(element, text, signal) {
  return new Promise((resolve) => {
    waiting.push({ element, text, signal, resolve });
    next();
  });
}

function next() {
  if (running >= MOST_AT_ONCE || waiting.length === 0) return;
  const { element, text, signal, resolve } = waiting.shift();
  running += 1;
  html(text, signal).then((made) => {
    running -= 1;
    if (made !== null && !signal.aborted) {
      const template = document.createElement("template");
      template.innerHTML = policy ? policy.createHTML(made) : made;
      element.replaceChildren(template.content);
      for (const table of element.querySelectorAll("table")) wrap(table);
    }
    resolve(made !== null && !signal.aborted);
    next();
  });
}

async function html(text, signal) {
  if (signal.aborted) return null;
  try {
    return await format(text, signal);
  } catch {
    return null;
  }
}

/** A table keeps its meaning only as a table, so what scrolls is a box around it. */
function wrap(table) {
  const box = document.createElement("div");
  box.className = "wide";
  table.replaceWith(box);
  box.append(table);
}

/** What is wider than its card scrolls by itself, and so must be reachable by keyboard. */
export function makeReachable(element) {
  for (const box of element.querySelectorAll(".wide, pre")) {
    if (box.scrollWidth <= box.clientWidth) continue;
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", box.className === "wide" ? "Table" : "Code");
  }
}
