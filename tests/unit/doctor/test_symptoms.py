"""Rule: a text is claimed only where it shows that it is Transformer Engine's; then the right cause
comes first, and alone."""

from __future__ import annotations

import functools
import json
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st

from helpers.builders import TODAY
from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.words import Lane
from matrix.cli import main
from matrix.doctor import symptoms
from matrix.doctor.symptoms import claims, seen, table
from matrix.doctor.symptoms.text import squeezed
from matrix.errors import ExitCode
from matrix.judge import judge, ledger
from matrix.judge.judgement import Judgement
from matrix.plan.cells import plan_cells
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded

TEXTS = Path(__file__).parent / "texts"


def texts(kind: str) -> dict[str, dict[str, str]]:
    """The texts of a folder by file name, each with the fields of its index."""
    rows = tomllib.loads((TEXTS / kind / "index.toml").read_text(encoding="utf-8"))["text"]
    return {
        row["file"]: {**row, "text": (TEXTS / kind / row["file"]).read_text(encoding="utf-8")}
        for row in rows
    }


OURS, ORDINARY = texts("te"), texts("ordinary")


@functools.cache
def judgement() -> Judgement:
    everyone = releases.load().releases
    made = plan_cells(faq.load(), scenarios.load(), scenarios.variants(), everyone, everyone)
    index = EvidenceIndex(made, None, recorded.evidence(Lane.CPU))
    return judge.judge(index, faq.load(), ledger.load(), TODAY)


def causes(text: str) -> list[str]:
    return [claim.cause.id for claim in claims.find(text).claims]


def te_matrix(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, words, input=given)


# The two corpora.


def test_the_corpora_are_whole() -> None:
    for kind, rows, fewest in (("te", OURS, 45), ("ordinary", ORDINARY, 60)):
        assert {path.name for path in (TEXTS / kind).glob("*.txt")} == rows.keys()
        assert len(rows) >= fewest
        assert len({row["text"] for row in rows.values()}) == len(rows)


@pytest.mark.parametrize("name", OURS)
def test_the_first_cause_is_right_and_alone(name: str) -> None:
    assert causes(OURS[name]["text"]) == [OURS[name]["first"]]


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_error_is_not_claimed(name: str) -> None:
    assert causes(ORDINARY[name]["text"]) == []


def test_the_page_counts_the_texts() -> None:
    page = (Path(__file__).parents[3] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    assert (
        f"{len(OURS)} texts that are Transformer\nEngine's and {len(ORDINARY)} that are not" in page
    )


def test_every_cause_is_in_the_corpus() -> None:
    assert {row["first"] for row in OURS.values()} == {row.id for row in table.load().cause}


WORDS = re.compile(
    r"transformer_?engine\w*|nvte_\w+|\w*extra_states?(?:_case)?|fp8_meta|(?:get_)?fp8_\w+"
    r"|(?:scale_inv|amax_history|scale)_(?:fwd|bwd)|global_fp8_\w+|_make_\w*in_reduce_ex"
    r"|(?:Float8|MXFP8|NVFP4|Quantized)\w*(?:Tensor|Quantizer)\w*|_get_weight_tensors|DotProductAttention"
    r"|(?:Delayed|Current|Block)Scaling|_replace_sharded_keys_with_state_dict_keys|_?GEMM_READY|_?cast_input",
    re.IGNORECASE,
)
"""Names that show that a text is Transformer Engine's, written down without the table's help."""


@pytest.mark.parametrize("name", OURS)
def test_without_its_words_nothing_is_claimed(name: str) -> None:
    """The message alone is no evidence, however well it is known."""
    assert causes(WORDS.sub("thing", squeezed(OURS[name]["text"]))) == []


# What terminals, launchers and loggers add.

PREFIXES = [
    "[rank3]: ",
    "[default0]:",
    "0: ",
    "node1: ",
    "worker-03.cluster: ",
    "[1,0]<stderr>:",
    "(MegatronActor pid=26068, ip=172.27.146.45) ",
    "2026-01-11 03:14:15,926 - megatron.core.x - ERROR - ",
    "2026-01-11T03:14:15.926Z ",
    "[2026-01-11 03:14:15] ",
    "[NeMo W 2024-09-07 12:00:00 nemo_logging:349] ",
    "ERROR:megatron.core.dist_checkpointing.validation:",
    "2026-01-11 03:14:15 | ERROR | app.main - ",
    "E       ",
    "(Worker_TP0 pid=22639) ERROR 10-18 03:20:36 [multiproc_executor.py:628] ",
    "ERROR 12-05 20:24:46 engine.py:366] ",
    "> ",
    "Jan 11 03:14:15 node7 python[4242]: ",
    "[36m(Worker pid=7)[0m ",
    "\x1b[31m",
    "\x1b[1;31m[rank0]:\x1b[0m ",
]


ALL = {
    f"{kind}/{name}": row["text"]
    for kind in ("te", "ordinary")
    for name, row in texts(kind).items()
}


@st.composite
def decorated(draw: st.DrawFn) -> tuple[str, str, str]:
    """A text's name, the text as it is, and as a terminal and a logger may show it."""
    name = draw(st.sampled_from(sorted(ALL)))
    prefix, width = draw(st.sampled_from(["", *PREFIXES])), draw(st.integers(30, 200))
    end, colour = draw(st.sampled_from(["\n", "\r\n"])), draw(st.booleans())
    lines = []
    for line in ALL[name].splitlines():
        pieces = [line[start : start + width] for start in range(0, len(line), width)] or [""]
        lines += [f"\x1b[33m{p}\x1b[0m" if colour else p for p in pieces]
    return name, ALL[name], end.join(prefix + line for line in lines)


@given(decorated())
def test_decoration_changes_no_answer(given: tuple[str, str, str]) -> None:
    _name, plain, shown = given
    assert causes(shown) == causes(plain)
    assert claims.find(shown).ordinary == claims.find(plain).ordinary


AROUND = (
    "/v/torch/cuda/__init__.py:61: FutureWarning: The pynvml package is deprecated.\n"
    "  import pynvml\n"
    "INFO: resuming from iteration 100\n",
    "\nSentry is attempting to send 2 pending events\n"
    "[rank1]: torch.distributed.DistBackendError: NCCL communicator was aborted on rank 1.\n"
    "srun: error: node7: task 3: Exited with exit code 1\n",
)


@pytest.mark.parametrize("name", OURS)
def test_what_stands_around_changes_no_claim(name: str) -> None:
    before, after = AROUND
    for shown in (before + OURS[name]["text"], OURS[name]["text"] + after):
        assert causes(shown) == [OURS[name]["first"]]


@given(st.text(max_size=300))
@example("\x1b[" * 50)
@example("Missing key(s) in state_dict: " + "'" * 99)
def test_any_text_has_an_answer(text: str) -> None:
    claims.find(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000 + "_extra_state " * 10_000,
        "missing_keys=['" + "a." * 200_000,
        "\\" * 300_000,
        "[rank0]: " * 40_000,
        "transformer_engine/" * 20_000 + ".py",
        "Unexpected key(s) in state_dict: " + "'a.b', " * 50_000,
    ],
)
def test_hostile_text_is_only_text(text: str) -> None:
    claims.find(text)


