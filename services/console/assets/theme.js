// The theme that was chosen on this browser, before the first paint.
"use strict";
try {
  const theme = localStorage.getItem("updraft.theme");
  if (theme === "light" || theme === "dark") {
    document.documentElement.dataset.theme = theme;
  }
} catch {
  // Without storage the system's theme it is.
}
