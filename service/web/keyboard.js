// A key for everything. Those of one letter can be switched off, and do nothing where one types.

import { $, el } from "./dom.js";
import { recall, remember } from "./memory.js";

/** `page` has what the keys do. */
export function wireKeys(page) {
  const { cards } = page;
  const onCard = (name) => () => {
    const card = cards.of(document.activeElement);
    if (card) cards.do(name, card);
    else page.hint("Go to a card first: 1 to 9, or j and k.");
  };
  const keys = [
    ["Everywhere"],
    ["Ctrl+Enter", "Ask (from the question)", null],
    ["/", "Write the question", () => $("prompt").focus()],
    ["m", "Models", page.openModels],
    ["p", "Parameters", page.openParameters],
    ["h", "History", page.openHistory],
    ["n", "New conversation", page.startOver],
    ["t", "Light or dark", page.turnTheme],
    ["?", "These keys", page.openKeys],
    ["Esc", "Close a dialog; leave the question", null],
    ["The comparison"],
    ["x", "Stop all", page.stopAll],
    ["u", "Ask the unfinished ones again", page.askUnfinished],
    ["d", "Differences between two answers", page.openDifferences],
    ["e", "Export", page.openExport],
    ["y", "Play again; pause", page.playOrPause],
    ["1 … 9", "Go to a card", null],
    ["j", "Next card", () => cards.step(1)],
    ["k", "Card before it", () => cards.step(-1)],
    ["The card that has the focus"],
    ["o", "Open it wide, or close it", onCard("open")],
    ["s", "Stop", onCard("stop")],
    ["c", "Copy", onCard("copy")],
    ["a", "Ask again", onCard("again")],
    ["r", "Raw or formatted", onCard("raw")],
    ["g", "Reasoning", onCard("reasoning")],
    ["f", "Follow the end of the text", onCard("follow")],
  ];
  const byKey = new Map(keys.filter(([, , act]) => act).map(([key, , act]) => [key, act]));
  const single = $("single-keys");
  single.checked = recall("keys", true) !== false;
  single.addEventListener("change", () => remember("keys", single.checked));
  $("keys-list").replaceChildren(...keys.map(([key, words]) =>
    el("tr", {}, words
      ? [el("td", {}, el("kbd", {}, key)), el("td", {}, words)]
      : el("th", { colspan: 2, scope: "rowgroup" }, key))));

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.activeElement === $("prompt")) return $("prompt").blur();
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (isTyping(event.target) || document.querySelector("dialog[open]") || !single.checked) return;
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
    const act = digit > 0 && digit <= cards.count ? () => cards.goTo(digit - 1) : byKey.get(event.key);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

const isTyping = (element) =>
  element.matches?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]") ?? false;
