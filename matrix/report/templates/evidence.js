"use strict";
// The evidence of one cell, as the page's dialog shows it.

// Everything is put into the page as text: nothing that was observed is read as markup.
function make(name, options = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(options)) element.setAttribute(key, value);
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

// Return a list of terms, each with a text or elements.
function list(pairs) {
  return make("dl", {}, pairs.flatMap(([term, text]) => [
    make("dt", {}, term), make("dd", {}, text === "" || text === undefined ? "–" : text)]));
}

// Return a pair of releases' command that measures scenarios, joined by commas, again.
function commandOf({ command, words, candidates }, saved_by, loaded_by, scenario, variant) {
  const both = [...new Set([saved_by, loaded_by])].map((name) => candidates[name] || "").join("");
  const fill = { saved_by: words[saved_by], loaded_by: words[loaded_by], scenario, variant, candidates: both };
  return command.replace(/\{(\w+)\}/g, (whole, name) => (name in fill ? fill[name] : whole));
}

// Return a text, and a button that copies it.
function copyable(text, label, options = {}) {
  const shown = make("pre", options, text), done = make("span", { role: "status" });
  const button = make("button", { type: "button" }, label);
  button.addEventListener("click", async () => {
    done.textContent = (await copied(text, shown)) ? " copied" : " select and copy it by hand";
  });
  return [shown, make("p", {}, button, done)];
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

// Return a function that makes the elements for one cell, from the embedded data.
function evidenceOf(data) {
  const STAGES = ["construct", "deserialize", "load_state_dict", "first_step"];

  // grid, column, place: of the cell. saved_by, loaded_by: names of its releases.
  function body(grid, column, place, saved_by, loaded_by) {
    const kind = data.kinds[grid.kinds[place]];
    const save = data.saves[grid.saves[column]], load = data.loads[grid.loads[place]];
    return [summary(kind, grid), documented(kind), stages(load), ...attempt(kind), ...failure(load || save),
      ...keys(load), ...ledger(kind), ...metadata(kind, save, load), ...output(load),
      ...environment(save, load, kind), ...repeat(saved_by, loaded_by, grid)];
  }

  function part(title, ...children) {
    return [make("h3", {}, title), ...children];
  }

  function summary(kind, grid) {
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

  // record: of the load, or of a save without which there is none.
  function failure(record) {
    if (!record || record.error === undefined) return [];
    const error = data.errors[record.error];
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

  function repeat(saved_by, loaded_by, grid) {
    const command = commandOf(data.repeat, saved_by, loaded_by, grid.scenario, grid.variant);
    return part("Repeat this cell", ...copyable(command, "Copy", { id: "repeat" }));
  }

  return body;
}
