// The possible causes of an error: what matrix/doctor/symptoms/ does, with the same table and the
// same patterns, which the page embeds. A test holds the two together.

// Return what explains a text, and writes releases as ranges, from the embedded rules.
function symptomsOf(rules) {
  // Python's classes know all of Unicode, and JavaScript's \w, \d and \b ASCII alone.
  const WORD = "\\p{L}\\p{N}_", DIGIT = "\\p{Nd}";
  const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
  const BOUNDARY = `(?:(?<![${WORD}])(?=[${WORD}])|(?<=[${WORD}])(?![${WORD}]))`;
  const CLASSES = { "\\w": WORD, "\\d": DIGIT, "\\s": SPACE };
  const LINES = new RegExp("\\r\\n|[\\n-\\r\\x1c-\\x1e\\x85\\u2028\\u2029]", "u");
  const LEADING = new RegExp(`^[${SPACE}]+`, "u");
  const WHITE = new RegExp(`[${SPACE}]`, "gu");

  // Return the source of a regular expression of Python's as one of JavaScript's, flag "u".
  function translated(source, multiline) {
    const anchors = multiline ? { "^": "(?<![^\\n])", "$": "(?![^\\n])" } : { "$": "(?=\\n?$)" };
    let inside = false, result = "";
    for (const [token] of source.matchAll(/\\[^]|[^]/gu)) {
      if (token in CLASSES) result += inside ? CLASSES[token] : `[${CLASSES[token]}]`;
      else if (token === "\\b" && !inside) result += BOUNDARY;
      else if (/^\\[^\w^$\\.*+?()[\]{}|/-]$/u.test(token)) result += token[1];
      else if (!inside && token === ".") result += "[^\\n]";
      else if (!inside && token in anchors) result += anchors[token];
      else result += token;
      if (token === "[" || token === "]") inside = token === "[";
    }
    return result;
  }

  const compiled = ([source, flags], more) =>
    new RegExp(translated(source, flags.includes("m")), "u" + (flags.includes("i") ? "i" : "") + more);
  const patterns = Object.fromEntries(Object.entries(rules.patterns).map(([name, pattern]) =>
    [name, compiled(pattern, { prefixes: "y", traceback: "" }[name] ?? "g")]));
  const lists = rules.keys.map((row) => ({ what: row.what, pattern: compiled(row.pattern, "g") }));
  const kinds = rules.kind.map((row) => ({ name: row.name, pattern: compiled(row.pattern, "") }));
  const order = new Map(rules.releases.map((name, number) => [name, number]));
  const last = (text, count) => (text.length > count ? [...text].slice(-count).join("") : text);

  // A pattern of the table: plain text but for *, compared without white space.
  const literals = new Map();
  function literal(pattern) {
    if (!literals.has(pattern)) {
      const parts = pattern.split("*").map((part) =>
        part.replace(WHITE, "").replace(/[\^$\\.*+?()[\]{}|/]/gu, "\\$&"));
      literals.set(pattern, new RegExp(parts.join(rules.wild), "iu"));
    }
    return literals.get(pattern);
  }

  const has = (pattern, part) => literal(pattern).test(part);
  const holds = (groups, part) => groups.every((group) => group.some((one) => has(one, part)));

  // text.py: a text without what terminals, launchers and loggers add to it.

  function squeezed(text) {
    text = last(text, rules.longest).replace(patterns.colour, "");
    text = text.replace(patterns.windows, (path) => path.replace(/\\+/gu, "/"));
    text = text.replace(patterns.boxes, " ").replace(patterns.escapes, "\n").replace(patterns.marks, "");
    let joined = text.split(LINES).map(withoutPrefixes).join("").replace(patterns.space, "");
    for (const [entity, character] of Object.entries(rules.entities)) {
      joined = joined.replaceAll(entity, () => character);
    }
    joined = joined.replace(patterns.quotes, "'");
    return joined.replace(patterns.frame, (_all, file, line, pytest) =>
      `File'${file}',line${line ?? pytest ?? ""},in`);
  }

  function withoutPrefixes(line) {
    for (let count = 0; count < rules.prefixes; count++) {
      line = line.replace(LEADING, "");
      patterns.prefixes.lastIndex = 0;
      const found = patterns.prefixes.exec(line);
      if (!found) break;
      line = line.slice(found[0].length);
    }
    return line;
  }

  // keys.py: the keys that a text lists.

  function keysOf(text) {
    const states = new Map(), ordinary = new Map();
    for (const { what, pattern } of lists) {
      for (const found of text.matchAll(pattern)) {
        for (const key of listed(found[1])) {
          const state = key.includes(rules.extraState), into = state ? states : ordinary;
          if (!into.has(what)) into.set(what, new Set());
          into.get(what).add(state ? owned(key, text, found.index) : key);
        }
      }
    }
    return { states, ordinary };
  }

  function listed(text) {
    if (text.includes("'")) return [...text.matchAll(patterns.quoted)].map((found) => found[1]);
    const found = [...text.matchAll(patterns.bare)].map(([key]) => key.replace(/^\.+|\.+$/gu, ""));
    const state = (key) => key.includes(rules.extraState);
    return [...found.slice(0, 1).filter((key) => key.includes(".") || state(key)),
      ...found.slice(1).filter((key) => state(key) || key.search(patterns.parameter) >= 0)];
  }

  function owned(key, text, end) {
    if (key !== rules.extraState) return key;
    const owners = [...text.slice(Math.max(0, end - 2000), end).matchAll(patterns.owner)];
    return owners.length ? `${owners.at(-1)[1]}.${key}` : key;
  }

  function kindOf(key) {
    const names = key.split(rules.extraState)[0].replace(/\.+$/u, "").split(".");
    const path = names.filter((name) => !rules.wrappers.includes(name)).join(".").toLowerCase();
    return (kinds.find((kind) => kind.pattern.test(path)) || { name: "other" }).name;
  }

  function weightsOf({ ordinary }) {
    const shown = (keys) => keys.slice(0, rules.shown.keys).join(", ") +
      (keys.length > rules.shown.keys ? ` and ${keys.length - rules.shown.keys} more` : "");
    return [...ordinary].map(([what, keys]) => `${rules.meanings[what]}: ${shown([...keys])}`).join("; ");
  }

  function prefixOf({ ordinary }) {
    const both = ["missing", "unexpected"].map((what) => [...(ordinary.get(what) || [])]);
    for (const [longer, shorter] of [both, [both[1], both[0]]]) {
      for (const other of shorter.slice(0, rules.shown.keys)) {
        const key = longer.find((one) => one.endsWith(`.${other}`));
        if (key) return key.slice(0, key.length - other.length);
      }
    }
    return "";
  }

  // claims.py: the causes whose conditions a text meets.

  function find(text) {
    text = squeezed(text);
    const keys = keysOf(withoutNotices(text)), weights = weightsOf(keys);
    const found = [...ofMessages(text), ...(weights ? [] : ofKeys(text, keys.states))];
    const raised = text.search(patterns.message) >= 0;
    const claims = chosen(found, weights).filter((claim) => !(raised && claim.cause.alone));
    return { text, claims, ordinary: claims.length ? "" : ordinaryOf(text, keys, weights) };
  }

  const partsOf = (text) => text.split(patterns.traceback).filter((part) => part);

  function withoutNotices(text) {
    const parts = partsOf(text), raising = parts.map((part) => part.search(patterns.message) >= 0);
    return parts.filter((_part, number) => raising[number] || !raising.slice(number).some((one) => one)).join("");
  }

  const asksForKeys = (cause) => Object.keys(cause.kinds).length > 0;
  const isCutAfter = (code, last) => holds([code], last) && last.search(patterns.message) < 0;
  const meets = (cause, part) => (holds(cause.when, part) || isCutAfter(cause.code, fromLastFrame(part))) &&
    !cause.unless.some((one) => has(one, part));

  function ofMessages(text) {
    const parts = partsOf(text);
    return rules.cause.filter((cause) => !asksForKeys(cause)).flatMap((cause) => {
      for (const part of parts) {
        const shown = meets(cause, part) ? shownBy(cause, part) : "";
        if (shown) return [{ cause, shownBy: shown }];
      }
      return [];
    });
  }

  function shownBy(cause, part) {
    let found = "";
    for (const name of cause.evidence) {
      for (const row of rules.evidence.filter((one) => one.name === name)) found ||= evidenceOf(row, part);
    }
    return last(found.replace(patterns.line, (_all, line) => `, line ${line}, in `), rules.shown.text);
  }

  function evidenceOf(row, part) {
    if (row.unless.some((one) => has(one, part))) return "";
    const raised = fromLastFrame(part);
    if (row.last.length && raised && !holds([row.last], raised)) return "";
    const found = row.patterns.map(literal).find((one) => one.test(part));
    return found ? part.match(found)[0] : "";
  }

  function fromLastFrame(part) {
    const end = part.lastIndexOf(rules.frame);
    return end < 0 ? "" : part.slice(end ? part.lastIndexOf("'", end - 1) + 1 : 0);
  }

  function ofKeys(text, states) {
    return rules.cause.filter((cause) => asksForKeys(cause) && meets(cause, text)).flatMap((cause) => {
      const shown = Object.entries(cause.kinds).map(([what, wanted]) => only(states.get(what), wanted));
      return shown.every((key) => key) ? [{ cause, shownBy: last(shown[0], rules.shown.text) }] : [];
    });
  }

  // A key of a list if all extra states in it are of some kinds.
  function only(keys, wanted) {
    return keys && [...keys].every((key) => wanted.includes(kindOf(key))) ? [...keys][0] : "";
  }

  function chosen(claims, weights) {
    const kept = [], groups = new Set();
    const place = (claim) => rules.cause.indexOf(claim.cause);
    for (const claim of claims.sort((one, other) => place(one) - place(other))) {
      if (claim.cause.groups.some((group) => groups.has(group))) continue;
      kept.push(claim);
      claim.cause.groups.forEach((group) => groups.add(group));
    }
    const others = kept.filter((claim) => !claim.cause.alone);
    return others.length || weights ? others : kept;
  }

  function ordinaryOf(text, keys, weights) {
    if (!weights) return (rules.ordinary.find((row) => holds(row.when, text)) || { says: "" }).says;
    const prefix = prefixOf(keys);
    return weights + (prefix ? `; the names differ by '${prefix}' at their beginning` : "");
  }

  // seen.py: the pairs of releases that raised an error of a cause.

  function pairsOf(cause, text) {
    let rows = rules.seen.filter((row) => row.cause === cause);
    const exact = rows.filter((row) => text.includes(row.message));
    if (exact.length) rows = exact;
    const all = combinations(rows.flatMap((row) => row.pairs));
    if (!all.size) return null;
    return {
      by_savers: grouped(all.values()), count: all.size,
      scenarios: [...new Set([...all.values()].map(([scenario]) => scenario))],
      mended: combinations(rows.flatMap((row) => row.mended)).size,
    };
  }

  function combinations(groups) {
    const found = new Map();
    for (const { scenario, savers, loaders } of groups) {
      for (const saver of savers) {
        for (const loader of loaders) found.set([scenario, saver, loader].join("\n"), [scenario, saver, loader]);
      }
    }
    return found;
  }

  // Savers that failed in the same loaders, with these.
  function grouped(all) {
    const loaders = new Map(), alike = new Map();
    for (const [, saver, loader] of all) {
      if (!loaders.has(saver)) loaders.set(saver, new Set());
      loaders.get(saver).add(loader);
    }
    for (const [saver, names] of loaders) {
      const key = [...names].sort().join("\n");
      if (!alike.has(key)) alike.set(key, [[], [...names]]);
      alike.get(key)[0].push(saver);
    }
    return [...alike.values()];
  }

  // Releases as ranges, none of which includes a release that was not named: catalogue/ranges.py.
  function ranges(names) {
    const runs = [];
    for (const place of names.map((name) => order.get(name)).sort((one, other) => one - other)) {
      if (runs.length && runs.at(-1)[1] === place - 1) runs.at(-1)[1] = place;
      else runs.push([place, place]);
    }
    return runs.map((run) => [...new Set(run)].map((place) => rules.releases[place]).join("-")).join(", ");
  }

  function explain(text) {
    const { text: squeezedText, claims, ordinary } = find(text);
    const causes = claims.map(({ cause, shownBy: shown }) => ({
      id: cause.id, error: cause.title, shown_by: shown, releases: cause.releases, cause: cause.cause,
      advice: cause.advice, reference: cause.references, pairs: pairsOf(cause.id, squeezedText),
    }));
    return { causes, ordinary };
  }

  return { explain, ranges, shown: rules.shown.scenarios, toSend: rules.toSend };
}
