// Before the first paint, so that a dark page doesn't flash white. A file of its own: the policy allows no inline script.
(function () {
  var wanted = "auto";
  try {
    wanted = localStorage.getItem("reelmill.theme") || "auto";
  } catch (_) {
    // storage is switched off: the system's choice holds
  }
  var dark = wanted === "dark" || (wanted === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
})();
