"""Rule: the schemas that ship are those of the code, and what the code writes obeys them."""

from __future__ import annotations

import json
import lzma
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from matrix.catalogue import tables
from matrix.catalogue.words import Lane
from matrix.cli import main
from matrix.report import schema
from matrix.store import recorded
from matrix.store.records import Attempt


def shipped(name: str) -> Any:
    return json.loads((schema.folder() / f"{name}.schema.json").read_text())


def validator(name: str) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(shipped(name))
    return jsonschema.Draft202012Validator(shipped(name))


@pytest.mark.parametrize("name", schema.NAMES)
def test_what_ships_is_current(name: str) -> None:
    path = schema.folder() / f"{name}.schema.json"
    assert path.read_text() == schema.text(name), (
        "run `te-matrix schema --write matrix/report/schemas` and look at the difference"
    )


def properties(schema: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
    for part in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(part, dict | list):
            yield from properties(part)


@pytest.mark.parametrize("name", schema.NAMES)
def test_every_property_has_a_description(name: str) -> None:
    found = list(properties(shipped(name)))
    assert found
    assert [key for key, value in found if not value.get("description")] == []


def test_nothing_else_ships() -> None:
    found = {path.name for path in schema.folder().iterdir()}
    assert found == {f"{name}.schema.json" for name in schema.NAMES}


@pytest.mark.parametrize("name", ["releases", "faq", "ledger", "scenarios", "variants", "changes"])
def test_the_packaged_tables_obey(name: str) -> None:
    data = tomllib.loads(tables.packaged(f"{name}.toml").read_text())
    plain = json.loads(json.dumps(data, default=str))
    validator(name).validate(plain)
    broken = plain | {"unknown": 1}
    assert not validator(name).is_valid(broken)


def test_a_report_obeys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = CliRunner().invoke(main, ["report", "--json", "--variant", "all"]).output
    report = json.loads(output)
    validator("report").validate(report)
    report["judgements"][0]["verdict"] = "fine"
    assert not validator("report").is_valid(report)


def test_recorded_evidence_obeys() -> None:
    path = recorded.folder(Lane.CPU) / "evidence" / "autocast.jsonl.xz"
    lines = lzma.decompress(path.read_bytes()).decode().split("\n")[:-1]
    check = validator("evidence")
    for line in [lines[0], *lines[1:-1:40], lines[-1]]:
        check.validate(json.loads(line))
    record = json.loads(lines[1])
    assert not check.is_valid(record | {"unknown": 1})
    assert not check.is_valid({k: v for k, v in record.items() if k != "provenance"})


def test_an_attempt_obeys() -> None:
    attempt = Attempt(key="0", kind="infra", message="m", at="2026-11-24T00:00:00+00:00")
    validator("evidence").validate(json.loads(attempt.model_dump_json()))


def test_from_the_command_line(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(main, ["schema"]).output.split() == list(schema.NAMES)
    assert run(main, ["schema", "ledger"]).output == schema.text("ledger")
    assert run(main, ["schema", "--write", str(tmp_path / "new")]).exit_code == 0
    assert len(list((tmp_path / "new").iterdir())) == len(schema.NAMES)
    (tmp_path / "file").write_text("")
    assert run(main, ["schema", "--write", str(tmp_path / "file" / "x")]).exit_code == 4
