"""The mirror of the ledger's choice: what it admits, it admits within every bound."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.bounds import UNLIMITED, Bound, Candidate, Clamp
from spendgate.budget.evaluate import evaluate

SCOPES = ("month", "day", "model:a", "app:b")
amounts = st.integers(0, 2_000)


@st.composite
def bounds(draw: st.DrawFn, scope: str) -> Bound:
    if draw(st.booleans()):
        return Bound(scope, "month", UNLIMITED, UNLIMITED, scope)
    floor = draw(amounts)
    return Bound(scope, "month", floor, floor + draw(st.integers(0, 100)), scope)


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    more = draw(st.lists(st.sampled_from(SCOPES[1:]), unique=True))
    clamp = None
    estimate = draw(amounts)
    if draw(st.booleans()):
        fixed = draw(st.integers(0, estimate))
        clamp = Clamp(fixed, draw(st.integers(0, 50_000)), draw(st.integers(1, 20)))
    return Candidate(
        "m",
        estimate,
        tuple(draw(bounds(s)) for s in ("month", *more)),
        draw(st.integers(0, 1_000)),
        draw(st.just(UNLIMITED) | amounts),
        draw(amounts),
        clamp,
    )


spent = st.dictionaries(st.sampled_from(SCOPES), amounts)


@given(st.lists(candidates(), max_size=4), spent, spent)
def test_what_is_admitted_fits_every_bound_and_its_window(
    asked: list[Candidate], settled: dict[str, int], held: dict[str, int]
) -> None:
    verdict = evaluate(asked, settled, held)
    if verdict.candidate < 0:
        assert verdict.held_nanousd == 0
        return
    chosen = asked[verdict.candidate]
    assert chosen.is_open(settled.get("month", 0))
    assert 0 <= verdict.held_nanousd <= chosen.estimate_nanousd
    for bound in chosen.bounds:
        if bound.floor_nanousd >= 0:
            committed = settled.get(bound.scope, 0) + held.get(bound.scope, 0)
            assert committed + verdict.held_nanousd <= bound.ceiling_nanousd
            if verdict.held_nanousd:
                assert committed < bound.floor_nanousd


@given(st.lists(candidates(), max_size=4), spent, spent)
def test_every_open_candidate_before_the_admitted_one_is_named_with_its_bound(
    asked: list[Candidate], settled: dict[str, int], held: dict[str, int]
) -> None:
    verdict = evaluate(asked, settled, held)
    whole = verdict.candidate >= 0 and verdict.output_cap is None
    before = asked[: verdict.candidate] if whole else asked
    is_tried = [i for i, c in enumerate(before) if c.is_open(settled.get("month", 0))]
    assert [r.candidate for r in verdict.refusals] == is_tried
    for refused in verdict.refusals:
        assert refused.bound in asked[refused.candidate].bounds
        assert refused.reserved_nanousd == held.get(refused.bound.scope, 0)
        assert refused.settled_nanousd == settled.get(refused.bound.scope, 0)


@given(st.lists(candidates(), max_size=4), spent, spent)
def test_a_clamped_cap_costs_no_more_than_what_is_held_and_is_useful(
    asked: list[Candidate], settled: dict[str, int], held: dict[str, int]
) -> None:
    verdict = evaluate(asked, settled, held)
    if verdict.output_cap is None:
        return
    clamp = asked[verdict.candidate].clamp
    assert clamp is not None
    assert verdict.output_cap >= clamp.output_tokens_min
    cost_pico = clamp.fixed_nanousd * 1000 + verdict.output_cap * clamp.output_picousd_per_token
    assert verdict.held_nanousd * 1000 >= cost_pico


@given(candidates(), spent, st.sampled_from(SCOPES), st.integers(1, 500))
def test_more_spend_never_admits_what_less_spend_refused(
    asked: Candidate, committed: dict[str, int], scope: str, more: int
) -> None:
    always_open = Candidate(asked.model, asked.estimate_nanousd, asked.bounds, clamp=asked.clamp)
    if evaluate([always_open], committed).candidate < 0:
        richer = committed | {scope: committed.get(scope, 0) + more}
        assert evaluate([always_open], richer).candidate < 0


def test_an_equal_sum_fits_and_a_spent_floor_refuses() -> None:
    month = Bound("month", "month", 100, 105, "monthly_budget_exceeded")
    one = [Candidate("m", 6, (month,))]
    assert evaluate(one, {"month": 99}).candidate == 0
    assert evaluate([Candidate("m", 7, (month,))], {"month": 99}).candidate == -1
    assert evaluate([Candidate("m", 0, (month,))], {"month": 100}).refusals[0].settled_nanousd == 100


def test_nothing_is_clamped_where_another_candidate_fits_whole() -> None:
    month = Bound("month", "month", 100, 100, "monthly_budget_exceeded")
    big = Candidate("big", 200, (month,), clamp=Clamp(0, 1000, 1))
    assert evaluate([big, Candidate("small", 50, (month,))], {}).candidate == 1
    clamped = evaluate([big], {"month": 40})
    assert (clamped.candidate, clamped.held_nanousd, clamped.output_cap) == (0, 60, 60)


@given(st.lists(candidates(), max_size=4), spent, spent)
def test_only_holds_refuse_exactly_what_fits_without_them(
    asked: list[Candidate], settled: dict[str, int], held: dict[str, int]
) -> None:
    for refused in evaluate(asked, settled, held).refusals:
        alone = replace(asked[refused.candidate], used_from_nanousd=0, used_below_nanousd=UNLIMITED)
        without = evaluate([alone], settled)
        assert refused.held == (without.candidate == 0)
        if not refused.held:
            assert refused.bound == without.refusals[0].bound


@given(candidates(), spent, spent, spent)
def test_what_others_hold_opens_and_closes_no_window(
    asked: Candidate, settled: dict[str, int], held: dict[str, int], more: dict[str, int]
) -> None:
    free = replace(asked, bounds=(Bound("month", "month", UNLIMITED, UNLIMITED, ""),))
    assert evaluate([free], settled, held).candidate == evaluate([free], settled, more).candidate