# The evidence.

BY_LEDGER = {
    "no-recipe": "no-recipe",
    "no-scale-inv": "no-scale-inv",
    "empty-state": "empty-state",
    "pickle-guard": "opt-in",
    "float8-python-dtype": "python-dtype",
    "float8-rebuild-function": "rebuild-function",
    "float8-no-rebuild": "no-rebuild-function",
    "float8-module-moved": "quantized-class",
    "float8-extension-renamed": "extension-renamed",
    "float8-shape-added": "arguments-missing",
    "float8-shape-unknown": "arguments-added",
    "float8-transpose-added": "arguments-added",
    "bare-attention-key-missing": "attention-missing",
    "renamed-attention-key-missing": "attention-missing",
    "history-resize-needs-weights": "history-resize",
    "history-of-1x": "history-length",
    "distributed-size": "distributed-size",
    "distributed-kind": "distributed-kind",
    "distributed-key-missing": "attention-missing",
    "distributed-key-missing-1.6": "fused-missing",
    "current-scaling-attention": "current-scaling-attention",
    "ops-state-dict-raises": "ops-state-dict",
    "mxfp8-weights-shape": "mxfp8-shape",
}
"""The causes of the errors that the ledger explains, by the id of the entry."""


def test_every_error_that_was_seen_has_one_cause() -> None:
    """Except for those whose text does not show that it is Transformer Engine's."""
    found: dict[str, set[str]] = {}
    silent = set()
    for cell in judgement().verdicts:
        if cell.error and cell.cell.variant in ("plain", "trusted", "remapped"):
            its = seen.causes_of(cell.error)
            if not its and not WORDS.search("".join((cell.error.message, *cell.error.frames))):
                silent.add(cell.cell.scenario)
                continue
            assert len(its) == 1, (its, cell.error.message, cell.error.frames)
            for entry in cell.entries:
                found.setdefault(entry, set()).update(its)
    assert len(found) > 10
    for entry, causes_ in found.items():
        assert len(causes_) == 1, entry
        if entry in BY_LEDGER:
            assert causes_ == {BY_LEDGER[entry]}, entry
    assert silent <= {"weights-only", "linear.fp8-weights.block-scaling"}


def test_the_ledger_s_ids_are_known() -> None:
    assert BY_LEDGER.keys() <= {entry.id for entry in ledger.load()}
    assert set(BY_LEDGER.values()) <= {row.id for row in table.load().cause}


def test_the_list_of_errors_is_that_of_the_evidence() -> None:
    """``te-matrix run --refresh-recorded`` writes both."""
    assert seen.load(Lane.CPU) == seen.of(judgement())


