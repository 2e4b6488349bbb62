"""Rule: the catalogue knows every release, where its code is, and what is new."""

import pytest

from matrix.catalogue import releases
from matrix.catalogue.releases import Catalogue, Release
from matrix.errors import SourceUnavailable, UsageError


def test_all_releases_from_1_0_to_2_20_2(known: Catalogue) -> None:
    names = known.names()
    assert len(names) == 41
    assert names[0] == "1.0"
    assert names[-1] == "2.20.2"
    assert {"1.2.1", "1.14", "2.0", "2.2.1", "2.14.1", "2.16.1", "2.17.1"} <= set(names)


def test_oldest_first(known: Catalogue) -> None:
    assert known.names().index("1.9") < known.names().index("1.10")


def test_what_the_index_lacks_comes_from_git(known: Catalogue) -> None:
    from_git = {release.name for release in known.releases if release.git}
    old = {"1.0", "1.1", "1.2", "1.2.1", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8"}
    assert from_git == old | {"1.14", "2.0", "2.2.1"}


def test_the_opt_in_came_with_patch_releases(known: Catalogue) -> None:
    with_opt_in = [release.name for release in known.releases if release.opt_in]
    assert with_opt_in == ["2.16.1", "2.17.1", "2.18", "2.19", "2.20.2"]


def test_an_unknown_release_names_the_nearest(known: Catalogue) -> None:
    with pytest.raises(UsageError, match=r"no release 2.17.2.*Did you mean 2.17"):
        known["2.17.2"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("v1.13", "1.13"),
        ("2.4.0", "2.4"),
        ("2.4.0+3cd6870", "2.4"),
        ("1.9.0.post1", "1.9"),
        ("2.6.0.post1", "2.6"),
        ("2.2.1.0", "2.2.1"),
    ],
)
def test_a_version_as_packages_and_tags_have_it(known: Catalogue, text: str, name: str) -> None:
    assert known[text].name == name


@pytest.mark.parametrize(
    "text", ["2.4.0.dev0+94bff09", "2.0.1", "2.4rc1", "2.4.0.post1", "v", "main"]
)
def test_a_version_between_releases_is_none(known: Catalogue, text: str) -> None:
    with pytest.raises(UsageError, match="there is no release"):
        known[text]


def test_sync_finds_what_the_catalogue_lacks(known: Catalogue) -> None:
    published = ["2.21.0", "2.20.2", "2.6.0.post1", "1.9.0", "0.0.0", "2.20.3"]
    assert releases.missing(known, published) == ["2.20.3", "2.21.0"]


def test_sync_has_nothing_to_say_of_what_it_knows(known: Catalogue) -> None:
    published = [release.wheel for release in known.releases if release.wheel]
    assert releases.missing(known, published) == []


def test_a_proposed_row_reads_back(known: Catalogue, tmp_path) -> None:
    release = known["2.17.1"]
    path = tmp_path / "releases.toml"
    path.write_text(releases.render(release))
    assert releases.load(path).releases == (release,)


def test_an_index_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Done:
        returncode, stdout, stderr = 1, "", "WARNING: nothing\nERROR: no network\n"

    monkeypatch.setattr(releases.subprocess, "run", lambda *a, **k: Done)
    with pytest.raises(SourceUnavailable, match="did not list transformer_engine.*no network"):
        releases.published()


def test_a_candidate_is_named_by_version_and_digest() -> None:
    release = Release(version="2.21.0", digest="ab" * 32, path="/somewhere")
    assert release.name == "2.21.0@abababab"
    assert release.minor == (2, 21)
