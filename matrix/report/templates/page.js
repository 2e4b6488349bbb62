(async () => {
  const at = (id) => document.getElementById(id);
  const LETTERS = {
    "loaded": "L", "frozen": "F", "defaults": "D", "none": "N", "error": "E",
    "partial": "P", "inconclusive": "?", "infra": "X", "unavailable": "U", "not-run": "·",
  };
  const ABSENT = ["inconclusive", "infra", "unavailable", "not-run"];
  const MARKS = { "known-deviation": "*", "deviates": "!" };
  const DENSE_FROM = 60;
  const letter = (seen) => LETTERS[ABSENT.includes(seen) ? seen : colour(seen)];
  const distinct = (values) => [...new Set(values)];

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function colour(seen) {
    if (ABSENT.includes(seen)) return "absent";
    return /^loaded \((.*, )?frozen/.test(seen) ? "frozen" : seen.split(" ")[0];
  }

  if (typeof DecompressionStream === "undefined") {
    for (const name of ["answered", "shown"]) {
      at(name).textContent = "This browser is too old to unpack the evidence; report.json has all of it.";
    }
    return;
  }
  const data = await unpacked(at("data").textContent);
  // PyTorch writes words of some messages in bold, for terminals.
  for (const error of data.errors) {
    for (const name of ["message", "traceback"]) error[name] = error[name].replace(/\x1b\[[\d;]*m/gu, "");
  }
  const columns = data.savers.length, rows = data.loaders.length;
  const body = evidenceOf(data), symptoms = symptomsOf(data.symptoms);

  for (const kind of data.kinds) {
    const deviates = kind.verdict === "deviates" || kind.verdict === "known-deviation";
    kind.deviates = deviates;
    kind.className = colour(kind.seen) + (deviates ? " " + kind.verdict : "");
    kind.letter = letter(kind.seen) + (MARKS[kind.verdict] || "");
    kind.label = kind.letter + ": " + kind.seen + ", " + kind.verdict;
  }

  // The grid: built once, then only what changes is changed.

  let grid = data.grids[0], place = 0;
  const cells = [], texts = [], shown = new Array(rows * columns).fill(undefined);

  // Rows are boxes: of a large grid the browser leaves undrawn what is out of sight, which it
  // does of no table row.
  function build() {
    const head = make("div", { class: "row head", role: "row" },
      make("div", { class: "corner", role: "columnheader" }, "loaded by \\ saved by"),
      data.savers.map((name) => make("div", { role: "columnheader" }, make("span", {}, name))));
    const lines = data.loaders.map((name) => {
      const line = make("div", { class: "row", role: "row" }, make("div", { role: "rowheader" }, name));
      for (let column = 0; column < columns; column++) {
        const cell = document.createElement("div");
        cell.tabIndex = -1;
        cell.dataset.place = cells.length;
        cell.setAttribute("role", "gridcell");
        texts.push(cell.appendChild(document.createTextNode("")));
        cells.push(cell);
        line.append(cell);
      }
      return line;
    });
    const table = make("div", {
      class: "grid" + (Math.max(rows, columns) > DENSE_FROM ? " dense" : ""),
      role: "grid", "aria-labelledby": "h-grid", "aria-describedby": "help", "aria-readonly": "true",
    }, head, lines);
    table.style.setProperty("--columns", columns);
    cells[place].tabIndex = 0;
    at("gridscroll").append(table);
    table.addEventListener("click", (event) => {
      const cell = event.target.closest("[role=gridcell]");
      if (cell) { go(Number(cell.dataset.place)); open(); }
    });
    table.addEventListener("keydown", key);
  }

  function show() {
    grid.kinds.forEach((number, index) => {
      const kind = data.kinds[number], label = kind ? kind.label : "no such cell";
      if (shown[index] === label) return;
      shown[index] = label;
      texts[index].data = kind ? kind.letter : "";
      cells[index].className = kind ? kind.className : "void";
      cells[index].setAttribute("aria-label", label);
    });
    at("bands").replaceChildren(bands());
    at("shown").textContent = grid.scenario + ", " + grid.variant;
    legend();
    count();
  }

  function count() {
    const all = deviations();
    const here = all.indexOf(place);
    const which = here < 0 ? "" : "deviation " + (here + 1) + " of ";
    at("count").textContent = which + all.length + (which ? "" : " deviations");
  }

  function deviations() {
    const found = [];
    grid.kinds.forEach((number, index) => {
      if (number >= 0 && data.kinds[number].deviates) found.push(index);
    });
    return found;
  }

  function go(target) {
    cells[place].tabIndex = -1;
    place = target;
    cells[place].tabIndex = 0;
    cells[place].focus();
    reveal();
    count();
  }

  // Sticky headers lie over the cells: scroll what has focus out from under them.
  function reveal() {
    const box = at("gridscroll"), cell = cells[place].getBoundingClientRect();
    const corner = box.querySelector(".corner").getBoundingClientRect();
    if (cell.left < corner.right) box.scrollLeft -= corner.right - cell.left;
    if (cell.top < corner.bottom) box.scrollTop -= corner.bottom - cell.top;
  }

  function step(direction) {
    const all = deviations();
    if (!all.length) return;
    const next = direction > 0 ? all.find((one) => one > place) : all.findLast((one) => one < place);
    go(next === undefined ? all[direction > 0 ? 0 : all.length - 1] : next);
  }

  function key(event) {
    const column = place % columns, row = Math.floor(place / columns);
    const jump = event.ctrlKey || event.metaKey;
    const moves = {
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      PageUp: [row - 10, column], PageDown: [row + 10, column],
      Home: [jump ? 0 : row, 0], End: [jump ? rows - 1 : row, columns - 1],
    };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      open();
    } else if (moves[event.key]) {
      event.preventDefault();
      const [to, across] = moves[event.key];
      const inside = (value, size) => Math.min(Math.max(value, 0), size - 1);
      go(inside(to, rows) * columns + inside(across, columns));
    }
  }

  // The FAQ's table of bands, counted from the grid.

  function bands() {
    const fields = new Map();
    grid.kinds.forEach((number, index) => {
      if (number < 0) return;
      const saver = data.savers[index % columns], loader = data.loaders[Math.floor(index / columns)];
      const where = data.bandOf[loader] + " " + data.bandOf[saver];
      if (!fields.has(where)) fields.set(where, []);
      fields.get(where).push(data.kinds[number]);
    });
    const head = make("tr", {}, make("th", { scope: "col" }, "loaded by \\ saved by"),
      data.bands.map((saver) => make("th", { scope: "col" }, saver)));
    const lines = data.bands.map((loader) => make("tr", {}, make("th", { scope: "row" }, loader),
      data.bands.map((saver) => band(fields.get(loader + " " + saver)))));
    return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Band table" },
      make("table", { class: "bands" },
        make("caption", {}, grid.scenario + ", " + grid.variant + ". Documented → observed, in how many cells."),
        make("thead", {}, head), make("tbody", {}, lines)));
  }

  function band(kinds) {
    if (!kinds) return make("td", {}, "–");
    const counts = new Map();
    for (const kind of kinds) counts.set(kind.seen, (counts.get(kind.seen) || 0) + 1);
    const seen = [...counts].sort((one, other) => other[1] - one[1]).map((pair) => pair.join(" "));
    const documented = distinct(kinds.map((kind) => kind.documented)).sort().join(" / ");
    const deviating = data.qualifies ? 0 : kinds.filter((kind) => kind.deviates).length;
    return make("td", deviating ? { class: "deviating" } : {}, documented + " → " + seen.join(", "),
      deviating ? make("span", { class: "mark" }, " (" + deviating + " deviate)") : null);
  }

  // The evidence of one cell.

  function names() {
    return { saved_by: data.savers[place % columns], loaded_by: data.loaders[Math.floor(place / columns)] };
  }

  function open() {
    if (grid.kinds[place] < 0) return;
    const { saved_by, loaded_by } = names();
    at("evidence-title").textContent = "Saved by " + saved_by + ", loaded by " + loaded_by;
    at("evidence-body").replaceChildren(...body(grid, place % columns, place, saved_by, loaded_by));
    remember(id(grid, saved_by, loaded_by));
    at("evidence").showModal();
    at("evidence").scrollTop = 0;
  }

  // Whoever came by a link of the question goes back to it.
  let cameFrom = null;

  function close() {
    if (cameFrom && cameFrom.isConnected) {
      replaceAddress(question.address());
      cameFrom.focus();
    } else {
      remember(id(grid));
      cells[place].focus();
    }
    cameFrom = null;
  }

  // The choice: a module, a recipe, a checkpoint, a variant. The address keeps it.

  function id(one, saver, loader) {
    return [one.scenario, one.variant, ...(saver ? [saver + "->" + loader] : [])].join("/");
  }

  function remember(what) {
    replaceAddress(encodeURIComponent(what).replaceAll("%2F", "/"));
  }

  function replaceAddress(fragment) {
    history.replaceState(null, "", "#" + fragment);
  }

  function fill(select, options, chosen) {
    select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text || value)));
    const values = options.map(([value]) => value);
    select.value = values.includes(chosen) ? chosen : values[0];
  }

  // What was chosen stays where the next module or recipe has it, too.
  function offer() {
    const before = data.scenarios.find((one) => one.scenario === grid.scenario);
    let left = data.scenarios.filter((one) => one.module === at("module").value);
    fill(at("recipe"), distinct(left.map((one) => one.recipe)).map((name) => [name]), at("recipe").value);
    left = left.filter((one) => one.recipe === at("recipe").value);
    const alike = left.find((one) => one.scenario === before.scenario)
      || left.find((one) => one.checkpoint === before.checkpoint);
    fill(at("scenario"), left.map((one) => [one.scenario, one.checkpoint + " (" + one.scenario + ")"]),
      alike && alike.scenario);
    vary(at("variant").value);
  }

  function vary(variant) {
    const scenario = at("scenario").value;
    const left = data.grids.filter((one) => one.scenario === scenario);
    fill(at("variant"), left.map((one) => [one.variant]), variant);
    grid = left.find((one) => one.variant === at("variant").value);
    show();
  }

  function choose(one) {
    const { module, recipe } = data.scenarios.find((known) => known.scenario === one.scenario);
    grid = one;
    at("module").value = module;
    fill(at("recipe"), [[recipe]], recipe);
    at("variant").replaceChildren(make("option", { value: one.variant }));
    offer();
  }

  function legend() {
    const here = distinct(grid.kinds).filter((number) => number >= 0);
    const seen = distinct(here.map((number) => data.kinds[number].seen));
    const item = (style, mark, text) => make("li", {}, make("span", { class: "cell " + style }, mark), text);
    at("legend").replaceChildren(...seen.map((one) => item(colour(one), letter(one), one)),
      item("error known-deviation", "E*", "known deviation"), item("error deviates", "E!", "deviates"),
      item("void", "", "no such cell"));
  }

  function wanted() {
    try {
      return decodeURIComponent(location.hash.slice(1));
    } catch (_malformed) {
      return "";
    }
  }

  // Show what the address names, and return what that is; an empty text where it names nothing.
  function follow() {
    if (question.follow(location.hash.slice(1))) return "question";
    const what = wanted();
    const one = data.grids.find((known) => what === id(known) || what.startsWith(id(known) + "/"));
    if (!one) return "";
    choose(one);
    if (what === id(one)) return "grid";
    const found = one.kinds.findIndex((number, index) => number >= 0 &&
      id(one, data.savers[index % columns], data.loaders[Math.floor(index / columns)]) === what);
    if (found < 0) return "grid";
    go(found);
    open();
    return "cell";
  }

  const HEADINGS = { question: "h-question", grid: "h-bands" };

  // The way back leads out of a cell, too.
  function moved() {
    const what = follow();
    if (what !== "cell" && at("evidence").open) at("evidence").close();
    else if (HEADINGS[what]) at(HEADINGS[what]).focus();
  }

  build();
  const question = questionOf(data, at, symptoms, replaceAddress);
  tracebackBox(at, symptoms);
  fill(at("module"), distinct(data.scenarios.map((one) => one.module)).map((name) => [name]));
  choose(grid);
  follow();
  for (const name of ["module", "recipe"]) {
    at(name).addEventListener("change", () => { offer(); remember(id(grid)); });
  }
  for (const name of ["scenario", "variant"]) {
    at(name).addEventListener("change", () => { vary(at("variant").value); remember(id(grid)); });
  }
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("close").addEventListener("click", () => at("evidence").close());
  at("evidence").addEventListener("close", close);
  at("answers").addEventListener("click", (event) => {
    const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey;
    cameFrom = elsewhere ? null : event.target.closest("a.to-evidence");
  });
  addEventListener("hashchange", moved);
  document.documentElement.dataset.ready = "";
})();
