// Brings a page that shows the running month up to date every few seconds, while it is looked at and nobody
// types in it. Without JavaScript the page is the same and stays as it was loaded.
"use strict";
(() => {
  const seconds = () => Number(document.querySelector("main").dataset.live || 0);
  let waiting = false;

  const busy = () => {
    const at = document.activeElement;
    const open = document.querySelector("main details[open]:not([data-open])"); // opened by who reads, not by us
    return document.hidden || waiting || open || (at && at.closest("main form")) || String(getSelection());
  };

  async function refresh() {
    if (!busy()) {
      waiting = true;
      try {
        const answer = await fetch(location.href, { headers: { accept: "text/html" } });
        if (answer.ok) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
          const focused = document.activeElement && document.activeElement.getAttribute("href");
          const main = document.querySelector("main");
          main.replaceChildren(...fresh.querySelector("main").childNodes);
          main.dataset.live = fresh.querySelector("main").dataset.live || "0";
          if (focused) {
            const again = [...document.querySelectorAll("main a")].find((a) => a.getAttribute("href") === focused);
            if (again) again.focus();
          }
        }
      } catch {
        // the server is away for a moment: what stands, stands; the next round tries again
      }
      waiting = false;
    }
    if (seconds()) setTimeout(refresh, seconds() * 1000);
  }

  if (seconds()) setTimeout(refresh, seconds() * 1000);
})();
