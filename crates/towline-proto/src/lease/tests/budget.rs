//! Money: tables, and a naive model that the counters must agree with.

use proptest::{prelude::*, test_runner::RngSeed};
use towline_wire::Amount;

use super::super::{Amounts, Budget, BudgetError, Charge, Remaining};

fn amount(text: &str) -> Amount {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn amounts(texts: &[&str]) -> Amounts {
    let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
    Amounts::parse(&texts).unwrap_or_else(|error| panic!("{error}"))
}

fn budget(texts: &[&str]) -> Budget {
    Budget::new(&amounts(texts))
}

fn left(budget: &Budget) -> Vec<String> {
    budget
        .remaining()
        .map(|(currency, amount)| format!("{currency}:{amount}"))
        .collect()
}

/// Charges a cost in dollars; says what was reported, and whether that used the budget up.
fn spend(budget: &mut Budget, value: &str) -> (Option<String>, bool) {
    match budget.apply_metric("cost.search", &amount(value), Some("USD")) {
        Ok(Charge::Spent {
            report,
            exhausted_now,
        }) => (
            report.map(|report| report.amount.to_string()),
            exhausted_now,
        ),
        other => panic!("{other:?}"),
    }
}

/// [ARCP 9.6-1] Amounts are `currency:digits[.digits]`; the same currency twice adds up.
#[test]
fn amounts_are_parsed_and_added() {
    assert_eq!(
        amounts(&["USD:5.00", "EUR:1"]).to_texts(),
        ["EUR:1", "USD:5.00"]
    );
    assert_eq!(amounts(&["USD:1.5", "USD:0.25"]).to_texts(), ["USD:1.75"]);
    assert_eq!(
        amounts(&["credits-2.x_y:0"]).to_texts(),
        ["credits-2.x_y:0"]
    );
    assert_eq!(
        amounts(&["USD:0.1", "USD:0.2"]).of("USD"),
        Some(amount("0.3"))
    );
    for wrong in [
        "",
        "USD",
        "USD:",
        ":5",
        "USD:-1",
        "USD:+1",
        "USD:1e3",
        "USD:.5",
        "USD:5.",
        "USD:1,5",
        "USD: 5",
        "5:USD",
        "1USD:5",
        "US D:5",
        "USD:5:5",
        "USD:NaN",
        "USD:inf",
        "USD:1_000",
        "Ü:5",
        "USD:٣",
        "USD:99999999999999999999999999999",
    ] {
        assert_eq!(
            Amounts::parse(&[wrong.to_owned()]),
            Err(BudgetError::Malformed(wrong.to_owned())),
            "{wrong}"
        );
    }
    let large = "USD:9999999999999999999999999999".to_owned();
    assert_eq!(
        Amounts::parse(&[large.clone(), large]),
        Err(BudgetError::SumTooLarge("USD".into()))
    );
    let many: Vec<_> = (0..65).map(|number| format!("C{number}:1")).collect();
    assert_eq!(Amounts::parse(&many), Err(BudgetError::TooManyCurrencies));
}

/// [ARCP 9.6-2, 5-10] Costs are subtracted exactly: ten times a tenth is one.
#[test]
fn costs_are_subtracted_exactly() {
    let mut budget = budget(&["USD:1.00"]);
    for _ in 0..9 {
        spend(&mut budget, "0.1");
    }
    assert_eq!(left(&budget), ["USD:0.10"]);
    assert_eq!(
        spend(&mut budget, "0.0999999999999999999999999999"),
        (Some("0.0000000000000000000000000001".into()), false)
    );
    assert_eq!(budget.exhausted(), None);
    assert!(spend(&mut budget, "0.0000000000000000000000000001").1);
}

/// [ARCP 9.6-2] Only a `cost.` metric in a budgeted currency is a cost, and the report of what is left is none.
#[test]
fn other_metrics_cost_nothing() {
    let mut budget = budget(&["USD:1"]);
    let cases = [
        ("cost.search", Some("EUR")),
        ("cost.search", None),
        ("cost.search", Some("usd")),
        ("cost.budget.remaining", Some("USD")),
        ("costs", Some("USD")),
        ("tokens", Some("USD")),
        ("Cost.search", Some("USD")),
    ];
    for (name, unit) in cases {
        assert_eq!(
            budget.apply_metric(name, &amount("1"), unit),
            Ok(Charge::None),
            "{name} {unit:?}"
        );
    }
    assert_eq!(left(&budget), ["USD:1"]);
}

/// [ARCP 9.6-2] A negative cost is refused and changes nothing.
#[test]
fn negative_costs_are_refused() {
    let mut budget = budget(&["USD:1"]);
    let before = budget.clone();
    let refused = budget
        .apply_metric("cost.search", &amount("-0.01"), Some("USD"))
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "metric `cost.search`: a cost may not be negative, got -0.01"
    );
    assert_eq!(budget, before);
    assert!(matches!(
        budget.apply_metric("cost.search", &amount("-0"), Some("USD")),
        Ok(Charge::Spent { .. })
    ));
}

