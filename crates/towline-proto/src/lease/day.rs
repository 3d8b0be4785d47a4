//! What a principal may still spend today [ARCP 20-1].

use std::collections::BTreeMap;

use towline_wire::{Amount, Lease, namespace};

use super::Amounts;

/// What is left of a day, and of each currency at least nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRest(BTreeMap<String, Amount>);

/// Why a lease gets nothing of a day: nothing is left of this currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaySpent {
    /// The currency.
    pub currency: String,
}

impl DayRest {
    /// What `used` leaves of the day's amounts. A sum that has no exact form leaves nothing.
    pub fn of<'a>(day: &Amounts, used: impl IntoIterator<Item = (&'a str, Amount)>) -> Self {
        let full = day
            .iter()
            .map(|(currency, most)| (currency.to_owned(), most));
        let mut rest: BTreeMap<String, Amount> = full.collect();
        for (currency, amount) in used {
            if let Some(left) = rest.get_mut(currency) {
                *left = left.checked_sub(amount).unwrap_or(Amount::ZERO);
            }
        }
        for left in rest.values_mut().filter(|left| left.is_negative()) {
            *left = Amount::ZERO;
        }
        Self(rest)
    }

    /// The lease with no more than what is left: of each currency of the day the amount asked for, cut to that, and all of it
    /// where none is named. Other currencies are left alone.
    ///
    /// # Errors
    /// [`DaySpent`] when nothing is left of a currency.
    pub fn cut(&self, lease: &Lease, asked: &Amounts) -> Result<Lease, DaySpent> {
        if let Some((currency, _)) = self.0.iter().find(|(_, left)| **left <= Amount::ZERO) {
            let currency = currency.clone();
            return Err(DaySpent { currency });
        }
        let others = asked
            .iter()
            .filter(|(currency, _)| !self.0.contains_key(*currency));
        let bounded = self.0.iter().map(|(currency, left)| {
            let wanted = asked.of(currency);
            (
                currency.as_str(),
                wanted.map_or(*left, |wanted| wanted.min(*left)),
            )
        });
        let texts = others.chain(bounded);
        let texts = texts.map(|(currency, amount)| format!("{currency}:{amount}"));
        let mut lease = lease.clone();
        lease.set(namespace::COST_BUDGET, texts.collect());
        Ok(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(texts: &[&str]) -> Amounts {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Amounts::parse(&texts).unwrap()
    }

    /// [ARCP 20-1] A budget above the rest is cut to it, at nothing there is none, and other currencies are no matter.
    #[test]
    fn a_lease_gets_what_is_left_at_most() {
        let day = amounts(&["EUR:1", "USD:10.00"]);
        let cut = |used: &[&str], asked: &[&str]| {
            let used = amounts(used);
            let mut lease = Lease::new().with("fs.read", "/x");
            lease.set(
                namespace::COST_BUDGET,
                asked.iter().map(|text| (*text).to_owned()).collect(),
            );
            let cut = DayRest::of(&day, used.iter()).cut(&lease, &amounts(asked));
            cut.map(|lease| lease.patterns(namespace::COST_BUDGET).join(" "))
                .map_err(|spent| spent.currency)
        };
        for (used, asked, got) in [
            (&[][..], &[][..], Ok("EUR:1 USD:10.00")),
            (&["USD:9.60"], &["USD:1"], Ok("EUR:1 USD:0.40")),
            (
                &["USD:9.60"],
                &["USD:0.1", "EUR:0.5"],
                Ok("EUR:0.5 USD:0.1"),
            ),
            (&["USD:10"], &["EUR:0.5"], Err("USD")),
            (&["USD:12"], &[], Err("USD")),
            (&["CHF:12"], &["CHF:3"], Ok("CHF:3 EUR:1 USD:10.00")),
        ] {
            let got = got.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(cut(used, asked), got, "{used:?} {asked:?}");
        }
    }
}
