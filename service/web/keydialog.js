// Asks for the service's key, where it needs one. It is kept for this tab only.

import { onKeyNeeded, useKey } from "./api.js";
import { $, openDialog, put } from "./dom.js";

let asking = null;

/** `got()` is called when there is a new one. */
export function wireKeyDialog(got) {
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    $("key-needed").close("use");
  });
  // Whoever else needs one meanwhile waits for the same dialog.
  onKeyNeeded((wrong) => {
    put($("key-said"), wrong ? "The service does not know that key." : "");
    useKey(null);
    asking ??= ask().then((key) => {
      asking = null;
      useKey(key);
      if (key) got();
      return Boolean(key);
    });
    return asking;
  });
}

/** The key that was typed; null when none was. */
function ask() {
  const dialog = $("key-needed");
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      const key = $("key").value.trim();
      $("key").value = "";
      resolve(dialog.returnValue === "use" && key !== "" ? key : null);
    }, { once: true });
    openDialog(dialog);
  });
}
