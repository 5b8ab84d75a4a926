"""Costs of registries: the program's own, and a file beside them."""

from __future__ import annotations

import re
import tomllib
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import pytest

from mainstay.config import Config, EcosystemSetting, UpstreamSetting
from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError
from mainstay.usage.costs import SHIPPED, comparable, load_costs, private_upstreams
from mainstay.usage.statement_money import Term, middle, parse_number, render_money, round_half_up, share_out, whole
from mainstay.usage.statement_rows import PARTS

PUBLIC = "https://registry.example/simple/"
CONTRACT = """
[registries.contract]
name = "Contract"
ecosystem = "pypi"
currency = "EUR"
cost = { low = 12_000, high = "18000.50" }
requests = { yearly = 1_000_000 }
bytes = { yearly = 4_000_000_000 }
split = { traffic = 50, requests = 20, fixed = 30 }
"""
MIRROR = """
[registries.mirror]
name = "Mirror"
ecosystem = "npm"
upstreams = ["https://user:secret@Mirror.example/npm/"]
like = ["pypi"]
"""


def write(folder: Path, text: str) -> Path:
    """A file of costs."""
    path = folder / "costs.toml"
    path.write_text(text)
    return path


def calculate(text: str) -> Fraction:
    """What the arithmetic of a term comes to, reckoned by Python itself from its text alone."""
    assert re.fullmatch(r"[0-9., ()+×÷]+", text), text
    exact = re.sub(r"[0-9][0-9,]*(?:\.[0-9]+)?", lambda match: f"F('{match[0].replace(',', '')}')", text)
    found = eval(exact.replace("×", "*").replace("÷", "/"), {"F": Fraction})
    assert isinstance(found, Fraction)
    return found


def test_every_figure_of_the_program_is_dated_and_has_a_source():
    """Of a registry with figures; one that is like others says what of it is known."""
    tree = tomllib.loads((files("mainstay.usage") / SHIPPED).read_text("utf-8"))
    for key, row in load_costs().rows.items():
        assert row.registry.note or not row.like, key
        assert all(cited.as_of and cited.sources and cited.note for cited in row.registry.figures.values()), key
        assert set(tree["registries"][key].get("like", [key])) <= set(tree["registries"]), key
    used = {
        name
        for row in tree["registries"].values()
        for part in ("cost", "requests", "bytes")
        if part in row
        for name in row[part]["sources"]
    }
    used |= {name for cited in (tree["split"], *tree["currencies"].values()) for name in cited.get("sources", [])}
    assert used == set(tree["sources"])


def test_there_is_a_row_for_every_ecosystem():
    """So that what an adapter serves has a price."""
    costs = load_costs()
    assert all(costs.find(name, PUBLIC) for name in ecosystems())


def test_prices_are_the_cost_divided_by_what_the_world_takes():
    """By hand: of traffic a quarter, of requests 15 and of what is fixed 60 percent, to the last digit."""
    prices = load_costs().prices("cargo", "USD")
    assert prices["traffic"].low.value == Fraction(5_000_000 * 25, 100 * 54 * 10**15)
    assert prices["requests"].high.value == Fraction(8_000_000 * 15, 100 * 388_250_000_000)
    assert prices["fixed"].suggested.value == Fraction(6_500_000 * 60, 100 * 388_250_000_000)
    assert prices["requests"].low.text == "5,000,000 × 15 ÷ 100 ÷ 388,250,000,000"


def test_a_registry_without_figures_has_the_prices_of_others_from_the_lowest_to_the_highest():
    """And is an estimate, in words that say by what."""
    costs = load_costs()
    found, others = costs.prices("npm", "USD"), [costs.prices(key, "USD") for key in ("pypi", "cargo")]
    for part in PARTS:
        assert found[part].low.value == min(other[part].low.value for other in others)
        assert found[part].high.value == max(other[part].high.value for other in others)
    assert (costs.rows["npm"].sure, costs.rows["npm"].basis) == ("estimate", "estimate by analogy")
    assert set(costs.sources_of(["npm"], "USD")) == set(costs.sources_of(["pypi", "cargo"], "USD"))


@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_the_arithmetic_of_a_price_gives_the_price(tmp_path, currency):
    """Of the program's rows and of a contract in euros, in both currencies."""
    costs = load_costs(write(tmp_path, CONTRACT))
    for key in costs.rows:
        for price in costs.prices(key, currency).values():
            for term in (price.low, price.high, price.suggested):
                assert calculate(term.text) == term.value


