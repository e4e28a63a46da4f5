// Sets the chosen theme before the first paint. Without a choice the system's holds.
"use strict";
try {
  const t = localStorage.getItem("custody-theme");
  if (t === "dark" || t === "light") document.documentElement.dataset.theme = t;
} catch { /* storage may be switched off: the system's theme holds */ }
