// The page's own behaviour: chart, keys, theme, live tail. Nothing here makes
// markup: text goes into text nodes, and the fragments come from the server.
"use strict";
(() => {
  const $ = (sel, el = document) => el.querySelector(sel);
  const root = document.documentElement;
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const two = (n) => String(n).padStart(2, "0");
  const group = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

  // --- chart -------------------------------------------------------------
  const charts = new Map(); // element → uPlot

  const iso = (s) => new Date(s * 1000).toISOString();
  const utc = (s) => iso(s).slice(0, 19).replace("T", " ");

  function narrow(from, to) {
    if (to - from > 60) { from = Math.floor(from); to = Math.ceil(to); }
    const u = new URL(location.href);
    u.searchParams.set("from", iso(from).replace(".000Z", "Z"));
    u.searchParams.set("to", iso(to).replace(".000Z", "Z"));
    for (const k of ["cursor", "trail", "live", "full"]) u.searchParams.delete(k);
    location.assign(u.pathname + u.search);
  }

  function draw(el) {
    const old = charts.get(el);
    if (old) old.destroy();
    const nums = (s) => (s ? s.split(",").map(Number) : []);
    const xs = nums(el.dataset.times), ys = nums(el.dataset.counts);
    if (!xs.length) return;
    const step = xs.length > 1 ? xs[1] - xs[0] : Math.max(1, Number(el.dataset.step));
    const last = xs[xs.length - 1] + step;
    const readout = $(".readout", el.closest(".chartbox"));
    const rest = readout ? readout.textContent : "";
    const axis = { stroke: css("--dim"), font: "11px " + css("--mono"), ticks: { stroke: css("--line"), size: 4 }, grid: { stroke: css("--line"), width: 1 } };
    const span = last - xs[0];
    const label = (s) => {
      const d = new Date(s * 1000);
      const day = `${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`;
      const time = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
      if (span < 300) return `${time}:${two(d.getUTCSeconds())}`;
      if (span < 2 * 86400) return time;
      if (span < 20 * 86400) return `${day} ${time}`;
      return `${d.getUTCFullYear()}-${day}`;
    };
    const opts = {
      width: el.clientWidth, height: 108, legend: { show: false }, padding: [6, 8, 0, 0],
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "Etc/UTC"),
      scales: { x: { time: true, range: () => [xs[0], last] }, y: { range: (u, lo, hi) => [0, Math.max(1, hi)] } },
      axes: [
        { ...axis, grid: { show: false }, size: 24, space: span < 2 * 86400 ? 64 : 110, values: (u, v) => v.map(label) },
        { ...axis, size: 46, space: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 1e8], values: (u, v) => v.map((n) => n >= 1e6 ? n / 1e6 + "M" : n >= 1e3 ? n / 1e3 + "k" : String(n)) },
      ],
      series: [{}, { fill: css("--bar"), stroke: css("--bar"), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.86, 60], align: 1 }) }],
      cursor: { y: false, points: { show: false }, drag: { x: !("still" in el.dataset), y: false, setScale: false } },
      hooks: {
        setCursor: [(u) => {
          if (!readout) return;
          const left = u.cursor.left;
          if (left == null || left < 0) { readout.textContent = rest; return; }
          const i = Math.min(xs.length - 1, Math.max(0, Math.floor((u.posToVal(left, "x") - xs[0]) / step)));
          readout.textContent = `${group(ys[i])} events · ${utc(xs[i])} – ${utc(xs[i] + step)} UTC${"still" in el.dataset ? "" : " · drag to narrow"}`;
        }],
        setSelect: [(u) => {
          if (u.select.width < 4) return;
          narrow(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
        }],
      },
    };
    charts.set(el, new uPlot(opts, [xs, ys], el));
  }

  const drawAll = () => document.querySelectorAll(".chart[data-times]").forEach(draw);
  const sized = new ResizeObserver((list) => {
    for (const e of list) {
      const c = charts.get(e.target);
      if (c && e.contentRect.width > 0 && c.width !== e.contentRect.width) c.setSize({ width: e.contentRect.width, height: 108 });
    }
  });
  function findCharts() {
    document.querySelectorAll(".chart[data-times]").forEach((el) => {
      if (charts.has(el)) return;
      draw(el);
      sized.observe(el);
    });
  }

  // --- theme -------------------------------------------------------------
  const themeButton = $("#theme");
  if (themeButton) {
    themeButton.hidden = false;
    themeButton.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      try { localStorage.setItem("custody-theme", root.dataset.theme); } catch { /* not kept, then */ }
      drawAll();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

  // --- rows --------------------------------------------------------------
  const links = () => [...document.querySelectorAll("#rows .row a.s")];
  function move(by) {
    const all = links();
    if (!all.length) return;
    const at = all.indexOf(document.activeElement);
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))];
    next.focus();
    next.closest(".row").scrollIntoView({ block: "nearest" });
  }
  document.addEventListener("click", (e) => {
    const row = e.target.closest(".row");
    if (!row || e.target.closest("a, button") || String(getSelection())) return;
    const a = $("a.s", row);
    if (a) a.click();
  });

  // --- live tail ---------------------------------------------------------
  // The page says "following" only while a connection is open. This script runs
  // before htmx's, so it hears of the first connection as well.
  const live = $("#rows[data-live]");
  const pause = $("#pause");
  const state = $("#livestate");
  let paused = false, missed = 0, left = 0;
  let link = "connecting", trouble = "";
  function say() {
    state.dataset.link = link;
    if (link !== "open") state.textContent = trouble || "connecting";
    else if (paused) state.textContent = missed ? `paused; updates left out: ${missed}` : "paused";
    else state.textContent = state.dataset.following + (left ? `; updates left out while paused: ${left}` : "");
  }
  function setPaused(p) {
    paused = p;
    left = p ? 0 : missed;
    missed = 0;
    pause.setAttribute("aria-pressed", String(p));
    pause.textContent = p ? "Go on" : "Pause";
    document.body.classList.toggle("paused", p);
    say();
  }
  function follow() {
    const silence = 30000; // three beats of the server
    let heard = 0, failures = 0;
    const lost = (why) => { link = "broken"; trouble = `${why}; trying again`; say(); };
    const reason = (status) => status === 401 ? "the session has ended: sign in again" :
      status === 503 ? "too many live tails are open at once" :
      status >= 400 ? `the server answers with status ${status}` :
      status ? "the server answers without a stream" : "no connection to the server";
    live.addEventListener("htmx:sse:after:connection", () => {
      link = "open";
      failures = 0;
      heard = performance.now();
      say();
    });
    live.addEventListener("htmx:sse:before:connection", () => { if (link === "open") lost("the connection broke"); });
    live.addEventListener("htmx:sse:error", (e) => lost(e.detail.status ? reason(e.detail.status) : "the connection broke"));
    live.addEventListener("htmx:sse:before:message", (e) => {
      heard = performance.now();
      if (e.detail.message.event || !paused) return;
      missed++;
      say();
      e.preventDefault();
    });
    live.addEventListener("htmx:sse:after:message", () => {
      while (live.children.length > 500) live.lastElementChild.remove();
    });
    // The extension connects again once it was connected; the first time is on us.
    let status = 0, late = false;
    live.addEventListener("htmx:before:request", () => { status = 0; late = false; });
    live.addEventListener("htmx:after:request", (e) => {
      status = e.detail.ctx.response.status; // and no stream: nothing for the list
      e.preventDefault();
    });
    live.addEventListener("htmx:error", (e) => { late = e.detail.ctx?.request.signal.reason === "timeout"; });
    live.addEventListener("htmx:finally:request", () => {
      if (live._htmx?.sse) return;
      lost(late ? "no answer within 10 seconds, perhaps because this browser has many live pages open" : reason(status));
      setTimeout(() => live.dispatchEvent(new Event("connect")), Math.min(15000, 500 * 2 ** failures++));
    });
    // A connection can die without a word.
    setInterval(() => {
      const sse = live._htmx?.sse;
      if (link !== "open" || document.hidden || performance.now() - heard < silence) return;
      lost("nothing heard for 30 seconds");
      sse?.reader?.cancel();
    }, 5000);
    document.addEventListener("DOMContentLoaded", () => {
      if (window.htmx) return;
      link = "broken";
      trouble = "not connected: a script of this page did not arrive. Reload the page";
      say();
    });
  }
  if (live && pause) {
    pause.hidden = false;
    pause.addEventListener("click", () => setPaused(!paused));
    follow();
    say();
  }

  // --- permalink ---------------------------------------------------------
  const perma = $("#permalink");
  if (perma && navigator.clipboard) {
    perma.addEventListener("click", async (e) => {
      if (e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
      e.preventDefault();
      const was = perma.textContent;
      try {
        await navigator.clipboard.writeText(perma.href);
        perma.textContent = "Copied";
        setTimeout(() => { perma.textContent = was; }, 1500);
      } catch {
        location.assign(perma.href);
      }
    });
  }
  const back = $("#back");
  if (back && document.referrer === "" && history.length > 1) {
    back.addEventListener("click", (e) => {
      if (e.ctrlKey || e.metaKey || e.shiftKey || e.button || !sessionStorage.getItem("custody-from-search")) return;
      e.preventDefault();
      history.back();
    });
  }
  try {
    if ($("form.bar")) sessionStorage.setItem("custody-from-search", "1");
  } catch { /* the link leads to the search as well */ }

  // --- keys --------------------------------------------------------------
  const go = (sel) => { const a = $(sel); if (a) a.click(); };
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const typing = e.target.closest("input, textarea, select");
    if (e.key === "Escape" && typing) { typing.blur(); return; }
    if (typing || $("#keys").open) return;
    switch (e.key) {
      case "/": { const q = $("#q"); if (!q) return; q.focus(); q.select(); break; }
      case "j": move(1); break;
      case "k": move(-1); break;
      case "n": go("#older"); break;
      case "p": go("#newer"); break;
      case "l": go("#live"); break;
      case " ": if (!live || e.target.closest("a, button, summary")) return; setPaused(!paused); break;
      case "?": $("#keys").showModal(); break;
      default: return;
    }
    e.preventDefault();
  });

  document.addEventListener("htmx:after:swap", findCharts);
  findCharts();
})();
