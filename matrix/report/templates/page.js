"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const LETTERS = {
    "loaded": "L", "frozen": "F", "defaults": "D", "none": "N", "error": "E",
    "partial": "P", "inconclusive": "?", "infra": "X", "unavailable": "U", "not-run": "·",
  };
  const letter = (seen) => LETTERS[ABSENT.includes(seen) ? seen : colour(seen)];
  const ABSENT = ["inconclusive", "infra", "unavailable", "not-run"];
  const MARKS = { "known-deviation": "*", "deviates": "!" };
  const STAGES = ["construct", "deserialize", "load_state_dict", "first_step"];
  const DENSE_FROM = 60;
  const columns = data.savers.length, rows = data.loaders.length;

  // Everything is put into the page as text: nothing that was observed is read as markup.
  function make(name, options = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(options)) element.setAttribute(key, value);
    for (const child of children.flat()) {
      if (child !== null && child !== undefined) element.append(child);
    }
    return element;
  }

  function colour(seen) {
    if (ABSENT.includes(seen)) return "absent";
    return seen === "loaded (frozen)" ? "frozen" : seen.split(" ")[0];
  }

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
    const body = data.loaders.map((name) => {
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
    }, head, body);
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
    for (const table of document.querySelectorAll(".table")) {
      table.hidden = table.dataset.scenario !== grid.scenario || table.dataset.variant !== grid.variant;
    }
    at("shown").textContent = grid.scenario + ", " + grid.variant;
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

  // The evidence of one cell.

  function names() {
    return { saved_by: data.savers[place % columns], loaded_by: data.loaders[Math.floor(place / columns)] };
  }

  function id(one, saver, loader) {
    return one.scenario + "/" + one.variant + "/" + saver + "->" + loader;
  }

  function open() {
    const kind = data.kinds[grid.kinds[place]];
    if (!kind) return;
    const { saved_by, loaded_by } = names();
    const save = data.saves[grid.saves[place % columns]], load = data.loads[grid.loads[place]];
    at("evidence-title").textContent = "Saved by " + saved_by + ", loaded by " + loaded_by;
    at("evidence-body").replaceChildren(
      summary(kind), documented(kind), stages(load), ...attempt(kind), ...failure(load), ...keys(load),
      ...ledger(kind), ...metadata(kind, save, load), ...output(load), ...environment(save, load, kind),
      ...repeat(saved_by, loaded_by));
    history.replaceState(null, "", "#" + encodeURIComponent(id(grid, saved_by, loaded_by)));
    at("evidence").showModal();
    at("evidence").scrollTop = 0;
  }

  function list(pairs) {
    return make("dl", {}, pairs.flatMap(([term, text]) => [
      make("dt", {}, term), make("dd", {}, text === "" || text === undefined ? "–" : text)]));
  }

  function part(title, ...children) {
    return [make("h3", {}, title), ...children];
  }

  function summary(kind) {
    const plainly = kind.plainly || "no outcome: " + kind.outcome;
    return list([["Scenario, variant", grid.scenario + ", " + grid.variant], ["Outcome", plainly],
      ["Verdict", kind.verdict], ...(kind.note ? [["Note", kind.note]] : [])]);
  }

  function documented(kind) {
    const rows = [["The FAQ says", kind.sentence ? "“" + kind.sentence + "”" : "nothing"],
      ["Documented", kind.documented + (kind.reason ? " (" + kind.reason + ")" : "")]];
    if (kind.same_reason !== null) rows.push(["Reason", kind.same_reason ? "the documented one" : "another than the documented one"]);
    return list(rows);
  }

  function stages(load) {
    if (!load) return make("p", {}, "Nothing was loaded.");
    const reached = STAGES.indexOf(load.stage);
    const word = (index) => {
      if (index > reached) return ["unreached", "not reached"];
      return index === reached && load.error !== undefined ? ["failed", "failed"] : ["passed", "passed"];
    };
    return make("ul", { class: "stages", "aria-label": "Stages" }, STAGES.map((stage, index) => {
      const [style, text] = word(index);
      return make("li", { class: style }, stage + ": " + text);
    }));
  }

  function attempt(kind) {
    return kind.detail ? part("What the attempt left", make("pre", {}, kind.detail)) : [];
  }

  function failure(load) {
    if (!load || load.error === undefined) return [];
    const error = data.errors[load.error];
    return part("Error", make("p", { class: "code" }, error.type + ": " + error.message),
      make("details", {}, make("summary", {}, "Traceback"),
        make("pre", {}, error.frames.join("\n") + "\n\n" + error.traceback)));
  }

  function keys(load) {
    if (!load || !(load.missing || load.unexpected)) return [];
    return part("Keys", list([["Missing", (load.missing || []).join(", ")],
      ["Unexpected", (load.unexpected || []).join(", ")]]));
  }

  function ledger(kind) {
    return kind.entries.flatMap((name) => {
      const entry = data.ledger[name];
      return part("Ledger: " + name, list([["State", entry.state], ["Cause", entry.cause],
        ["Advice", entry.advice], ["Reference", entry.reference],
        ["Accepted by", entry.accepted_by], ["Expires", entry.expires]]));
    });
  }

  function metadata(kind, save, load) {
    const saved = parts(save), loaded = parts(load);
    const attention = (name) => (loaded.get(name) || saved.get(name)).attention;
    const all = [...new Set([...saved.keys(), ...loaded.keys()])]
      .sort((one, other) => attention(other) - attention(one));
    if (!all.length) return part("FP8 metadata", make("p", {}, "Neither side has any."));
    const moved = new Map(((load && load.moved) || []).map((n) => [data.moved[n].name, data.moved[n].moved]));
    return part("FP8 metadata (first row of each tensor)", ...all.map((name) =>
      tensors(name, saved.get(name), loaded.get(name), moved.get(name) || {})));
  }

  function output(load) {
    if (!load || !load.output) return [];
    const { largest_difference: difference, largest } = load.output;
    return part("Output on the same input", list([
      ["Largest difference from the saving module", difference + " of " + largest]]));
  }

  function parts(record) {
    return new Map(((record && record.parts) || []).map((number) => {
      const part = data.parts[number];
      return [part.name, part];
    }));
  }

  function tensors(name, saved, loaded, moved) {
    const part = loaded || saved;
    const order = [...new Set([...Object.keys((saved || {}).tensors || {}), ...Object.keys((loaded || {}).tensors || {})])];
    const head = ["tensor", "saved", "loaded", "default", "comparison", "after a further step"];
    return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Tensors of " + name },
      make("table", {},
        make("caption", {}, name + (part.attention ? " (attention)" : "") + (saved && saved.path !== name ? ", saved at " + saved.path : "")),
        make("thead", {}, make("tr", {}, head.map((text) => make("th", { scope: "col" }, text)))),
        make("tbody", {}, order.map((tensor) => {
          const before = tensorOf(saved, tensor), after = tensorOf(loaded, tensor);
          return make("tr", {}, make("th", { scope: "row" }, tensor),
            [values(before), values(after), tensor.endsWith("amax_history") ? "0" : "1", compare(before, after),
              tensor in moved ? (moved[tensor] ? "moved" : "did not move") : "–"].map((text) => make("td", {}, text)));
        }))));
  }

  function tensorOf(part, name) {
    return part && name in part.tensors ? data.tensors[part.tensors[name]] : null;
  }

  function values(tensor) {
    if (!tensor) return "–";
    const shown = tensor.first.map(short);
    const first = [...new Set(shown)].length === 1 && shown.length > 1
      ? shown[0] + " throughout" : shown.join(" ");
    return first + " [" + tensor.dtype + " " + tensor.shape.join("×") + "]";
  }

  // Nine digits tell any two single-precision numbers apart; infinities come as words.
  function short(value) {
    return typeof value === "number" ? Number(value.toPrecision(9)) : value;
  }

  function compare(before, after) {
    if (!after) return "–";
    if (before && before.digest === after.digest) return "bit-equal to the save";
    return after.default ? "the default" : before ? "neither saved nor default" : "not in the save";
  }

  function environment(save, load, kind) {
    const words = (live) => (live ? "live" : "recorded");
    const side = (record) => {
      if (!record) return {};
      const { place: number, parts: _parts, ...rest } = record;
      return { ...data.places[number], recorded_at: rest.recorded_at, seconds: rest.seconds };
    };
    const left = side(save), right = side(load);
    if (save) left.evidence = words(kind.live[0]);
    if (load) Object.assign(right, { evidence: words(kind.live[1]), "checkpoint of": load.saved_by });
    const fields = [...new Set([...Object.keys(left), ...Object.keys(right)])];
    if (!fields.length) return [];
    return part("Environment", make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Environment" },
      make("table", {}, make("thead", {}, make("tr", {}, ["", "save", "load"].map((text) =>
        text ? make("th", { scope: "col" }, text) : make("td", {})))),
      make("tbody", {}, fields.map((field) => make("tr", {}, make("th", { scope: "row" }, field),
        [left, right].map((one) => make("td", { class: "code" }, plain(one[field])))))))));
  }

  function plain(value) {
    if (value === undefined) return "–";
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }

  function repeat(saved_by, loaded_by) {
    const { command, words, candidates } = data.repeat;
    const both = [...new Set([saved_by, loaded_by])].map((name) => candidates[name] || "").join("");
    const fill = { saved_by: words[saved_by], loaded_by: words[loaded_by],
      scenario: grid.scenario, variant: grid.variant, candidates: both };
    const text = command.replace(/\{(\w+)\}/g, (whole, name) => (name in fill ? fill[name] : whole));
    const shownText = make("pre", { id: "repeat" }, text);
    const button = make("button", { type: "button", id: "copy" }, "Copy");
    const done = make("span", { role: "status" });
    button.addEventListener("click", async () => {
      done.textContent = (await copied(text, shownText)) ? " copied" : " select and copy it by hand";
    });
    return part("Repeat this cell", shownText, make("p", {}, button, done));
  }

  async function copied(text, element) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (_refused) {
      getSelection().selectAllChildren(element);
      return document.execCommand("copy");
    }
  }

  // Choosing scenario and variant.

  function fill(select, options, chosen) {
    select.replaceChildren(...options.map((name) => make("option", { value: name }, name)));
    select.value = options.includes(chosen) ? chosen : options[0];
  }

  function variantsOf(scenario) {
    return data.grids.filter((one) => one.scenario === scenario).map((one) => one.variant);
  }

  function choose() {
    const scenario = at("scenario").value;
    fill(at("variant"), variantsOf(scenario), at("variant").value);
    grid = data.grids.find((one) => one.scenario === scenario && one.variant === at("variant").value);
    show();
  }

  function legend() {
    const seen = [...new Set(data.kinds.map((kind) => kind.seen))];
    const item = (style, letter, text) => make("li", {}, make("span", { class: "cell " + style }, letter), text);
    at("legend").append(...seen.map((one) => item(colour(one), letter(one), one)),
      item("error known-deviation", "E*", "known deviation"), item("error deviates", "E!", "deviates"),
      item("void", "", "no such cell"));
  }

  function follow() {
    const wanted = decodeURIComponent(location.hash.slice(1));
    if (!wanted) return;
    for (const one of data.grids) {
      const found = one.kinds.findIndex((number, index) => number >= 0 &&
        id(one, data.savers[index % columns], data.loaders[Math.floor(index / columns)]) === wanted);
      if (found >= 0) {
        at("scenario").value = one.scenario;
        fill(at("variant"), variantsOf(one.scenario), one.variant);
        choose();
        go(found);
        open();
        return;
      }
    }
  }

  build();
  legend();
  fill(at("scenario"), [...new Set(data.grids.map((one) => one.scenario))], grid.scenario);
  fill(at("variant"), variantsOf(grid.scenario), grid.variant);
  show();
  at("scenario").addEventListener("change", choose);
  at("variant").addEventListener("change", choose);
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("close").addEventListener("click", () => at("evidence").close());
  at("evidence").addEventListener("close", () => { history.replaceState(null, "", location.pathname + location.search); cells[place].focus(); });
  addEventListener("hashchange", follow);
  follow();
})();
