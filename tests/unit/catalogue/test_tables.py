"""Rule: a malformed table is refused with file, line and what was expected, all at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from matrix.catalogue import faq, releases, scenarios
from matrix.errors import TableError
from matrix.judge import ledger

Table = Callable[[str], Path]

BAND = '[[band]]\nname = "all"\nfirst = "0.0"\nprinted = "p"\nsentence = "s"\n'
PUBLISHED = (
    'published = { file = "f", line = 1, context = [], list = "l", versions = "v",'
    ' loading = "l", mapping = "m", code = [], sha256 = "0" }\n'
)
HEAD = 'source = "s"\nread_in = "r"\n' + PUBLISHED


def test_not_toml_names_the_line(table: Table) -> None:
    path = table('source = "s"\nread_in = \n')
    with pytest.raises(TableError, match=r"table.toml is not TOML: .*line 2"):
        faq.load(path)


def test_every_mistake_is_reported_with_its_line(table: Table) -> None:
    rule = '[[rule]]\nloaded_by = ["all"]\nsaved_by = ["all"]\nvariants = ["plain"]\n'
    path = table(
        HEAD + BAND + rule + 'outcome = "fine"\nprinted = "p"\nsentence = "s"\nextra = 1\n'
    )
    with pytest.raises(TableError) as refused:
        faq.load(path)
    assert f"{path}:13: rule.0.outcome" in str(refused.value)
    assert "'loaded', 'defaults', 'none', 'error' or 'partial'" in str(refused.value)
    assert f"{path}:16: rule.0.extra" in str(refused.value)


def test_a_missing_key_points_to_its_table(table: Table) -> None:
    path = table(HEAD + BAND + '[[band]]\nname = "second"\nfirst = "1.0"\n[[rule]]\n')
    with pytest.raises(TableError, match=r"table.toml:9: band.1.sentence: Field required"):
        faq.load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"gone.toml cannot be read"):
        faq.load(tmp_path / "gone.toml")


def test_two_rules_on_one_combination(table: Table) -> None:
    rule = (
        '[[rule]]\nloaded_by = ["all"]\nsaved_by = ["all"]\nvariants = ["plain"]\n'
        'outcome = "loaded"\nprinted = "p"\nsentence = "s"\n'
    )
    with pytest.raises(TableError, match="two rules apply to plain / all / all"):
        faq.load(table(HEAD + BAND + rule + rule))


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        ('"1.5"', "table.toml: band second begins within band all"),
        ('"1.7"\nlast = "1.6"', "band second runs backwards"),
        ('"soon"', "band.1.first: .*Invalid version: 'soon'"),
    ],
)
def test_bands_that_are_no_row(table: Table, first: str, complaint: str) -> None:
    bands = BAND.replace('first = "0.0"', 'first = "0.0"\nlast = "1.5"')
    second = f'[[band]]\nname = "second"\nfirst = {first}\nprinted = "p"\nsentence = "s"\n'
    with pytest.raises(TableError, match=complaint):
        faq.load(table(HEAD + "rule = []\n" + bands + second))


def test_a_band_behind_one_without_end(table: Table) -> None:
    second = '[[band]]\nname = "second"\nfirst = "9.0"\nprinted = "p"\nsentence = "s"\n'
    with pytest.raises(TableError, match="band second begins within band all"):
        faq.load(table(HEAD + "rule = []\n" + BAND + second))


def test_nesting_without_end(table: Table) -> None:
    with pytest.raises(TableError, match="is not TOML"):
        faq.load(table("source = " + "[" * 100_000))


def test_two_rules_on_one_combination_with_another_between(table: Table) -> None:
    rule = (
        '[[rule]]\nloaded_by = ["all"]\nsaved_by = ["all"]\nvariants = ["{}"]\n'
        'outcome = "loaded"\nprinted = "p"\nsentence = "s"\n'
    )
    rules = [rule.format(variant) for variant in ("plain", "trusted", "plain")]
    with pytest.raises(TableError, match="two rules apply to plain / all / all"):
        faq.load(table(HEAD + BAND + "".join(rules)))


def test_a_rule_for_an_unknown_band(table: Table) -> None:
    rule = (
        '[[rule]]\nloaded_by = ["none such"]\nsaved_by = ["all"]\nvariants = ["plain"]\n'
        'outcome = "loaded"\nprinted = "p"\nsentence = "s"\n'
    )
    with pytest.raises(TableError, match="band none such"):
        faq.load(table(HEAD + BAND + rule))


def test_a_scenario_of_an_unknown_size(table: Table) -> None:
    text = (
        '[[scenario]]\nname = "mine"\nsummary = "s"\nsize = "smal"\nlayers = 2\n'
        'weights = "fp8"\nstate = "all"\nsave_recipe = {}\nload_recipe = {}\n'
        "transport = { weights_only = false, strict = true }\n"
    )
    with pytest.raises(TableError, match="there is no size smal.*Did you mean small"):
        scenarios.load(table(text))


def test_a_scenario_of_the_users_own(table: Table) -> None:
    text = (
        "[size.tiny]\nhidden_size = 32\nattention_heads = 2\n"
        '[[scenario]]\nname = "mine"\nsummary = "s"\nsize = "tiny"\nlayers = 2\n'
        'weights = "fp8"\nstate = "all"\nsave_recipe = { margin = 1 }\nload_recipe = {}\n'
        "transport = { weights_only = false, strict = true }\n"
    )
    mine = scenarios.load(table(text))["mine"]
    assert mine.request["hidden_size"] == 32
    assert mine.request["save_recipe"] == {"margin": 1}


def test_a_wrong_type_in_a_scenario_names_the_line(table: Table) -> None:
    path = table('[[scenario]]\nname = "mine"\nsummary = "s"\nsize = "small"\nlayers = "two"\n')
    with pytest.raises(TableError, match=r"table.toml:5: scenario.0.layers: .*not 'two'"):
        scenarios.load(path)


ENTRY = (
    '[[entry]]\nid = "a"\nsaved_by = "1.6-1.7"\nloaded_by = "1.8"\nscenarios = ["autocast"]\n'
    'variants = ["plain"]\nobserved = "frozen"\ncause = "c"\nreference = "r"\nadvice = "a"\n'
    'accepted_by = "us"\nexpires = 2027-01-01\n'
)


def test_a_ledger_entry_with_an_open_range(table: Table) -> None:
    with pytest.raises(TableError, match=r"table.toml:1: entry.0: .*Invalid version"):
        ledger.load(table(ENTRY.replace("1.6-1.7", ">=1.6")))


def test_a_ledger_entry_that_runs_backwards(table: Table) -> None:
    with pytest.raises(TableError, match="runs backwards"):
        ledger.load(table(ENTRY.replace("1.6-1.7", "1.7-1.6")))


def test_an_error_entry_without_its_message(table: Table) -> None:
    with pytest.raises(TableError, match="stage, error and fragment"):
        ledger.load(table(ENTRY.replace('"frozen"', '"error"')))


def test_partial_is_never_excused(table: Table) -> None:
    with pytest.raises(TableError, match="observed cannot be 'partial'"):
        ledger.load(table(ENTRY.replace('"frozen"', '"partial"')))


def test_one_ledger_id_twice(table: Table) -> None:
    with pytest.raises(TableError, match="more than one entry is called a"):
        ledger.load(table(ENTRY + ENTRY))


def test_a_ledger_entry_without_a_date(table: Table) -> None:
    with pytest.raises(TableError, match=r"table.toml:12: entry.0.expires"):
        ledger.load(table(ENTRY.replace("2027-01-01", '"soon"')))


def test_a_release_without_a_source(table: Table) -> None:
    row = f'[[release]]\nversion = "9.9"\ndigest = "{"0" * 64}"\n'
    with pytest.raises(TableError, match="needs exactly one source"):
        releases.load(table(row))


def test_a_release_twice(table: Table) -> None:
    row = (
        f'[[release]]\nversion = "9.9"\ndigest = "{"0" * 64}"\n'
        f'wheel = "9.9.0"\nsha256 = "{"1" * 64}"\n'
    )
    with pytest.raises(TableError, match="release 9.9 has more than one row"):
        releases.load(table(row + row))


@pytest.mark.parametrize("same", ["9.9.0", "9.9"])
def test_a_release_twice_under_two_names(table: Table, same: str) -> None:
    row = f'[[release]]\nversion = "{{}}"\ndigest = "{"0" * 64}"\n'
    row += f'wheel = "9.9.0"\nsha256 = "{"1" * 64}"\n'
    with pytest.raises(TableError, match="has more than one row"):
        releases.load(table(row.format("9.9") + row.format(same)))


def test_a_release_that_would_read_as_a_range(table: Table) -> None:
    row = (
        f'[[release]]\nversion = "9.9-1"\ndigest = "{"0" * 64}"\n'
        f'wheel = "9.9.0"\nsha256 = "{"1" * 64}"\n'
    )
    with pytest.raises(TableError, match="the usual form of version '9.9-1' is 9.9.post1"):
        releases.load(table(row))


def test_a_release_that_is_no_version(table: Table) -> None:
    row = (
        f'[[release]]\nversion = "newest"\ndigest = "{"0" * 64}"\n'
        f'wheel = "9.9.0"\nsha256 = "{"1" * 64}"\n'
    )
    with pytest.raises(TableError, match="'newest' is not a version"):
        releases.load(table(row))
