"use strict";

// Everything works without this: it shows the state anew every few seconds, and answers questions without loading the page again.
const EVERY_MS = 5000;

function partOf(text, id) {
  return new DOMParser().parseFromString(text, "text/html").getElementById(id);
}

function nameOf(element) {
  return element.getAttribute("aria-label") || element.getAttribute("href");
}

// Puts a new part in the place of the old one, with the focus and the tables where they were.
function take(id, part) {
  const old = document.getElementById(id);
  const focused = old.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  const scrolled = new Map(Array.from(old.querySelectorAll(".scrolls"), (one) => [nameOf(one), one.scrollLeft]));
  old.replaceWith(document.adoptNode(part));
  for (const one of part.querySelectorAll(".scrolls, a")) {
    one.scrollLeft = scrolled.get(nameOf(one)) || 0;
    if (focused !== null && nameOf(one) === focused) one.focus({ preventScroll: true });
  }
}

async function refresh() {
  const status = document.getElementById("status");
  if (!status || document.hidden || !document.getSelection().isCollapsed) return;
  try {
    const response = await fetch(status.dataset.source, { headers: { Accept: "text/html" } });
    const part = partOf(await response.text(), "status");
    if (response.redirected) window.location.reload();
    else if (part) take("status", part);
    document.getElementById("lost").hidden = response.ok;
  } catch {
    document.getElementById("lost").hidden = false;
  }
}

async function ask(event) {
  const form = event.target;
  if (!("asks" in form.dataset)) return;
  event.preventDefault();
  const data = new FormData(form);
  const button = event.submitter;
  if (button && button.name) data.append(button.name, button.value);
  if (button) button.disabled = true;
  try {
    const response = await fetch(form.action, { method: "POST", body: data, headers: { Accept: "text/html" } });
    const part = partOf(await response.text(), "results");
    if (part) take("results", part);
    else window.location.reload();
  } catch {
    document.getElementById("lost").hidden = false;
  } finally {
    if (button) button.disabled = false;
  }
}

document.addEventListener("submit", ask);
setInterval(refresh, EVERY_MS);
