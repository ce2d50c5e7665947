// Two conveniences; every page works without them.
"use strict";

// A region with data-live is fetched again every so many seconds and replaced where it changed. It waits while the page
// is hidden, while details in it are open, and while somebody selects text in it. What cannot be followed is said above it.
const region = document.querySelector("[data-live]");
const notice = document.createElement("p");
notice.className = "note stale";
notice.setAttribute("role", "status");
let heard = new Date();

function say(text) {
  if (notice.textContent !== text) notice.textContent = text;
}

function selects() {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && region.contains(selection.anchorNode);
}

function isInUse() {
  return document.hidden || selects() || region.querySelector("details[open]") !== null;
}

async function read() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) throw new Error(answer.status);
  return new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
}

// What the focus may be on again: of links those to the same address, within tables or outside of them, where they come and go.
function alike(element) {
  const address = element.getAttribute("href");
  const all = region.querySelectorAll(address === null ? "[tabindex], summary" : `[href="${CSS.escape(address)}"]`);
  const isInTable = (each) => each.closest("table") !== null;
  const inTable = isInTable(element);
  return [...all].filter((each) => isInTable(each) === inTable);
}

function replace(fresh) {
  const focused = region.contains(document.activeElement) ? document.activeElement : null;
  const place = focused === null ? -1 : alike(focused).indexOf(focused);
  const scrolled = [...region.querySelectorAll(".scroll, pre")].map((part) => [
    part.scrollLeft,
    part.scrollTop + part.clientHeight >= part.scrollHeight - 1 ? Infinity : part.scrollTop, // its end is followed
  ]);
  region.replaceChildren(...fresh.childNodes); // `focused` stays in the table it was in, which is no longer shown
  region.querySelectorAll(".scroll, pre").forEach((part, index) => {
    const [left, top] = scrolled[index] ?? [0, 0];
    part.scrollLeft = left;
    part.scrollTop = Math.min(top, part.scrollHeight);
  });
  if (focused !== null) alike(focused)[place]?.focus({ preventScroll: true });
}

async function refresh() {
  if (isInUse()) {
    if (!document.hidden) say("This page is not renewed while something in it is open or selected.");
    return;
  }
  try {
    const fresh = await read();
    heard = new Date();
    say("");
    if (fresh !== null && fresh.innerHTML !== region.innerHTML && !isInUse()) replace(fresh);
  } catch (error) {
    const time = heard.toISOString().slice(11, 16);
    say(`The console does not answer (${error.message}). What is here is as of ${time} UTC.`);
  }
}

if (region !== null) {
  region.before(notice);
  setInterval(refresh, 1000 * Number(region.dataset.live));
}

// "/" goes to the search field.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea") !== null;
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = document.querySelector("[data-search]");
  if (field === null) return;
  event.preventDefault();
  field.focus();
});