def test_pairs_are_those_of_the_very_message() -> None:
    found = symptoms.explain("KeyError: 'scale_inv_fwd'")
    (cause,) = found.causes
    assert cause.pairs and cause.pairs.count and not cause.pairs.by_savers[0][0][0].startswith("1.")
    text = (
        "ModuleNotFoundError: No module named 'transformer_engine.pytorch.tensor'\n"
        '  File "/v/torch/serialization.py", line 1, in find_class'
    )
    (cause,) = symptoms.explain(text).causes
    assert cause.pairs
    assert all(
        loader.startswith("1.") for _savers, them in cause.pairs.by_savers for loader in them
    )


# The command.


def test_several_causes_are_listed() -> None:
    found = causes("ModuleNotFoundError: No module named 'transformer_engine_extensions'")
    assert found == ["extension-renamed", "extension-not-installed"]


@pytest.mark.parametrize(
    "text",
    ["KeyError: 'foo'", "CUDA error: out of memory", "Segmentation fault", "RuntimeError: hello"],
)
def test_with_no_match_it_says_what_to_send(text: str) -> None:
    shown = te_matrix("explain", "--error", text)
    assert shown.exit_code == ExitCode.INCOMPLETE
    assert "the whole traceback" in shown.output and "te-matrix inspect CKPT" in shown.output
    as_json = CliRunner().invoke(main, ["explain", "--error", text, "--json"])
    assert json.loads(as_json.stdout) == [] and "the whole traceback" in as_json.stderr


def test_weights_are_the_answer() -> None:
    shown = te_matrix("explain", "--error", ORDINARY["hf-into-mcore.txt"]["text"])
    assert shown.exit_code == ExitCode.INCOMPLETE
    assert "embedding.word_embeddings.weight" in shown.output
    shown = te_matrix("explain", "--error", ORDINARY["ddp-prefix.txt"]["text"])
    assert "differ by 'module.'" in shown.output


def test_from_standard_input() -> None:
    for words in (("explain",), ("explain", "--error", "-")):
        shown = te_matrix(*words, given=OURS["recipe-after-extra-keys.txt"]["text"])
        assert shown.exit_code == ExitCode.OK
        assert "saved by 1.0-1.14, loaded by 2.0-2.3" in shown.output
        assert "te-matrix remap IN OUT --to RELEASE makes" in shown.output


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_from_a_file(encoding: str, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(OURS["recipe-after-extra-keys.txt"]["text"], encoding=encoding)
    shown = te_matrix("explain", "--error", str(log))
    assert "saved by 1.0-1.14, loaded by 2.0-2.3" in shown.output


@pytest.mark.parametrize("text", ["/" + "x" * 9000, "no\0file", str(Path.cwd())])
def test_what_names_no_file_is_the_text_itself(text: str) -> None:
    assert te_matrix("explain", "--error", text).exit_code == ExitCode.INCOMPLETE


@pytest.mark.parametrize("text", ["/var/log/run.log", "errors.txt", "logs\\\\run.err"])
def test_a_file_that_is_not_there_is_said_to_be_none(text: str) -> None:
    assert f"There is no file {text}" in te_matrix("explain", "--error", text).stderr
    assert "no file" not in te_matrix("explain", "--error", "KeyError: 'a/b.log'").stderr


def test_as_json() -> None:
    text = OURS["scale-inv-short.txt"]["text"]
    (only,) = json.loads(te_matrix("explain", "--error", text, "--json").output)
    assert only["id"] == "no-scale-inv" and only["pairs"]["count"] > 0


@pytest.mark.parametrize("words", [("explain",), ("explain", "1.7"), ("explain", "--error", " ")])
def test_nothing_to_explain(words: tuple[str, ...]) -> None:
    shown = te_matrix(*words, given="")
    assert shown.exit_code == ExitCode.USAGE


def test_a_pair_s_page_has_all_parts() -> None:
    shown = te_matrix("explain", "1.7", "2.2").output
    assert "The FAQ on >=1.12 loading 1.6-1.7" in shown
    assert "KeyError at load_state_dict: 'recipe'" in shown
    assert "Why (no-recipe, " in shown and "What to do" in shown
    assert "te-matrix remap IN OUT --to 2.2: in autocast, attention-only" in shown
    shown = te_matrix("explain", "1.11", "2.17.1").output
    assert "set NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE=1 for the load" in shown


def test_every_error_on_a_pair_s_page_has_a_cause_told_once_and_its_whole_message() -> None:
    shown = te_matrix("explain", "2.8", "2.20.2").output
    whys = [line for line in shown.splitlines() if line.startswith("Why (")]
    assert len({line.partition("): ")[2] for line in whys}) == len(whys)
    for name in ("pickle-guard", "current-scaling-attention", "quantizer-attribute"):
        assert sum(f"{name}," in why or f"{name})" in why for why in whys) == 1, name
    assert "(opt-in)" not in shown, "the ledger has that error"
    assert "To load it anyway, set NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE=1." in shown