/// [ARCP 9.6-3] At zero or below the budget is used up, whichever currency it is; the counter tells the truth.
#[test]
fn any_counter_at_zero_exhausts() {
    let mut budget = budget(&["EUR:5", "USD:1.00"]);
    assert_eq!(spend(&mut budget, "0.99"), (Some("0.01".into()), false));
    assert_eq!(spend(&mut budget, "0.50"), (Some("-0.49".into()), true));
    let spent = Remaining {
        currency: "USD".into(),
        amount: amount("-0.49"),
    };
    assert_eq!(budget.exhausted(), Some(spent));
    assert!(!spend(&mut budget, "0.01").1);
    assert!(Budget::new(&amounts(&["USD:0"])).exhausted().is_some());
    assert!(Budget::default().exhausted().is_none());
}

/// [ARCP 9.6-4] What is left is reported after five per cent since the last report, and on crossing zero.
#[test]
fn material_decrements_are_reported() {
    let mut budget = budget(&["USD:10.00"]);
    let rows = [
        ("0.49", None),
        ("0.01", Some("9.50")),
        ("0.25", None),
        ("0.24", None),
        ("0.01", Some("9.00")),
        ("8.60", Some("0.40")),
        ("0.39", None),
        ("0.02", Some("-0.01")),
        ("0.49", None),
        ("0.01", Some("-0.51")),
        ("0", None),
    ];
    for (cost, report) in rows {
        assert_eq!(
            spend(&mut budget, cost).0.as_deref(),
            report,
            "after {cost}"
        );
    }
}

/// [ARCP 9.4-2] What a child gets is set aside, siblings cannot overspend together, and what is unspent comes back.
#[test]
fn children_reserve_and_settle() {
    let mut parent = budget(&["USD:10.00"]);
    let share = amounts(&["USD:6.00"]);
    parent.reserve(&share).unwrap();
    assert_eq!(left(&parent), ["USD:4.00"]);
    let error = parent.reserve(&share).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cost.budget USD:6.00 is more than the 4.00 that the parent has left"
    );
    assert_eq!(left(&parent), ["USD:4.00"]);
    let mut child = Budget::new(&share);
    spend(&mut child, "1.50");
    let reports = parent.settle(&child);
    assert_eq!(
        reports,
        [Remaining {
            currency: "USD".into(),
            amount: amount("8.50")
        }]
    );
    assert_eq!(left(&parent), ["USD:8.50"]);
}

/// [ARCP 9.4-2] A child that overshoots its share has spent the parent's money all the same.
#[test]
fn an_overshoot_is_the_parents() {
    let mut parent = budget(&["USD:1.00"]);
    let share = amounts(&["EUR:7", "USD:1.00"]);
    parent.reserve(&share).unwrap();
    let mut child = Budget::new(&share);
    spend(&mut child, "1.25");
    assert_eq!(
        parent.settle(&child),
        [Remaining {
            currency: "USD".into(),
            amount: amount("-0.25")
        }]
    );
    assert_eq!(left(&parent), ["USD:-0.25"]);
}

/// A reservation of several currencies is all or nothing.
#[test]
fn reservations_are_atomic() {
    let mut parent = budget(&["EUR:5", "USD:1"]);
    let before = parent.clone();
    assert_eq!(
        parent
            .reserve(&amounts(&["EUR:5", "USD:2"]))
            .unwrap_err()
            .currency,
        "USD"
    );
    assert_eq!(parent, before);
    parent.reserve(&amounts(&["GBP:100"])).unwrap();
    assert_eq!(parent, before);
}

/// The counters survive being stored, every digit of them.
#[test]
fn counters_can_be_stored() {
    let mut stored = budget(&["EUR:1000000000000000000000000000", "USD:5.00"]);
    spend(&mut stored, "0.0000000000000000000000000001");
    stored
        .apply_metric("cost.x", &amount("0.5"), Some("EUR"))
        .unwrap();
    let json = serde_json::to_string(&stored).unwrap();
    assert_eq!(serde_json::from_str::<Budget>(&json).unwrap(), stored);
}

