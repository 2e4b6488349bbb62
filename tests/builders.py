"""Records built by hand, as the worker would report them."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from matrix import evidence, recorded
from matrix.archive import Archive, write
from matrix.evidence import Entry, Failure, Load, Moved, Provenance, Save, Site, Tensor
from matrix.plan import Plan

TODAY = datetime.date(2026, 11, 24)


def provenance() -> Provenance:
    return Provenance(
        release="1.8",
        source="git v1.8",
        worker="0" * 64,
        torch="2.13.0",
        python="3.11",
        machine="x86_64",
        harness="0.1.0",
        runner="local",
        recorded_at="2026-11-24T00:00:00+00:00",
        seconds=0.1,
    )


def tensor(digest: str, *, default: bool = False) -> Tensor:
    return Tensor(dtype="float32", shape=(9,), digest=digest, first=(2.0,), default=default)


def site(digest: str, *, default: bool = False, name: str = "core_attention") -> Site:
    tensors = {"forward.scale": tensor(digest, default=default)}
    return Site(path=name, name=name, attention=True, tensors=tensors)


def a_save(plan_: Plan, release: str, *, digest: str = "canary", path: str | None = None) -> Save:
    """A save as the worker would report it; without attention up to 1.5."""
    row, recipe = plan_.releases[release], plan_.recipes["autocast"]
    supports = row.minor >= (1, 6)
    saved = site(digest)
    if path:
        saved = saved.model_copy(update={"path": path})
    elif row.minor < (1, 8):
        saved = saved.model_copy(update={"path": "core_attention.fused_attention"})
    return Save(
        key=evidence.save_key(row.digest, recipe.digest, plan_.lane),
        release=release,
        source_digest=row.digest,
        scenario="autocast",
        scenario_digest=recipe.digest,
        lane=plan_.lane,
        state_digest=f"state-{release}",
        keys={"qkv.weight": Entry(kind="Tensor", dtype="bfloat16", shape=(2, 2))},
        sites=(saved,) if supports else (),
        file_digest="0" * 64,
        provenance=provenance(),
    )


def a_load(
    plan_: Plan,
    save: Save,
    loader: str,
    variant: str = "plain",
    *,
    digest: str = "canary",
    default: bool = False,
    error: Failure | None = None,
    frozen: bool = False,
    **more: Any,
) -> Load:
    """A load as the worker would report it: intact unless said otherwise."""
    row, recipe = plan_.releases[loader], plan_.recipes["autocast"]
    supports = row.minor >= (1, 6) and error is None
    moved = Moved(path="core_attention", name="core_attention", moved={"forward.scale": not frozen})
    return Load(
        **{
            "key": evidence.load_key(
                row.digest, save.state_digest, recipe.digest, variant, plan_.lane
            ),
            "release": loader,
            "source_digest": row.digest,
            "saved_by": save.release,
            "state_digest": save.state_digest,
            "scenario": "autocast",
            "scenario_digest": recipe.digest,
            "variant": variant,
            "lane": plan_.lane,
            "stage": "load_state_dict" if error else "first_step",
            "error": error,
            "sites": (site(digest, default=default),) if supports else (),
            "after_load": (moved,) if supports else None,
            "provenance": provenance(),
            **more,
        }
    )


def with_message(path: Path, message: str) -> Archive:
    """The recorded evidence, with one message in place of every error's own."""
    kept = recorded.evidence("cpu")
    assert kept is not None
    changed: list[Any] = []
    for record in kept.records():
        if isinstance(record, Load) and record.error:
            error = record.error.model_copy(update={"message": message, "traceback": message})
            record = record.model_copy(update={"error": error})
        changed.append(record)
    write(path, changed, "2026-11-24")
    return Archive(path)
