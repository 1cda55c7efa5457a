// Runs after htmx has swapped #page: restores scroll positions and open details, marks entries that
// are new in the list, and announces the change.
"use strict";

(() => {
  let before = null;

  const byId = (selector) => [...document.querySelectorAll(selector)].filter((found) => found.id);
  const user = () => document.querySelector("[data-user]")?.dataset.user;
  const entries = () => [...document.querySelectorAll("[data-item]")];

  function remember() {
    before = {
      user: user(),
      items: new Set(entries().map((entry) => entry.dataset.item)),
      scrolled: byId("[data-keep-scroll]").map((list) => ({
        id: list.id,
        of: list.dataset.keepScroll,
        left: list.scrollLeft,
        top: list.scrollTop,
      })),
      open: byId("[data-keep-open][open]").map((details) => details.id),
    };
  }

  function restore() {
    for (const { id, of, left, top } of before.scrolled) {
      const list = document.getElementById(id);
      if (list?.dataset.keepScroll === of) {
        list.scrollTo({ left, top, behavior: "instant" });
      }
    }
    for (const id of before.open) {
      document.getElementById(id)?.setAttribute("open", "");
    }
  }

  function markNew() {
    const known = before.user === user() && before.items.size > 0;
    const fresh = known ? entries().filter((entry) => !before.items.has(entry.dataset.item)) : [];
    for (const entry of fresh) {
      entry.classList.add("is-fresh");
      entry.querySelector(".fresh").hidden = false;
    }
    return fresh.length;
  }

  function announce(fresh) {
    const first = entries()[0]?.querySelector("h3")?.firstChild?.textContent.trim();
    const summary = first ? `First is ${first}.` : "The list is empty.";
    document.getElementById("announcement").textContent =
      before.user === user()
        ? `Recommendations updated, ${fresh} new. ${summary}`
        : `Recommendations for ${user()}. ${summary}`;
  }

  // On a narrow screen, the selected filter may be outside the visible part of the strip.
  document
    .querySelector("#filters [aria-current]")
    ?.scrollIntoView({ block: "nearest", inline: "center" });

  const isPage = (event) => event.detail.target?.id === "page";
  const showProblem = (shown) => {
    document.getElementById("problem").hidden = !shown;
  };

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (isPage(event)) {
      remember();
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (isPage(event) && before) {
      showProblem(false);
      restore();
      announce(markNew());
    }
  });
  for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(failure, () => showProblem(true));
  }
})();
