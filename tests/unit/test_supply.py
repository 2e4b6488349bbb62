"""Rule: what comes in is named exactly, and what is secret stays out of what is kept."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from matrix.catalogue import releases
from matrix.errors import StoreError, UsageError, without_credentials
from matrix.lane.containers import packages
from matrix.lane.containers.image_spec import public
from matrix.store.records import Provenance
from tools import audit

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FREE = {"torch", "triton"}
"""PyTorch is chosen by TE_MATRIX_TORCH, and chooses its triton."""

LOCKED = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]
WANTED = [
    Requirement(text)
    for texts in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in texts
]


def test_every_release_has_a_hash_or_a_commit() -> None:
    for release in releases.load().releases:
        assert release.sha256 or release.commit, release.name
        assert release.identity.endswith(release.sha256 or str(release.commit))


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_what_the_project_asks_for_is_locked(wanted: Requirement) -> None:
    name = canonicalize_name(wanted.name)
    pins = [pin for pin in LOCKED if canonicalize_name(pin.name) == name]
    assert bool(pins) == (name not in FREE)
    for pin in pins:
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert wanted.specifier.contains(exact.version), "run `nox -s lock`"


def test_the_lock_names_no_place() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|--\w|@|/simple", text)


def test_every_session_installs_what_is_locked() -> None:
    """Beside PyTorch, whose index may not have the locked versions of what it needs."""
    text = (ROOT / "noxfile.py").read_text()
    calls = re.findall(r"session\.install\((.*)\)", text)
    assert [call for call in calls if not call.startswith('"-c", LOCK')] == ["*index, TORCH"]


# Known vulnerabilities.

FINE: dict[str, Any] = {"dependencies": [{"name": "click", "version": "8.5", "vulns": []}]}
VULNERABLE: dict[str, Any] = {
    "dependencies": [
        {
            "name": "jinja2",
            "version": "2.10",
            "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"]}],
        }
    ]
}
SKIPPED: dict[str, Any] = {"dependencies": [{"name": "click", "skip_reason": "not found"}]}


@pytest.mark.parametrize(
    ("canary", "locked", "status", "printed"),
    [
        (VULNERABLE, FINE, 0, "no known vulnerability in .*, says osv"),
        (VULNERABLE, VULNERABLE, 1, "jinja2 2.10: PYSEC-2019-217, fixed in 2.10.1"),
        (VULNERABLE, SKIPPED, 1, "click: not found"),
        (VULNERABLE, {}, 1, "were not audited"),
        (SKIPPED, FINE, 0, "NOT AUDITED: no advisories can be had here"),
        (FINE, FINE, 0, "NOT AUDITED"),
        ({}, {}, 0, "NOT AUDITED"),
    ],
)
@pytest.mark.parametrize("required", [False, True])
def test_only_a_service_that_knows_the_known_is_believed(
    canary: Any,
    locked: Any,
    status: int,
    printed: str,
    required: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def asked(service: str, requirements: str) -> Any:
        if service == "pypi":
            return SKIPPED  # as an index answers that has no advisories
        return canary if requirements == audit.CANARY + "\n" else locked

    monkeypatch.setattr(audit, "asked", asked)
    words = ["audit.py", str(ROOT / "requirements.lock"), "torch==2.13.0"]
    monkeypatch.setattr("sys.argv", [*words, *(["--require"] if required else [])])
    unknown = printed.startswith("NOT")
    assert audit.main() == (1 if unknown and required else status)
    assert re.search(printed, capsys.readouterr().out)


# Credentials.


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("fetch https://me:s3cret@host/simple failed", "fetch https://***@host/simple failed"),
        ("'ssh://git:p@ss:w0rd@host:22/x.git'", "'ssh://***@host:22/x.git'"),
        ("s3://key:secret@bucket/store", "s3://***@bucket/store"),
        ("https://h/x?sig=abc&v=2&api_key=def", "https://h/x?sig=***&v=2&api_key=***"),
        ("git@host:NVIDIA/te.git", "git@host:NVIDIA/te.git"),
        ("2.18.0@cdcdcdcd -> https://host/a b@c", "2.18.0@cdcdcdcd -> https://host/a b@c"),
    ],
)  # fmt: skip
def test_an_error_repeats_no_credentials(text: str, kept: str) -> None:
    assert without_credentials(text) == kept
    assert str(StoreError(text, do=text)).lower().count(kept.lower()) == 2


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"])
def test_no_image_is_given_credentials(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "https://host/simple")
    assert public(name) == "https://host/simple"
    monkeypatch.setenv(name, "https://me:s3cret@host/simple")
    with pytest.raises(UsageError, match=f"{name} holds credentials") as refused:
        public(name)
    assert "s3cret" not in str(refused.value)


def test_no_image_is_given_a_pytorch_with_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_MATRIX_TORCH", "torch @ https://me:s3cret@host/torch.whl")
    with pytest.raises(UsageError, match="TE_MATRIX_TORCH holds credentials"):
        packages.requirements()


def test_what_evidence_says_of_its_environment() -> None:
    """Whoever adds a field sees to it that it cannot hold a secret."""
    assert set(Provenance.model_fields) == {
        "release", "source", "worker", "torch", "python", "machine", "harness", "runner",
        "te", "image", "binding", "device", "backend", "recorded_at", "seconds",
    }  # fmt: skip