/// What may happen to a parent with children, in thousandths of a dollar.
#[derive(Debug, Clone)]
enum Step {
    Spend(u32),
    Delegate(u32),
    ChildSpends(usize, u32),
    ChildEnds(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u32..400).prop_map(Step::Spend),
        (0u32..3000).prop_map(Step::Delegate),
        (0usize..4, 0u32..400).prop_map(|(child, cost)| Step::ChildSpends(child, cost)),
        (0usize..4).prop_map(Step::ChildEnds),
    ]
}

fn thousandths(value: i64) -> Amount {
    Amount::from(rust_decimal::Decimal::new(value, 3))
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    /// [ARCP 9.4-2, 9.6-2] The counters agree with integers, and all that is spent is within the cap but for the
    /// overshoot of each job's last cost.
    #[test]
    fn counters_agree_with_a_naive_model(cap in 1i64..5000, steps in prop::collection::vec(step(), 0..60)) {
        let mut parent = Budget::new(&[("USD".to_owned(), thousandths(cap))].into_iter().collect());
        let (mut left, mut spent, mut overshoot) = (cap, 0i64, 0i64);
        let mut children: Vec<(Budget, i64)> = Vec::new();
        let mut charge = |budget: &mut Budget, left: &mut i64, cost: u32| {
            if budget.exhausted().is_some() {
                return;
            }
            budget.apply_metric("cost.x", &thousandths(cost.into()), Some("USD")).unwrap();
            *left -= i64::from(cost);
            spent += i64::from(cost);
            overshoot += (-*left).max(0);
        };
        for step in steps {
            match step {
                Step::Spend(cost) => charge(&mut parent, &mut left, cost),
                Step::ChildSpends(child, cost) => {
                    if let Some((budget, left)) = children.get_mut(child) {
                        charge(budget, left, cost);
                    }
                }
                Step::Delegate(share) => {
                    let share = i64::from(share);
                    let wanted: Amounts = [("USD".to_owned(), thousandths(share))].into_iter().collect();
                    prop_assert_eq!(parent.reserve(&wanted).is_ok(), share <= left);
                    if share <= left {
                        left -= share;
                        children.push((Budget::new(&wanted), share));
                    }
                }
                Step::ChildEnds(child) if child < children.len() => {
                    let (budget, unspent) = children.remove(child);
                    parent.settle(&budget);
                    left += unspent;
                }
                Step::ChildEnds(_) => {}
            }
            prop_assert_eq!(parent.remaining().next(), Some(("USD", thousandths(left))));
            prop_assert_eq!(parent.exhausted().is_some(), left <= 0);
        }
        prop_assert!(spent - overshoot <= cap, "{} spent of {}", spent, cap);
        let held: i64 = children.iter().map(|(_, left)| left).sum();
        prop_assert_eq!(left + held + spent, cap);
    }
}

/// Costs of currencies without a budget bound nothing, and are told: a job's own and its children's, through the store.
#[test]
fn what_is_not_budgeted_is_told() {
    let mut parent = budget(&["USD:1.00"]);
    let told = |budget: &Budget| -> Vec<String> {
        let costs = budget.costs();
        costs
            .map(|(currency, cost)| format!("{currency}:{cost}"))
            .collect()
    };
    spend(&mut parent, "0.25");
    for (value, unit) in [
        ("2", "EUR"),
        ("0.5", "EUR"),
        ("-1", "EUR"),
        ("1", "no currency"),
        ("1", ""),
    ] {
        let charge = parent.apply_metric("cost.x", &amount(value), Some(unit));
        assert_eq!(charge, Ok(Charge::None));
    }
    assert_eq!(told(&parent), ["USD:0.25", "EUR:2.5"]);
    let mut child = Budget::default();
    assert!(child.is_untouched());
    for unit in ["EUR", "USD"] {
        child
            .apply_metric("cost.x", &amount("1"), Some(unit))
            .unwrap();
    }
    assert!(child.is_empty() && !child.is_untouched() && child.exhausted().is_none());
    parent.settle(&child);
    assert_eq!(told(&parent), ["USD:0.25", "EUR:3.5"]);
    assert_eq!(left(&parent), ["USD:0.75"]);
    let stored = serde_json::to_string(&parent).unwrap();
    assert_eq!(serde_json::from_str::<Budget>(&stored).unwrap(), parent);
    let many = (0..1000).map(|n| format!("C{n}"));
    many.for_each(|unit| drop(child.apply_metric("cost.x", &amount("1"), Some(&unit))));
    assert_eq!(child.costs().count(), 64);
}
