"""Rule: whatever the lanes saw differently is listed, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.builders import a_load, a_save
from matrix.catalogue.words import Lane, Stage
from matrix.cli import main
from matrix.judge.fidelity import (
    Difference,
    by_scenario,
    compare,
    on_a_device,
    on_the_binding,
    on_the_standin,
)
from matrix.judge.outcomes import result
from matrix.plan.cells import Plan
from matrix.store import archive, recorded
from matrix.store.records import Failure, Load, Moved, Output, Save, StateEntry

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    return make_plan(["1.8", "1.9"], ["1.11"])


@pytest.fixture
def cpu(plan: Plan) -> list[Save | Load]:
    save = a_save(plan, "1.8")
    return [save, a_load(plan, save, "1.11")]


def on_gpu(records: list[Any], size: str = "device", **changes: Any) -> list[Any]:
    update = {"lane": Lane.GPU, "scenario_digest": size} | changes
    return [record.model_copy(update=update) for record in records]


def differences(cpu: list[Any], device: list[Any]) -> list[tuple[str, str]]:
    found = compare(by_scenario(cpu, on_the_standin), by_scenario(device, on_a_device)).differences
    return [(difference.where, difference.what) for difference in found]


def test_the_same_in_both_lanes_is_no_difference(cpu: list[Any]) -> None:
    found = compare(by_scenario(cpu, on_the_standin), by_scenario(on_gpu(cpu), on_a_device))
    assert found.compared == ("autocast/1.8", "autocast/plain/1.8->1.11")
    assert (found.device_only, found.differences) == ((), ())


def test_values_are_not_compared(plan: Plan, cpu: list[Any]) -> None:
    save = a_save(plan, "1.8", digest="what the hardware produced")
    load = a_load(plan, save, "1.11", digest="what the hardware produced")
    assert differences(cpu, on_gpu([save, load])) == []


def test_every_kind_of_difference_is_listed(cpu: list[Any]) -> None:
    save, load = on_gpu(cpu)
    entries = dict(save.keys)
    key = "core_attention._extra_state"
    entries[key] = StateEntry(kind="bytes", fields=("scale",))
    entries["extra"] = StateEntry(kind="Tensor", dtype="float32", shape=(1,))
    moved = Moved(path="core_attention", name="core_attention", moved={"forward.scale": False})
    save = save.model_copy(update={"keys": entries})
    load = load.model_copy(
        update={"after_load": (moved,), "missing_keys": ("one",), "unexpected_keys": ("other",)}
    )
    assert differences(cpu, [save, load]) == [
        ("autocast/1.8", "keys"),
        ("autocast/1.8", f"payload of {key}"),
        ("autocast/1.8", "dtype of extra"),
        ("autocast/plain/1.8->1.11", "after_load"),
        ("autocast/plain/1.8->1.11", "missing keys"),
        ("autocast/plain/1.8->1.11", "unexpected keys"),
    ]


def test_another_fate_and_another_form_are_listed(plan: Plan, cpu: list[Any]) -> None:
    save, load = on_gpu(cpu)
    part = load.parts[0]
    name, tensor = next(iter(part.tensors.items()))
    other = tensor.model_copy(update={"shape": (7,)})
    shaped = part.model_copy(update={"tensors": part.tensors | {name: other}})
    found = differences(cpu, [save, load.model_copy(update={"parts": (shaped,)})])
    assert ("autocast/plain/1.8->1.11", f"{name} of {part.path}") in found
    failed = load.model_copy(
        update={"error": Failure(type="KeyError", message="m"), "stage": Stage.LOAD_STATE_DICT}
    )
    whats = [what for _where, what in differences(cpu, [save, failed])]
    assert whats[:3] == ["outcome", "stage", "error"]


def test_savers_of_the_very_same_state_share_their_loads(plan: Plan, cpu: list[Any]) -> None:
    other = a_save(plan, "1.9").model_copy(update={"state_digest": cpu[0].state_digest})
    device = [*on_gpu([cpu[0], other]), *on_gpu([cpu[1]], saved_by="1.9")]
    found = compare(by_scenario([*cpu, other], on_the_standin), by_scenario(device, on_a_device))
    assert "autocast/plain/1.9->1.11" in found.compared
    assert found.device_only == ()


def test_what_the_device_alone_saw_is_named(plan: Plan, cpu: list[Any]) -> None:
    found = compare(
        by_scenario(cpu, on_the_standin),
        by_scenario(on_gpu([*cpu, a_save(plan, "1.9")]), on_a_device),
    )
    assert found.device_only == ("autocast/1.9",)


def test_two_sizes_on_the_device_are_told_apart(cpu: list[Any]) -> None:
    device = [*on_gpu(cpu, "device--"), *on_gpu(cpu, "faq-----")]
    found = compare(by_scenario(cpu, on_the_standin), by_scenario(device, on_a_device))
    assert "autocast/1.8 (scenario device--)" in found.compared
    assert "autocast/1.8 (scenario faq-----)" in found.compared


def test_an_output_that_is_off_is_not_loaded(cpu: list[Any]) -> None:
    save, load = cpu
    assert result(save, load).outcome == "loaded"
    for difference, word in ((0.125, "loaded"), (0.126, "partial"), (float("nan"), "partial")):
        output = Output(largest_difference=difference, largest=1.0)
        assert result(save, load.model_copy(update={"output": output})).outcome == word


def te_matrix(*words: Any) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command_compares_exported_files(cpu: list[Any], tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("cpu.jsonl", "same.jsonl.gz", "other.jsonl")]
    changed = on_gpu([cpu[1]], missing_keys=("one",))
    for file, records in zip(files, (cpu, on_gpu(cpu), [*on_gpu([cpu[0]]), *changed]), strict=True):
        archive.write(file, records, "2026-01-01")
    same = te_matrix("fidelity", files[0], files[1])
    assert (same.exit_code, same.output) == (0, "saves and cells seen by both: 2; 0 differences\n")
    other = te_matrix("fidelity", files[0], files[2])
    assert other.exit_code == 1
    assert "autocast/plain/1.8->1.11: missing keys\n" in other.output
    listed = json.loads(te_matrix("fidelity", files[0], files[2], "--json").output)
    (difference,) = listed["differences"]
    assert Difference(**difference) == Difference(
        "autocast/plain/1.8->1.11", "missing keys", "", "one"
    )


def test_nothing_in_common_is_no_agreement(cpu: list[Any], tmp_path: Path) -> None:
    archive.write(tmp_path / "cpu.jsonl", cpu, "2026-01-01")
    refused = te_matrix("fidelity", tmp_path / "cpu.jsonl", tmp_path / "cpu.jsonl")
    assert refused.exit_code == 2
    assert "have no save and no cell in common" in refused.stderr
    assert te_matrix("fidelity", tmp_path / "no", tmp_path / "no").exit_code == 2


DOC = Path(__file__).parents[3] / "docs" / "fidelity.md"
NONE_YET = "No device has been compared yet."


def test_every_difference_that_is_recorded_is_explained() -> None:
    text = DOC.read_text()
    device = recorded.evidence(Lane.GPU)
    assert (device is None) == (NONE_YET in text)
    archive_ = recorded.evidence(Lane.CPU)
    assert archive_ is not None
    found = compare(
        by_scenario(archive_.records(), on_the_standin),
        by_scenario(device.records() if device else [], on_a_device),
    )
    assert [d for d in found.differences if d.what not in text or d.where not in text] == []


def on_binding(records: list[Any]) -> list[Any]:
    return [
        record.model_copy(
            update={"provenance": record.provenance.model_copy(update={"binding": "real"})}
        )
        for record in records
    ]


def test_values_are_compared_where_the_cpu_lane_ran_on_the_binding(
    plan: Plan, cpu: list[Any]
) -> None:
    other = on_binding([a_save(plan, "1.8", digest="other values")])
    found = compare(
        by_scenario([*cpu, *other], on_the_standin), by_scenario([*cpu, *other], on_the_binding)
    )
    assert [one.what for one in found.differences] == ["values of the metadata"]
    same = by_scenario(on_binding(cpu), on_the_binding)
    assert compare(by_scenario(cpu, on_the_standin), same).differences == ()
