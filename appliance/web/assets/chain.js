// The waterfall by keyboard, as the ARIA pattern of a treegrid has it: the rows
// are one stop of the Tab key, arrows move, open and close. Without this script it
// is a table with everything open.
"use strict";
(() => {
  const grid = document.querySelector("#waterfall");
  if (!grid) return;
  const rows = [...grid.tBodies[0].rows];
  if (!rows.length) return;
  document.documentElement.classList.add("scripted");
  const level = (row) => Number(row.getAttribute("aria-level"));
  const isFold = (row) => row.classList.contains("fold");
  const links = (row) => [...row.querySelectorAll("a")];
  const shown = () => rows.filter((row) => !row.hidden);

  for (const row of rows) {
    row.tabIndex = -1;
    for (const a of links(row)) a.tabIndex = -1;
  }
  let current = (location.hash && rows.find((row) => "#" + row.id === location.hash)) || rows[0];
  current.tabIndex = 0;

  function focus(row) {
    if (!row) return;
    current.tabIndex = -1;
    current = row;
    row.tabIndex = 0;
    row.focus();
    row.scrollIntoView({ block: "nearest" });
  }

  // Rows below a row that is closed are hidden, whatever they are themselves.
  function set(row, open) {
    if (!row.hasAttribute("aria-expanded") || isFold(row)) return;
    row.setAttribute("aria-expanded", String(open));
    row.querySelector(".tg").textContent = open ? "▾" : "▸";
    let closed = open ? Infinity : level(row);
    for (let i = rows.indexOf(row) + 1; i < rows.length && level(rows[i]) > level(row); i++) {
      if (level(rows[i]) <= closed) closed = Infinity;
      rows[i].hidden = closed !== Infinity;
      if (closed === Infinity && rows[i].getAttribute("aria-expanded") === "false") closed = level(rows[i]);
    }
    if (current.hidden) focus(row);
  }

  function parent(row) {
    for (let i = rows.indexOf(row) - 1; i >= 0; i--) if (level(rows[i]) < level(row)) return rows[i];
    return null;
  }

  grid.addEventListener("focusin", (e) => {
    const row = e.target.closest("tbody tr");
    if (!row || row === current) return;
    current.tabIndex = -1;
    current = row;
    row.tabIndex = 0;
  });

  grid.addEventListener("click", (e) => {
    const mark = e.target.closest(".tg");
    const row = mark && mark.closest("tr");
    if (!row) return;
    if (isFold(row)) row.querySelector("a.s").click();
    else set(row, row.getAttribute("aria-expanded") !== "true");
  });

  grid.addEventListener("keydown", (e) => {
    if (e.ctrlKey && e.key !== "Home" && e.key !== "End" || e.metaKey || e.altKey) return;
    const row = e.target.closest("tbody tr");
    if (!row) return;
    const all = shown(), at = all.indexOf(row), inRow = links(row);
    const on = e.target === row ? -1 : inRow.indexOf(e.target);
    switch (e.key) {
      case "ArrowDown": case "j": focus(all[Math.min(all.length - 1, at + 1)]); break;
      case "ArrowUp": case "k": focus(all[Math.max(0, at - 1)]); break;
      case "PageDown": focus(all[Math.min(all.length - 1, at + 10)]); break;
      case "PageUp": focus(all[Math.max(0, at - 10)]); break;
      case "Home": focus(all[0]); break;
      case "End": focus(all[all.length - 1]); break;
      case "ArrowRight":
        if (on < 0 && row.getAttribute("aria-expanded") === "false") {
          if (isFold(row)) row.querySelector("a.s").click(); else set(row, true);
        } else if (on + 1 < inRow.length) inRow[on + 1].focus();
        break;
      case "ArrowLeft":
        if (on > 0) inRow[on - 1].focus();
        else if (on === 0) focus(row);
        else if (row.getAttribute("aria-expanded") === "true") set(row, false);
        else focus(parent(row) || row);
        break;
      case "Enter":
        if (on >= 0 || !row.querySelector("a.s")) return; // the link does it itself
        row.querySelector("a.s").click();
        break;
      default: return;
    }
    e.preventDefault();
    e.stopPropagation();
  });
})();
