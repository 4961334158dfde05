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

  // Which models and columns are shown: one state, read from the tools, kept in the page's address.
  const ranking = document.getElementById("ranking");
  const lines = ranking ? Array.from(ranking.tBodies[0].rows) : [];
  const find = document.getElementById("find");
  const count = document.getElementById("count");
  const boxes = function (where) {
    return Array.from(document.querySelectorAll(where + " input[type=checkbox]"));
  };
  const modelBoxes = boxes("#legend"), familyBoxes = boxes("#families"), columnBoxes = boxes("#columns");
  const everyBox = modelBoxes.concat(familyBoxes, columnBoxes);
  const byValue = function (b) { return b.value; };
  const byModel = function (b) { return b.getAttribute("data-m"); };

  function wanted(line) {
    const family = familyBoxes.find(function (b) { return b.value === line.getAttribute("data-family"); });
    const name = line.querySelector("th.model").textContent.toLowerCase();
    return (!family || family.checked) && name.includes(find.value.trim().toLowerCase());
  }
  function showColumns() {
    const heads = Array.from(ranking.tHead.rows[0].children);
    for (const box of columnBoxes) {
      const place = heads.findIndex(function (h) { return h.getAttribute("data-column") === box.value; });
      for (const row of [ranking.tHead.rows[0]].concat(lines)) row.children[place].hidden = !box.checked;
    }
  }
  function showModels() {
    let seen = 0;
    for (const line of lines) {
      const m = byModel(line), there = wanted(line);
      if (there) seen += 1;
      for (const row of document.querySelectorAll('tr[data-m="' + m + '"]')) row.hidden = !there;
      const box = modelBoxes.find(function (b) { return byModel(b) === m; });
      for (const g of document.querySelectorAll('.series[data-m="' + m + '"]')) {
        g.classList.toggle("off", !there || !(box && box.checked));
      }
    }
    count.textContent = seen === lines.length ? "" : seen + " of " + lines.length + " models";
  }
  function unchecked(some, name) {
    return some.filter(function (b) { return !b.checked; }).map(name);
  }
  function keep() {
    const said = new URLSearchParams();
    if (find.value.trim()) said.set("find", find.value.trim());
    for (const v of unchecked(familyBoxes, byValue)) said.append("without", v);
    for (const v of unchecked(columnBoxes, byValue)) said.append("hide", v);
    for (const v of unchecked(modelBoxes, byModel)) said.append("off", v);
    const sorted = ranking.querySelector("thead th[aria-sort]");
    if (sorted) {
      const place = Array.prototype.indexOf.call(sorted.parentElement.children, sorted);
      const way = sorted.getAttribute("aria-sort");
      if (place || way !== "ascending") said.set("sort", place + (way === "ascending" ? "up" : "down"));
    }
    const text = said.toString();
    const now = location.hash.slice(1);
    if (text !== now && (text || now.includes("="))) {
      history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
    }
  }
  function recall() {
    const text = location.hash.slice(1);
    if (!text.includes("=")) return;
    const said = new URLSearchParams(text);
    find.value = said.get("find") || "";
    for (const b of familyBoxes) b.checked = !said.getAll("without").includes(b.value);
    for (const b of columnBoxes) b.checked = !said.getAll("hide").includes(b.value);
    for (const b of modelBoxes) b.checked = !said.getAll("off").includes(byModel(b));
    const sort = /^(\d+)(up|down)$/.exec(said.get("sort") || "");
    const head = sort && ranking.tHead.rows[0].children[Number(sort[1])];
    if (head && head.querySelector("button")) {
      const way = sort[2] === "up" ? "ascending" : "descending";
      for (let turn = 0; turn < 2 && head.getAttribute("aria-sort") !== way; turn += 1) sortBy(ranking, head);
    }
  }
  if (ranking && find) {
    const update = function () { showColumns(); showModels(); keep(); };
    for (const box of everyBox) box.addEventListener("change", update);
    find.addEventListener("input", update);
    ranking.tHead.addEventListener("click", keep);
    document.getElementById("reset").addEventListener("click", function () {
      find.value = "";
      for (const box of everyBox) box.checked = true;
      update();
    });
    const read = function () { recall(); showColumns(); showModels(); };
    window.addEventListener("hashchange", read);
    read();
  }

  function light(m) {
    for (const figures of document.querySelectorAll(".figures")) {
      figures.classList.toggle("charts-dim", m !== null);
    }
    for (const g of document.querySelectorAll(".figures .series")) {
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
