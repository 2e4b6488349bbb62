// The box that takes a traceback, and its answer: what `te-matrix explain --error` prints.

// at: returns an element by its id. symptoms: what symptomsOf returns.
function tracebackBox(at, symptoms) {
  function cause(one) {
    const mended = one.pairs && one.pairs.mended
      ? [["Seen to help", `te-matrix remap IN OUT --to RELEASE makes ${one.pairs.mended} of these ${one.pairs.count} combinations load`]] : [];
    return make("li", { class: "card" }, make("h3", {}, one.error), list([
      ["What to do", one.advice], ["Why", one.cause], ["Concerns", one.releases],
      ...(one.pairs ? [["Seen in", seen(one.pairs)]] : []), ...mended,
      ["Told by", make("span", { class: "code" }, one.shown_by)], ["Reference", one.reference]]));
  }

  function seen(pairs) {
    const more = pairs.scenarios.length - symptoms.shown;
    return [make("ul", {}, pairs.by_savers.map(([savers, loaders]) =>
      make("li", {}, `saved by ${symptoms.ranges(savers)}, loaded by ${symptoms.ranges(loaders)}`))),
    "Scenarios: " + pairs.scenarios.slice(0, symptoms.shown).join(", ") + (more > 0 ? ` and ${more} more` : "")];
  }

  function nothing(ordinary) {
    const says = ordinary ? `This is not known to be Transformer Engine’s: ${ordinary}.`
      : "Nothing in this shows that it is Transformer Engine’s, or its cause is not known.";
    return [make("p", {}, make("b", {}, says)), make("p", {}, "To find out, these are needed:"),
      make("ul", {}, symptoms.toSend.map((line) => make("li", {}, line)))];
  }

  function show() {
    const text = at("traceback").value;
    if (!text.trim()) {
      at("explained").replaceChildren(make("p", {}, "There is nothing to explain: paste a traceback, a message, or a log with one in it."));
      return;
    }
    const { causes, ordinary } = symptoms.explain(text);
    const answer = causes.length ? [make("ol", { class: "cards" }, causes.map(cause))] : nothing(ordinary);
    at("explained").replaceChildren(...answer);
  }

  at("explain").addEventListener("click", show);
  at("traceback").addEventListener("paste", () => setTimeout(show));
}
