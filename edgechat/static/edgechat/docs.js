// Swagger UI, with a theme that is set before the first paint and a filter that looks at more than the tags.
"use strict";

const KEPT = "edgechat.docs.theme";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

function showTheme() {
  const isDark = (localStorage.getItem(KEPT) ?? (systemIsDark.matches ? "dark" : "light")) === "dark";
  document.documentElement.classList.toggle("dark-mode", isDark);
  document.getElementById("theme")?.setAttribute("aria-pressed", String(isDark));
  return isDark;
}

/** The operations whose tag, path, method, id or summary contains the phrase, whatever its letter case. */
function filterOperations(tags, phrase) {
  const wanted = phrase.toLowerCase();
  const has = (text) => String(text ?? "").toLowerCase().includes(wanted);
  const isWanted = (operation) =>
    [operation.get("path"), operation.get("method")].some(has) ||
    ["operationId", "summary"].some((field) => has(operation.getIn(["operation", field])));
  return tags
    .map((tag, name) => (has(name) ? tag : tag.set("operations", tag.get("operations").filter(isWanted))))
    .filter((tag) => tag.get("operations").size > 0);
}

showTheme();
systemIsDark.addEventListener("change", showTheme);

addEventListener("DOMContentLoaded", () => {
  showTheme();
  document.getElementById("theme").addEventListener("click", () => {
    localStorage.setItem(KEPT, showTheme() ? "light" : "dark");
    showTheme();
  });
  SwaggerUIBundle({
    url: document.getElementById("swagger-ui").dataset.file,
    dom_id: "#swagger-ui",
    deepLinking: true,
    displayRequestDuration: true,
    filter: true,
    onComplete: () => {
      // Swagger UI's own words say "by tag", which its filter is limited to.
      document.querySelector(".operation-filter-input").placeholder = "Filter by path, method, id, summary or tag";
    },
    persistAuthorization: true,
    plugins: [{ fn: { opsFilter: filterOperations } }],
    validatorUrl: null,
  });
});
