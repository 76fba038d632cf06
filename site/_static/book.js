// What scrolls can be reached with the keyboard, and what can be opened has a name.
const scrolls = "pre, .bd-article table, .pst-scrollable-table-container, mjx-container, .output_area, .cell_output";
function reachable() {
  for (const part of document.querySelectorAll(scrolls))
    if (part.scrollWidth > part.clientWidth || part.scrollHeight > part.clientHeight) part.tabIndex = 0;
}
document.addEventListener("DOMContentLoaded", () => {
  for (const fold of document.querySelectorAll("summary")) {
    if (fold.textContent.trim()) fold.removeAttribute("aria-label");
    else fold.setAttribute("aria-label", `Pages under ${fold.closest("li")?.querySelector("a")?.textContent.trim()}`);
  }
  for (const button of document.querySelectorAll(".search-button__button, .search-button-field"))
    if (button.textContent.trim()) button.setAttribute("aria-label", button.textContent.replace(/\s+/g, " ").trim());
});
addEventListener("load", () => {
  reachable();
  addEventListener("resize", reachable);
  window.MathJax?.startup?.promise?.then(reachable);
});
