"""Rule: a traceback finds the causes that produce it, the best first, or nothing at all."""

from __future__ import annotations

import functools
import json

import pytest
from click.testing import CliRunner, Result

from helpers.builders import TODAY
from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.words import Lane
from matrix.cli import main
from matrix.doctor import symptoms
from matrix.errors import ExitCode
from matrix.judge import judge, ledger
from matrix.judge.judgement import Judgement
from matrix.plan.cells import plan_cells
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded


@functools.cache
def judgement() -> Judgement:
    everyone = releases.load().releases
    made = plan_cells(faq.load(), scenarios.load(), scenarios.variants(), everyone, everyone)
    index = EvidenceIndex(made, None, recorded.evidence(Lane.CPU))
    return judge.judge(index, faq.load(), ledger.load(), TODAY)


def matches(text: str) -> list[symptoms.PossibleCause]:
    return symptoms.match(text, judgement(), ledger.load())


RECIPE = """Traceback (most recent call last):
  File "/app/train.py", line 10, in <module>
    model.load_state_dict(state)
  File "/site-packages/transformer_engine/pytorch/module/base.py", line 611, in set_extra_state
    self.fp8_meta["recipe"] = state["recipe"]
KeyError: 'recipe'
"""
UNEXPECTED = """RuntimeError: Error(s) in loading state_dict for GPTModel:
\tUnexpected key(s) in state_dict: "decoder.layers.0.self_attention.core_attention._extra_state", \
"decoder.layers.1.self_attention.core_attention._extra_state".
"""

SYMPTOMS = [
    # as users reported them                         what comes first
    ("evo2: KeyError: 'recipe'", "KeyError at load_state_dict: 'recipe'"),
    (RECIPE, "KeyError at load_state_dict: 'recipe'"),
    ("EOFError: Ran out of input in load_state_dict", "EOFError at load_state_dict"),
    (UNEXPECTED, "RuntimeError at load_state_dict"),
    (
        "ValueError: Size mismatch between saved torch.Size([2322]) and current: "
        "torch.Size([4]) for layers.0.qkv._extra_state",
        "dcp-size-mismatch",
    ),
    (
        "Object shard model.decoder.layers.self_attention.core_attention._extra_state/"
        "shard_0_80.pt not found",
        "nemo-missing-shard",
    ),
    ("TypeError in fixup_fp8_extra_states", "vortex-fixup"),
    (
        "Missing key(s) in state_dict: 'net.blocks.0.q_layernorm._extra_state'",
        "missing-extra-state",
    ),
    ("blocks.0.q_layernorm._extra_state missing", "missing-extra-state"),
    ("AttributeError: '_io.BytesIO' object has no attribute 'shape'", "bytesio-elsewhere"),
    (
        "RuntimeError: Refusing to load pickled Transformer Engine extra state for Linear.",
        "RuntimeError at load_state_dict: Refusing",
    ),
    ("KeyError: 'scale_inv_fwd'", "KeyError at load_state_dict: 'scale_inv_fwd'"),
    ("KeyError: 'global_fp8_buffer'", "KeyError at load_state_dict: 'global_fp8_buffer'"),
    (
        "TypeError: Float8Tensor._make_in_reduce_ex() missing 1 required positional argument: "
        "'shape'",
        "TypeError at deserialize: Float8Tensor._make_in_reduce_ex() missing",
    ),
]


@pytest.mark.parametrize(("text", "first"), SYMPTOMS)
def test_reported_symptoms(text: str, first: str) -> None:
    found = matches(text)
    assert found and first in found[0].error
    assert found[0].cause
    assert [match.fit for match in found] == sorted((match.fit for match in found), reverse=True)


def test_every_error_that_was_seen_finds_itself() -> None:
    """Each distinct error of the evidence, given as text, comes first and with all its pairs."""
    seen = {
        (v.error.type, v.error.message): v
        for v in judgement().verdicts
        if v.error and v.cell.variant in ("plain", "trusted")
    }
    assert len(seen) > 10
    for (kind, message), verdict in seen.items():
        found = matches(f"{kind}: {message}")
        best = [match for match in found if match.fit == found[0].fit and match.pairs]
        cell = verdict.cell
        assert any(
            cell.saved_by in savers and cell.loaded_by in loaders
            for match in best
            for savers, loaders in match.pairs.by_savers
        ), (kind, message)


def test_several_causes_are_listed() -> None:
    found = matches("ModuleNotFoundError: No module named 'transformer_engine_extensions'")
    assert len(found) == 2
    assert {match.pairs is None for match in found} == {True, False}


@pytest.mark.parametrize(
    "text",
    ["KeyError: 'foo'", "CUDA error: out of memory", "Segmentation fault", "RuntimeError: hello"],
)
def test_what_fits_nothing_says_so(text: str) -> None:
    assert matches(text) == []
    shown = te_matrix("explain", "--error", text)
    assert shown.exit_code == ExitCode.INCOMPLETE
    assert "Nothing that the matrix has seen fail" in shown.output


def te_matrix(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, words, input=given)


def test_from_standard_input() -> None:
    for words in (("explain",), ("explain", "--error", "-")):
        shown = te_matrix(*words, given=RECIPE)
        assert shown.exit_code == ExitCode.OK
        assert "saved by 1.0-1.14, loaded by 2.0-2.3" in shown.output
        assert "te-matrix remap IN OUT --to RELEASE makes" in shown.output


def test_as_json() -> None:
    (first, *_) = json.loads(te_matrix("explain", "--error", RECIPE, "--json").output)
    assert first["fit"] == 1.0 and first["pairs"]["count"] > 0


@pytest.mark.parametrize("words", [("explain",), ("explain", "1.7"), ("explain", "--error", " ")])
def test_nothing_to_explain(words: tuple[str, ...]) -> None:
    shown = te_matrix(*words, given="")
    assert shown.exit_code == ExitCode.USAGE


def test_a_pair_s_page_has_all_parts() -> None:
    shown = te_matrix("explain", "1.7", "2.2").output
    assert "The FAQ on >=1.12 loading 1.6-1.7" in shown
    assert "KeyError at load_state_dict: 'recipe'" in shown
    assert "Why (no-recipe)" in shown and "What to do" in shown
    assert "te-matrix remap IN OUT --to 2.2: in autocast, attention-only" in shown
    assert "nothing that was tried: in fp8-weights" in shown
    shown = te_matrix("explain", "1.11", "2.17.1").output
    assert "set NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE=1 for the load" in shown


def test_hostile_text_is_only_text() -> None:
    assert matches("(" * 100_000 + "_extra_state " * 10_000) is not None