def test_money_is_converted_by_the_rate_and_only_where_it_must_be(tmp_path):
    """A contract in euros is in euros as it stands; the rate's source is named where it was used."""
    costs = load_costs(write(tmp_path, CONTRACT))
    euros, dollars = (costs.prices("contract", currency)["traffic"] for currency in ("EUR", "USD"))
    assert euros.low.text == "12,000 × 50 ÷ 100 ÷ 4,000,000,000"
    assert dollars.low.value == euros.low.value * Fraction("1.1534")
    assert "ecb" not in costs.sources_of(["contract"], "EUR") and "ecb" in costs.sources_of(["contract"], "USD")
    assert "ecb" in costs.sources_of(["cargo"], "EUR") and "ecb" not in costs.sources_of(["cargo"], "USD")


def test_a_row_of_ones_own_stands_in_the_place_of_the_programs(tmp_path):
    """For its ecosystem; what others are like is still what the program knows."""
    ours, costs = load_costs(), load_costs(write(tmp_path, CONTRACT.replace("contract]", "pypi]")))
    assert costs.rows[costs.find("pypi", PUBLIC)].registry.name == "Contract"
    assert costs.rows["pypi"].basis == "primary"
    assert costs.prices("npm", "USD") == ours.prices("npm", "USD")
    assert "pypi" not in load_costs(write(tmp_path, CONTRACT)).rows


def test_the_file_that_the_page_gives_for_an_example_is_accepted(tmp_path):
    """And does what the page says of it."""
    page = (Path(__file__).parents[3] / "docs" / "statement.md").read_text("utf-8")
    (example,) = re.findall(r"```text\n(\[registries.*?)```", page, re.DOTALL)
    costs = load_costs(write(tmp_path, example))
    assert costs.find("npm", "https://registry.example/npm/") == "contract"
    assert costs.check_currency("CHF").usd == "1.25"


def test_a_row_with_addresses_covers_these_alone(tmp_path):
    """However the address is written; all else is covered as before."""
    costs = load_costs(write(tmp_path, MIRROR))
    assert costs.find("npm", "https://mirror.example/npm") == "mirror"
    assert costs.find("npm", "https://mirror.example/npm/other") == "npm"
    assert costs.find("pypi", "https://mirror.example/npm") == "pypi"


def test_a_private_upstream_is_covered_only_by_a_row_that_names_it(tmp_path):
    """And what was answered without an upstream by none."""
    costs = load_costs(write(tmp_path, MIRROR))
    private = ["https://mirror.example/npm/", "https://other.example/npm/"]
    assert costs.find("npm", "https://mirror.example/npm", private) == "mirror"
    assert costs.find("npm", "https://other.example/npm", private) == ""
    assert costs.find("npm", "") == "" and costs.find("unheard-of", PUBLIC) == ""


def test_the_settings_tell_which_upstreams_are_private():
    """By the word, by names of their own, or by a credential."""
    upstreams = (
        UpstreamSetting("https://registry.example/simple/"),
        UpstreamSetting("https://a.example/", private=True),
        UpstreamSetting("https://b.example/", namespaces=("acme-*",)),
        UpstreamSetting("https://c.example/", token_env="TOKEN"),
    )
    settings = {"one": EcosystemSetting(upstreams), "two": EcosystemSetting("https://d.example/")}
    assert private_upstreams(Config(ecosystems=settings)) == {f"https://{name}.example/" for name in "abc"}


