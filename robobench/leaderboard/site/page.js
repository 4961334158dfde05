"use strict";
(function () {
  const root = document.documentElement;
  root.classList.add("js");

  // A number is worth its data-v, a word its text; what is undefined stands last in both directions.
  function worth(cell, numeric) {
    if (!numeric) return cell.textContent.trim().toLowerCase();
    return cell.hasAttribute("data-v") ? Number(cell.getAttribute("data-v")) : NaN;
  }

  function sortBy(table, head) {
    const row = head.parentElement;
    const column = Array.prototype.indexOf.call(row.children, head);
    const numeric = head.classList.contains("num") || head.classList.contains("rank");
    const before = head.getAttribute("aria-sort");
    const first = head.classList.contains("num") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const way = before === first ? other : first;
    for (const h of row.children) h.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", way);
    const sign = way === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = Array.from(body.rows).map(function (r) {
      return { r: r, w: worth(r.children[column], numeric), last: r.classList.contains("unranked") };
    });
    rows.sort(function (a, b) {
      if (a.last !== b.last) return a.last ? 1 : -1;
      if (!numeric) return sign * a.w.localeCompare(b.w);
      const na = Number.isNaN(a.w), nb = Number.isNaN(b.w);
      if (na || nb) return na === nb ? 0 : na ? 1 : -1;
      return sign * (a.w - b.w);
    });
    for (const item of rows) body.appendChild(item.r);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const button of table.querySelectorAll("thead button")) {
      button.addEventListener("click", function () { sortBy(table, button.closest("th")); });
    }
  }
  const rank = document.querySelector("#ranking th.rank");
  if (rank) rank.setAttribute("aria-sort", "ascending");

  function series(m) {
    return document.querySelectorAll('.series[data-m="' + m + '"]');
  }
  for (const box of document.querySelectorAll("#legend input")) {
    const m = box.getAttribute("data-m");
    const show = function () {
      for (const g of series(m)) g.classList.toggle("off", !box.checked);
    };
    box.addEventListener("change", show);
    show();
  }

  const figures = document.querySelector(".figures");
  function light(m) {
    if (!figures) return;
    figures.classList.toggle("charts-dim", m !== null);
    for (const g of figures.querySelectorAll(".series")) {
      g.classList.toggle("lit", m !== null && g.getAttribute("data-m") === m);
    }
  }
  for (const label of document.querySelectorAll("#legend label")) {
    const m = label.querySelector("input").getAttribute("data-m");
    label.addEventListener("mouseenter", function () { light(m); });
    label.addEventListener("mouseleave", function () { light(null); });
    label.addEventListener("focusin", function () { light(m); });
    label.addEventListener("focusout", function () { light(null); });
  }

  const toggle = document.getElementById("theme");
  const names = { "": "automatic", light: "light", dark: "dark" };
  const next = { "": "dark", dark: "light", light: "" };
  function wear(theme) {
    if (theme) root.setAttribute("data-theme", theme);
    else root.removeAttribute("data-theme");
    toggle.textContent = "Theme: " + names[theme];
  }
  function remembered() {
    try { return localStorage.getItem("robobench-theme") || ""; } catch (e) { return ""; }
  }
  wear(remembered() in names ? remembered() : "");
  toggle.addEventListener("click", function () {
    const theme = next[root.getAttribute("data-theme") || ""];
    wear(theme);
    try { localStorage.setItem("robobench-theme", theme); } catch (e) { return; }
  });

  window.addEventListener("beforeprint", function () {
    for (const d of document.querySelectorAll("details")) d.open = true;
  });
})();
