// Keeps the page up to date: takes what an event brings and puts it where the old is. Without
// this script the page is the same, and is as old as its last loading.
"use strict";

(() => {
  const ASK_AGAIN_MS = 15000;
  const DOUBT_MS = 5000;
  const root = document.documentElement;
  const rows = document.getElementById("rows");
  const news = document.getElementById("news");
  let seen = rows.dataset.version;
  let source = null;
  let asking = 0;
  let doubting = 0;

  // Parts are replaced one by one, and only those that differ: what has the focus, or is being
  // clicked or selected, stays where it is.
  function show(page) {
    for (const row of [...rows.children]) {
      if (!page.getElementById(row.id)) row.remove();
    }
    for (const fresh of page.querySelectorAll("#rows > li")) {
      const row = document.getElementById(fresh.id);
      if (!row) {
        rows.append(fresh); // a new address comes after all others
      } else {
        const turned = row.dataset.state !== fresh.dataset.state;
        row.dataset.state = fresh.dataset.state;
        row.className = fresh.className + (turned ? " turned" : "");
      }
    }
    for (const fresh of page.querySelectorAll("[data-part]")) {
      const part = document.getElementById(fresh.id);
      if (part && !part.isEqualNode(fresh)) part.replaceWith(fresh);
    }
    if (document.title !== page.title) {
      document.title = page.title;
      news.textContent = page.title; // read out, and only when there is something to tell
    }
  }

  function listen() {
    clearTimeout(asking);
    source = new EventSource(`${rows.dataset.events}?seen=${encodeURIComponent(seen)}`);
    source.onopen = () => {
      clearTimeout(doubting);
      root.classList.add("is-live");
    };
    source.onmessage = (event) => {
      seen = event.lastEventId;
      show(new DOMParser().parseFromString(event.data, "text/html"));
    };
    source.onerror = () => {
      // A stream that has ended is asked for again by the browser. Where there is no free place
      // for one it gives up, and we ask later; until then the link to refresh is there.
      clearTimeout(doubting);
      if (source.readyState === EventSource.CLOSED) {
        hush();
        asking = setTimeout(listen, ASK_AGAIN_MS * (1 + Math.random()));
      } else {
        doubting = setTimeout(() => root.classList.remove("is-live"), DOUBT_MS);
      }
    };
  }

  function hush() {
    clearTimeout(asking);
    clearTimeout(doubting);
    source?.close();
    source = null;
    root.classList.remove("is-live");
  }

  // A page that nobody sees leaves its place to others, and so does one that is left: the browser
  // may keep it, to show it again when somebody goes back.
  const follow = () => {
    if (document.hidden) hush();
    else if (!source) listen();
  };
  document.addEventListener("visibilitychange", follow);
  addEventListener("pagehide", hush);
  addEventListener("pageshow", follow);
})();
