// The question at the top: what becomes of a checkpoint of one release in another, by module and
// recipe. Answered from the same data as the grid.

// at: returns an element by its id. symptoms: what symptomsOf returns. chosen: called with the
// question's address when somebody changes it.
function questionOf(data, at, symptoms, chosen) {
  const FIELDS = ["ask-saver", "ask-loader", "ask-module", "ask-recipe"];
  const PREFIX = "question";
  const NOTHING = "nothing that was tried"; // as report/ways.py tells it
  const COUNTED = {
    loads: "loads", fails: "fails", resets: "loses FP8 metadata", frozen: "freezes FP8 metadata",
    changed: "loads changed", unknown: "not known",
  };
  const VERDICTS = {
    conforms: "", undocumented: "", "known-deviation": ": not so, a known deviation", deviates: ": not so, a deviation",
  };
  const columns = data.savers.length;
  const distinct = (values) => [...new Set(values)];
  const sentence = (text) => text[0].toUpperCase() + text.slice(1);

  function fill(name, values, wanted) {
    at(name).replaceChildren(...values.map((value) => make("option", { value }, value)));
    at(name).value = values.includes(wanted) ? wanted : values[0];
  }

  // Only recipes that the module has are offered; what was chosen stays where it is one of them.
  function offer() {
    const rows = data.scenarios.filter((one) => one.module === at("ask-module").value);
    fill("ask-recipe", distinct(rows.map((one) => one.recipe)), at("ask-recipe").value);
  }

  function show() {
    const [saver, loader, module, recipe] = FIELDS.map((name) => at(name).value);
    const rows = data.scenarios.filter((one) => one.module === module && one.recipe === recipe);
    const answers = rows.map((row) => answerOf(row, data.savers.indexOf(saver), data.loaders.indexOf(loader)));
    const groups = new Map();
    for (const one of answers.filter((each) => each)) {
      const key = JSON.stringify(one.answer);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(one);
    }
    at("answers").replaceChildren(...[...groups.values()].map((cells) => card(cells, saver, loader)));
    at("answered").textContent = summary(answers, saver, loader, module, recipe);
  }

  function summary(answers, saver, loader, module, recipe) {
    const there = answers.filter((one) => one).map((one) => one.answer.status);
    const gone = answers.length - there.length;
    const counts = Object.entries(COUNTED)
      .map(([status, word]) => [word, there.filter((one) => one === status).length])
      .filter(([, count]) => count).map((pair) => pair.join(" "));
    const lacks = `${saver} or ${loader} has no ${module}, ${saver} not this recipe, or this report is without that pair`;
    return `Saved by ${saver}, loaded by ${loader}, ${module}, ${recipe}. ` +
      (there.length ? `Of ${there.length} ${there.length === 1 ? "kind" : "kinds"} of checkpoint: ${counts.join(", ")}. ` : "") +
      (gone ? `No cell for ${there.length ? gone + " more" : "any"}: ${lacks}.` : "");
  }

  // The answer for one kind of checkpoint: what is shown of it, and where it is from.
  function answerOf(row, column, line) {
    const grids = data.grids.filter((one) => one.scenario === row.scenario);
    const grid = grids.find((one) => one.variant === "plain") || grids[0];
    const place = line * columns + column;
    if (!grid || grid.kinds[place] < 0) return null;
    const kind = data.kinds[grid.kinds[place]], error = errorOf(grid, column, place);
    const known = reasons(kind, error && error.whole);
    return {
      row, grid,
      answer: {
        status: kind.status, note: error ? "" : kind.note, verdict: kind.verdict,
        outcome: kind.plainly || "no outcome: " + kind.outcome, variant: grid.variant,
        error: error && error.line, sentence: kind.sentence, otherReason: kind.same_reason === false, ...known,
        helps: data.ways[data.helps[row.scenario][place]],
      },
      changes: changes(row, grid, column, line),
    };
  }

  function errorOf(grid, column, place) {
    const load = data.loads[grid.loads[place]], record = load || data.saves[grid.saves[column]];
    if (!record || record.error === undefined) return null;
    const whole = data.errors[record.error];
    return { whole, line: `${whole.type} at ${load ? load.stage : "save"}: ${whole.message}` };
  }

  // Cause and advice: the ledger's, or, of an error that it does not list, those that the text of
  // the error is explained by.
  function reasons(kind, error) {
    const entries = kind.entries.map((name) => data.ledger[name]);
    const own = !entries.length && error ? symptoms.explain(asText(error)).causes : [];
    return {
      cause: distinct([...entries, ...own].map((one) => one.cause)),
      advice: distinct([...entries, ...own].map((one) => one.advice)),
      reference: distinct([...entries, ...own].map((one) => one.reference)),
    };
  }

  // As matrix/doctor/symptoms/seen.py writes an error of the evidence.
  function asText(error) {
    const frames = error.frames.map((frame) => {
      const colon = frame.lastIndexOf(":");
      return `  File "${frame.slice(0, colon)}", line 1, in ${frame.slice(colon + 1)}`;
    });
    return ["Traceback (most recent call last):", ...frames, error.traceback, `${error.type}: ${error.message}`].join("\n");
  }

  // Where the answer changes, along the loading releases and along the saving ones.
  function changes(row, grid, column, line) {
    const loaders = { role: "loader", doing: "loaded by", names: data.loaders, from: line,
      partner: data.savers[column], seen: (number) => seen(grid, column, number) };
    const savers = { role: "saver", doing: "saved by", names: data.savers, from: column,
      partner: data.loaders[line], seen: (number) => seen(grid, number, line) };
    return [loaders, savers].flatMap((way) => [-1, 1].flatMap((step) => change(way, step, row, grid)));
  }

  // Outcome and error of a cell; numbers in messages, such as lengths and lines, do not count.
  function seen(grid, column, line) {
    const place = line * columns + column, kind = data.kinds[grid.kinds[place]];
    if (!kind) return null;
    const error = errorOf(grid, column, place), means = kind.plainly || "no outcome: " + kind.outcome;
    return { word: kind.seen, key: kind.seen + (error ? error.line.replace(/\d+/g, "N") : ""),
      means: means + (error ? ` (${error.whole.type})` : "") };
  }

  // The nearest release on one side with another answer, if there is one.
  function change(way, step, row, grid) {
    const here = way.seen(way.from), inside = (number) => number >= 0 && number < way.names.length;
    let number = way.from + step;
    while (inside(number) && (way.seen(number) || {}).key === here.key) number += step;
    const other = inside(number) ? way.seen(number) : null;
    if (!other) return [];
    const [after, release] = (step < 0 ? [number, number + 1] : [number - 1, number]).map((one) => way.names[one]);
    const [before, now] = step < 0 ? [other.word, here.word] : [here.word, other.word];
    const made = (effect) => effect.role === way.role && effect.variant === grid.variant && effect.before === before &&
      effect.now === now && effect.modules.includes(row.module) && effect.recipes.includes(row.saved_with) &&
      effect.partners.includes(way.partner);
    return [{
      text: `${way.doing} ${way.names[number]}: ${other.means}; changed between ${after} and ${release}`,
      commits: data.changes.filter((one) => one.release === release && one.after === after && one.effect.some(made)).map(commit),
    }];
  }

  function commit({ commit: id, subject, pulls, basis, why, way, release }) {
    if (!id) return "commit not known" + (why ? ": " + why : "");
    const name = `${id.slice(0, 9)} ${subject}`;
    const missing = pulls.filter((number) => !subject.includes(`#${number}`)).map((number) => ` #${number}`).join("");
    return (way === "lacks" ? release + " lacks " : "") + (basis === "commit" ? "" : "one of several commits, the last: ") +
      name + missing;
  }

  // The elements.

  // cells: those with one and the same answer.
  function card(cells, saver, loader) {
    const { answer } = cells[0], scenarios = cells.map((one) => one.row.scenario).join(",");
    const command = commandOf(data.repeat, saver, loader, scenarios, answer.variant);
    return make("li", { class: "card", "data-status": answer.status },
      make("h3", {}, sentence(answer.outcome) + (answer.variant === "plain" ? "" : ` (variant ${answer.variant})`)),
      answer.error ? make("pre", {}, answer.error) : null,
      answer.note ? make("p", {}, answer.note) : null,
      list(terms(answer, cells, saver, loader)),
      make("details", {}, make("summary", {}, "Repeat it"), ...copyable(command, "Copy the command")));
  }

  function terms(answer, cells, saver, loader) {
    const rows = [["Checkpoint", make("ul", {}, cells.map((one) => make("li", {}, link(one, saver, loader))))]];
    // What was seen to make this very checkpoint load comes before what helps with its first error,
    // behind which there may be a second one.
    const seen = answer.helps && answer.helps !== NOTHING;
    if (seen) rows.push(["Way across, as seen", answer.helps]);
    if (answer.advice.length) rows.push([seen ? "On this error" : "What to do", paragraphs(answer.advice)]);
    if (answer.helps && !seen) rows.push(["Way across, as seen", answer.helps]);
    if (answer.cause.length) rows.push(["Why", paragraphs(answer.cause)]);
    const otherwise = answer.otherReason ? ": it fails, for another reason" : VERDICTS[answer.verdict] || "";
    rows.push(["The FAQ says", answer.sentence ? `“${answer.sentence}”${otherwise}` : "nothing"]);
    const changed = elsewhere(cells);
    if (changed.length) rows.push(["Elsewhere", make("ul", {}, changed)]);
    if (answer.reference.length) rows.push(["Reference", answer.reference.join("; ")]);
    return rows;
  }

  const paragraphs = (texts) => texts.map((text) => make("p", {}, text));

  function link({ row, grid }, saver, loader) {
    const address = [grid.scenario, grid.variant, `${saver}->${loader}`].map(encodeURIComponent).join("/");
    return make("a", { href: "#" + address, class: "to-evidence" }, `${sentence(row.checkpoint)} (${row.scenario})`);
  }

  // Of a change that not all of the cells have, it is said which do.
  function elsewhere(cells) {
    const found = new Map();
    for (const { row, changes: all } of cells) {
      for (const one of all) {
        const key = JSON.stringify(one);
        if (!found.has(key)) found.set(key, { ...one, scenarios: [] });
        found.get(key).scenarios.push(row.scenario);
      }
    }
    return [...found.values()].map(({ text, commits, scenarios }) => make("li", {},
      text + (scenarios.length < cells.length ? ` (${scenarios.join(", ")})` : ""),
      commits.length ? make("ul", {}, commits.map((one) => make("li", {}, one))) : null));
  }

  // The address.

  function address() {
    return [PREFIX, ...FIELDS.map((name) => encodeURIComponent(at(name).value))].join("/");
  }

  // Return whether an address, as it stands after #, is a question, which is then shown.
  function follow(what) {
    let parts;
    try {
      parts = what.split("/").map(decodeURIComponent);
    } catch (_malformed) {
      return false;
    }
    if (parts[0] !== PREFIX || parts.length !== FIELDS.length + 1) return false;
    const [, saver, loader, module, recipe] = parts;
    const known = data.savers.includes(saver) && data.loaders.includes(loader) &&
      data.scenarios.some((one) => one.module === module && one.recipe === recipe);
    if (known) ask(saver, loader, module, recipe);
    else lack(saver, loader, module, recipe);
    return true;
  }

  // A link may be of a report on other releases or scenarios: no answer to another question stays.
  function lack(...what) {
    at("answers").replaceChildren();
    at("answered").textContent = `The link asks for ${what.join(", ")}, which this report does not have. Choose above.`;
  }

  function ask(saver, loader, module, recipe) {
    at("ask-saver").value = saver;
    at("ask-loader").value = loader;
    at("ask-module").value = module;
    fill("ask-recipe", [recipe], recipe);
    offer();
    show();
  }

  fill("ask-saver", data.savers);
  fill("ask-loader", data.loaders);
  fill("ask-module", distinct(data.scenarios.map((one) => one.module)));
  offer();
  // To begin with: from the newest release but one to the newest.
  ask(data.savers.findLast((name) => name !== data.loaders.at(-1)) || data.savers[0], data.loaders.at(-1),
    at("ask-module").value, at("ask-recipe").value);
  for (const name of FIELDS) {
    at(name).addEventListener("change", () => {
      offer();
      show();
      chosen(address());
    });
  }
  return { follow, address };
}
