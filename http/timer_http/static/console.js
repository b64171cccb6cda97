// The little that a server-rendered page cannot do: count down, stay calm, and admit when the
// server is away. Everything else works without it.

(() => {
  "use strict";

  const serverTime = Number(document.querySelector("meta[name=server-time-ms]")?.content);
  const aheadMs = serverTime ? Date.now() - serverTime : 0;

  const twoDigits = (value) => String(value).padStart(2, "0");

  const asClock = (seconds) => {
    const hours = Math.floor(seconds / 3600);
    const rest = `${twoDigits(Math.floor(seconds / 60) % 60)}:${twoDigits(seconds % 60)}`;
    return hours ? `${hours}:${rest}` : rest.replace(/^0/, "");
  };

  const countDown = () => {
    const nowMs = Date.now() - aheadMs;
    for (const box of document.querySelectorAll("[data-deadline-ms]")) {
      const leftMs = Math.max(0, Number(box.dataset.deadlineMs) - nowMs);
      const bar = box.querySelector("progress");
      bar.hidden = false;
      bar.value = Math.min(1, leftMs / Number(box.dataset.gapMs));
      box.querySelector("time").textContent = asClock(Math.ceil(leftMs / 1000));
    }
  };

  // A part that came back unchanged is left alone: focus, selection and an open menu stay.
  const lastAnswer = new WeakMap();
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (detail.xhr.status !== 200) return;
    if (lastAnswer.get(detail.target) === detail.xhr.responseText) detail.shouldSwap = false;
    lastAnswer.set(detail.target, detail.xhr.responseText);
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault();
  });

  const showAway = ({ detail }) => {
    const part = detail.elt;
    const words = document.querySelector(`[data-when-away="${part.dataset.live}"]`);
    if (!words || part.dataset.away) return;
    part.replaceChildren(words.content.cloneNode(true));
    part.dataset.away = "true";
    lastAnswer.delete(part);
  };
  for (const failure of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
    document.addEventListener(failure, showAway);
  }
  document.addEventListener("htmx:afterSwap", ({ detail }) => {
    delete detail.target.dataset.away;
    countDown();
  });

  for (const button of document.querySelectorAll("[data-copy]")) {
    const words = button.textContent;
    const field = document.getElementById(button.dataset.copy);
    button.hidden = false;
    button.addEventListener("click", async () => {
      field.select();
      // Browsers have a clipboard over https and on this machine only; else the text is selected.
      await navigator.clipboard?.writeText(field.value);
      if (navigator.clipboard) button.textContent = button.dataset.copied;
      setTimeout(() => { button.textContent = words; }, 2000);
    });
  }

  // Single keys, where nobody is typing. Who works by voice may switch them off in their list.
  const keys = document.getElementById("keys");
  const keysWork = keys?.querySelector("input");
  if (keysWork) {
    keysWork.checked = localStorage.getItem("keys") !== "off";
    keysWork.addEventListener("change", () => {
      localStorage.setItem("keys", keysWork.checked ? "on" : "off");
    });
    // Where nothing had the focus before, Chromium leaves it with what is hidden now.
    keys.addEventListener("close", () => keys.contains(document.activeElement) && document.activeElement.blur());
  }

  const moveRow = (step) => {
    const rows = [...document.querySelectorAll("main a.row")];
    const at = rows.indexOf(document.activeElement);
    rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + step))]?.focus();
  };
  const onKey = {
    "/": () => document.querySelector("main input[type=search]")?.focus(),
    "?": () => keys.showModal(),
    j: () => moveRow(1),
    k: () => moveRow(-1),
    o: () => document.activeElement?.matches("a.row") && document.activeElement.click(),
  };
  document.addEventListener("keydown", (event) => {
    if (!keysWork) return;
    const field = event.target.closest?.("input, textarea, select, dialog, [contenteditable]");
    // For a moment after the list of keys was closed the focus is still in it.
    const isTyping = field && (keys.open || !keys.contains(field));
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!onKey[event.key] || (!keysWork.checked && event.key !== "?")) return;
    event.preventDefault();
    onKey[event.key]();
  });

  countDown();
  setInterval(countDown, 1000);
})();
