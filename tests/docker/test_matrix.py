"""Rule: the cpu lane says the same in containers as outside of them."""

from __future__ import annotations

from matrix.catalogue.words import RunnerName
from matrix.lane.containers import images
from matrix.report import build

RELEASES = ["1.11", "2.17.1"]
VARIANTS = ("plain", "trusted")


def test_all_four_pairs_agree_with_the_uncontained_lane(bench, make_host, client) -> None:
    host = make_host()
    made = bench.plan(RELEASES, RELEASES, variants=VARIANTS, runner=RunnerName.DOCKER)
    bench.run(made, host=host)
    contained = bench.judge(made, with_recorded=False)
    assert host.started == 2 * len(RELEASES)

    outside = bench.plan(RELEASES, RELEASES, variants=VARIANTS)
    bench.run(outside)
    local = bench.judge(outside, with_recorded=False)
    assert len(contained.verdicts) == 4 + 2
    for inside, here in zip(contained.verdicts, local.verdicts, strict=True):
        assert inside.live
        assert (inside.cell, inside.verdict, inside.outcome, inside.after_load) == (
            here.cell,
            here.verdict,
            here.outcome,
            here.after_load,
        )
        assert inside.load.observed() == here.load.observed()

    release_of = {image.id: image.labels["te-matrix.release"] for image in _of_releases(client)}
    for cell in build(contained, bench.documentation).cells:
        assert (cell.lane, cell.runner, cell.provenance) == ("cpu", "docker", "live")
        assert release_of[cell.load_image] == cell.loaded_by
        assert release_of[cell.save_image] == cell.measured_with


def _of_releases(client):
    return [image for image in images.built(client) if "te-matrix.release" in image.labels]


def test_built_images_say_what_they_are(bench, make_host, client) -> None:
    made = bench.plan(["1.11"], ["1.11"], runner=RunnerName.DOCKER)
    bench.run(made, host=make_host())
    (verdict,) = bench.judge(made).verdicts
    labels = client.images.get(verdict.load.provenance.image).labels
    assert (labels["te-matrix.kind"], labels["te-matrix.band"]) == ("cpu", "1.8-1.11")
    assert labels["te-matrix.base-digest"] == "unlocked"
    assert labels["te-matrix.base-id"] == client.images.get(labels["te-matrix.base"]).id
    assert labels["te-matrix.source"].startswith("index 1.11.0 ")
    assert labels["te-matrix.harness"]
    assert "te-matrix.commit" in labels


def test_nothing_known_is_run_twice(bench, make_host) -> None:
    made = bench.plan(["1.11"], ["1.11"], runner=RunnerName.DOCKER)
    assert bench.run(made, host=make_host()).measured > 0
    again = make_host()
    assert bench.run(made, host=again).measured == 0
    assert again.started == 0


def test_only_so_many_images_are_kept_at_once(bench, make_host, client) -> None:
    made = bench.plan([*RELEASES, "1.12"], [*RELEASES, "1.12"], runner=RunnerName.DOCKER)
    host = make_host(most=1)
    seen: list[int] = []
    opening = host.open

    def open_and_count(*words):
        process = opening(*words)
        seen.append(len(_of_releases(client)))
        return process

    host.open = open_and_count
    bench.run(made, host=host)
    assert set(seen) == {1}
    assert {verdict.live for verdict in bench.judge(made).verdicts} == {True}
