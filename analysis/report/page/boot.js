// Before anything is painted: the theme that was chosen last, and the mark that scripts run.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const theme = localStorage.getItem("prefsweep-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch {
    // No storage for pages from disk: the system's theme it is.
  }
})();
