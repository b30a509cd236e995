"""Checks of a page for whoever sees badly, uses no mouse, or hears it read: run inside the page.

Contrast is that of WCAG 2.2, 1.4.3: 4.5 to 1, or 3 to 1 for text of 24 px, or bold of 18.66 px. The
colour behind a text is what its ancestors leave, laid over each other.
"""

from __future__ import annotations

__all__ = ["CONTRAST", "NAMES", "UNSEEN_FOCUS"]

_VISIBLE = """
const visible = (element) => {
  if (!element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) return false;
  const box = element.getBoundingClientRect();
  if (box.width <= 1 || box.height <= 1) return false;  // for readers' ears only
  const open = document.querySelector("dialog[open]");
  return !open || open.contains(element);
};
"""

CONTRAST = (
    "() => {"
    + _VISIBLE
    + """
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const parsed = (colour) => {  // whatever form it has: oklch, color-mix and all
    if (!known.has(colour)) known.set(colour, painted(colour));
    return known.get(colour);
  };
  const painted = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) =>
    [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(parsed(getComputedStyle(at).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below),
      parsed(getComputedStyle(document.documentElement).backgroundColor)[3] > 0 ? [0, 0, 0]
        : matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !visible(element)) continue;
    if (element.closest("svg, :disabled, option, .visually-hidden, noscript")) continue;
    const style = getComputedStyle(element);
    const below = behind(element);
    const text = over(parsed(style.color), below);
    const [high, low] = [light(text), light(below)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5) - 0.01)
      faint.add(`${ratio.toFixed(2)}: "${walker.currentNode.data.trim().slice(0, 30)}" in `
        + `${element.tagName.toLowerCase()}.${element.className}`);
  }
  return [...faint];
}"""
)
"""Gives the texts that are too faint."""

NAMES = (
    "() => {"
    + _VISIBLE
    + """
  const words = (ids) => ids.split(/\\s+/)
    .map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim();
  const named = (element) => {
    if (element.getAttribute("aria-label")?.trim()) return true;
    if (words(element.getAttribute("aria-labelledby") ?? "")) return true;
    if ([...(element.labels ?? [])].some((label) => label.textContent.trim())) return true;
    if (element.matches("input, select, textarea")) return Boolean(element.title);
    return Boolean(element.textContent.trim() || element.title);
  };
  const wrong = [];
  const controls = "a[href], button, input, select, textarea, summary, dialog[open], "
    + "[role=progressbar], [role=img], [role=region], [tabindex='0'], section, nav, form";
  for (const element of document.querySelectorAll(controls))
    if (visible(element) && !named(element))
      wrong.push("no name: " + element.outerHTML.slice(0, 120));
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((id, place) => ids.indexOf(id) !== place)))
    wrong.push(`twice: #${id}`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls"])
    for (const element of document.querySelectorAll(`[${name}]`))
      for (const id of element.getAttribute(name).split(/\\s+/))
        if (!document.getElementById(id)) wrong.push(`${name} names no element: ${id}`);
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    if (!visible(heading) || heading.closest("dialog, .formatted")) continue;
    const depth = Number(heading.tagName[1]);
    if (depth > level + 1) wrong.push(`from h${level} to h${depth}: ${heading.textContent}`);
    level = depth;
  }
  if (document.querySelectorAll("main").length !== 1) wrong.push("there is one main");
  if (!document.documentElement.lang) wrong.push("the page says its language");
  for (const element of document.querySelectorAll("[tabindex]"))
    if (element.tabIndex > 0) wrong.push("an order of its own: " + element.outerHTML.slice(0, 80));
  return wrong;
}"""
)
"""Gives controls without a name, ids that are there twice, and headings that skip a level."""

UNSEEN_FOCUS = """
() => {
  const here = document.activeElement;
  if (!here || here === document.body) return "";  // the browser's own bar has it
  const style = getComputedStyle(here);
  const outline = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  const around = getComputedStyle(here.parentElement);
  const parents = around.outlineStyle !== "none" && parseFloat(around.outlineWidth) >= 1;
  const box = here.getBoundingClientRect();
  const inSight = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return (outline || parents || style.boxShadow !== "none") && inSight
    ? "" : here.outerHTML.slice(0, 120);
}
"""
"""Gives the element that has the focus, where nothing shows it; else an empty text."""