def test_addresses_are_compared_without_what_does_not_matter():
    """Credentials, letters and the last slash."""
    assert comparable("HTTPS://me:pw@Registry.Example:8443/npm/?a=b") == "https://registry.example:8443/npm"
    assert comparable("") == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[registries", "not valid TOML"),
        ("[registry]", "the file is not allowed: Object contains unknown field `registry`."),
        (CONTRACT.replace("12_000", "1.5"), "registries.contract.cost.low is not allowed: Expected `int | str`, got"),
        (CONTRACT.replace("12_000", '"much"'), "registries.contract.cost: 'much' is not a number: write a whole one"),
        (CONTRACT.replace("12_000", "-1"), "registries.contract.cost: -1 is not a number"),
        (CONTRACT.replace("12_000", "20_000"), "registries.contract.cost.low is above registries.contract.cost.high."),
        (CONTRACT.replace("fixed = 30", "fixed = 31"), "the split of registries.contract is not 100 percent in all."),
        (CONTRACT.replace("1_000_000", "0"), "registries.contract.requests.yearly is not allowed: Expected `int` >= 1"),
        (
            CONTRACT.replace('"pypi"', '"pypy"'),
            "registries.contract.ecosystem = 'pypy' is not known. Did you mean pypi?",
        ),
        (CONTRACT.replace("EUR", "EUX"), "registries.contract.currency = 'EUX' is not known. Did you mean EUR?"),
        (CONTRACT.replace("bytes", "note = ''\n#"), "registries.contract lacks bytes. Write them, or name in `like`"),
        (CONTRACT + 'like = ["npm"]', "registries.contract has `like` and figures of its own."),
        (
            MIRROR.replace('["pypi"]', '["maven"]'),
            "registries.mirror.like = 'maven' is not known. Allowed: pypi, cargo.",
        ),
        (
            CONTRACT + CONTRACT.replace("contract", "second"),
            "registries.contract and registries.second are both of pypi.",
        ),
        (
            CONTRACT.replace("12_000", "12_000, sure = 'quite'"),
            "registries.contract.sure = 'quite' is not known. Allowed:",
        ),
        (CONTRACT.replace("12_000", "12_000, sources = ['x']"), "registries.contract.sources = 'x' is not known."),
        ("[currencies.CHF]\nusd = '0'", "currencies.CHF.usd = 0 is not allowed. Write what one is worth."),
        ("[currencies.CHF]\nusd = '1,2'", "currencies.CHF.usd: '1,2' is not a number"),
        ("[currencies.CHF]\nusd = 1\ndigits = 9", "currencies.CHF.digits is not allowed: Expected `int` <= 4."),
    ],
)
def test_a_file_that_says_what_is_not_allowed_is_refused_by_file_and_key(tmp_path, text, said):
    """With what to do, and exit code 2."""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_costs(path)
    assert caught.value.diagnostics().startswith(f"{path}: {said}")
    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """Missing, or not text."""
    with pytest.raises(ConfigError, match=r"none\.toml: no such file\."):
        load_costs(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml: cannot be read"):
        load_costs(tmp_path / "binary.toml")


def test_a_currency_without_a_rate_is_refused_until_a_file_gives_it_one(tmp_path):
    """With those that there are."""
    with pytest.raises(ConfigError, match="--currency CHF has no rate") as caught:
        load_costs().check_currency("CHF")
    assert caught.value.hint.startswith("Allowed: USD, EUR;")
    costs = load_costs(write(tmp_path, "[currencies.JPY]\nusd = '0.0064'\ndigits = 0"))
    assert costs.check_currency("JPY").digits == 0
    price = costs.prices("cargo", "JPY")["fixed"].low
    assert price.value == costs.prices("cargo", "USD")["fixed"].low.value / Fraction("0.0064")


def test_a_term_says_its_arithmetic_with_brackets_where_they_are_needed():
    """Times and divided by before plus, from left to right."""
    one, two, three = whole(1_000), parse_number("2.50"), whole(3)
    assert ((one + two) * three / two).text == "(1,000 + 2.50) × 3 ÷ 2.50"
    assert (one / (two * three)).text == "1,000 ÷ (2.50 × 3)"
    assert (one * (two / three) + one).text == "1,000 × 2.50 ÷ 3 + 1,000"
    for term in ((one + two) * three / two, one / (two * three), one * (two / three) + one):
        assert calculate(term.text) == term.value
    assert middle(one, one) is one and middle(one, three) == Term(Fraction(1003, 2), "(1,000 + 3) ÷ 2", 2)


def test_shares_go_to_those_that_lose_most_by_rounding_down():
    """Of equals to the earlier; what is nothing gets nothing."""
    assert share_out(2, [Fraction(3, 10), Fraction(8, 10), Fraction(9, 10)]) == [0, 1, 1]
    assert share_out(1, [Fraction(1, 2), Fraction(1, 2), Fraction(0)]) == [1, 0, 0]
    assert share_out(0, []) == []
    with pytest.raises(ValueError, match="5 is not the rounded sum of 1 parts"):
        share_out(5, [Fraction(4)])


def test_money_is_rounded_half_up_and_shown_with_all_its_decimal_places():
    """Also below zero, and where the currency has none."""
    assert [round_half_up(Fraction(number, 2)) for number in (1, 2, 3, 5)] == [1, 1, 2, 3]
    assert [render_money(minor, 2) for minor in (0, 5, 123_456_789, -5)] == ["0.00", "0.05", "1,234,567.89", "-0.05"]
    assert (render_money(1_234_567, 0), render_money(1_234_567, 3, "")) == ("1,234,567", "1234.567")
