// Light, dark, or as the system has it. First of all scripts, so that a page does not flash.

import { recall, remember } from "./memory.js";

const NEXT = { auto: "dark", dark: "light", light: "auto" };
const WORDS = { auto: "as the system", dark: "dark", light: "light" };

let theme = recall("theme", "auto");
if (!(theme in NEXT)) theme = "auto";
document.documentElement.dataset.theme = theme;

/** The next one; returns it in words. */
export function turn() {
  theme = NEXT[theme];
  document.documentElement.dataset.theme = theme;
  remember("theme", theme);
  return WORDS[theme];
}

export const themeWords = () => WORDS[theme];
