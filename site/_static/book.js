// What scrolls can be reached with the keyboard.
addEventListener("load", () => {
  const scrolls = "pre, .bd-article table, mjx-container[display='true'], .output_area, .bd-sidebar-primary";
  for (const part of document.querySelectorAll(scrolls))
    if (part.scrollWidth > part.clientWidth || part.scrollHeight > part.clientHeight) part.tabIndex = 0;
});
