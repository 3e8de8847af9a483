"use strict";

// Loads the changing part every two seconds, while the page is seen and not paused.
const PAUSE = 2000;
const main = document.getElementById("main");
const news = document.getElementById("news");
const button = document.getElementById("pause");
let paused = false;
let timer = 0;

function say(text) {
  if (news.textContent !== text) news.textContent = text;
}

function isRead() {
  const selection = getSelection();
  return !selection.isCollapsed && main.contains(selection.anchorNode);
}

// What is open stays open, and the focus where it is, also if a worker is too slow for one load.
const opened = new Set();
let focused = "";

function remember() {
  for (const one of main.querySelectorAll("details")) opened[one.open ? "add" : "delete"](one.id);
  const here = main.contains(document.activeElement) && document.activeElement.closest("details");
  if (here) focused = here.id;
  else if (document.getElementById(focused)) focused = "";
}

function show(html) {
  remember();
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  for (const one of fresh.content.querySelectorAll("details")) one.open = opened.has(one.id);
  main.replaceChildren(fresh.content);
  document.getElementById(focused)?.querySelector("summary").focus({ preventScroll: true });
}

async function load() {
  clearTimeout(timer);
  if (paused || document.hidden) return;
  try {
    const answer = await fetch("part", { cache: "no-store", signal: AbortSignal.timeout(15000) });
    if (answer.status === 401 || answer.status === 403) return say("Reload the page to get access again.");
    if (!answer.ok) throw new Error(String(answer.status));
    const html = await answer.text();
    if (!paused && !isRead()) show(html);
    say("");
  } catch {
    say("The server does not answer. This is an old view.");
  }
  clearTimeout(timer);
  timer = setTimeout(load, PAUSE);
}

button.hidden = false;
button.addEventListener("click", () => {
  paused = !paused;
  button.setAttribute("aria-pressed", String(paused));
  load();
});
document.addEventListener("visibilitychange", load);
timer = setTimeout(load, PAUSE);
document.documentElement.classList.add("is-live");
