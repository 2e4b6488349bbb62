// What the theme leaves out for readers who use a keyboard or a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  const all = (selector) => document.querySelectorAll(selector);
  all(".caption[role=heading]").forEach((each) => each.setAttribute("aria-level", "2"));
  all(".sidebar-drawer").forEach((each) => each.setAttribute("aria-label", "Pages"));
  all(".toc-drawer").forEach((each) => each.setAttribute("aria-label", "On this page"));
  // The parameters of a signature are lines, not a list of definitions.
  all("dt dl").forEach((each) => each.setAttribute("role", "presentation"));
  // What scrolls sideways has to be reached without a pointer.
  all("pre, .table-wrapper").forEach((each) => each.setAttribute("tabindex", "0"));
});
