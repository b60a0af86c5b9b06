"use strict";
// Reads the page again every few seconds, not while somebody selects text in it; says so when nobody answers.
const PAUSE_MS = 5000;

async function refresh() {
  const selecting = !document.getSelection().isCollapsed;
  if (!document.hidden && !selecting) {
    let answered = false;
    try {
      const answer = await fetch("/", { signal: AbortSignal.timeout(PAUSE_MS) });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = fresh.querySelector("main");
      if (!main) throw new Error("no page");
      document.title = fresh.title;
      document.querySelector("main").replaceWith(main);
      answered = true;
    } catch { /* shown below, and tried again */ }
    document.querySelector("#silent").hidden = answered;
  }
  setTimeout(refresh, PAUSE_MS);
}

setTimeout(refresh, PAUSE_MS);
