//! What models cost, to the last digit.

use rust_decimal::Decimal;
use towline_proto::lease::{Kind, Pattern};
use towline_wire::Amount;

use super::usage::Usage;

/// What one million tokens of a model cost.
///
/// ```
/// use towline_agents::Price;
///
/// let price = Price::new("USD", "2.50".parse()?, "10".parse()?).cached_input("1.25".parse()?);
/// # Ok::<(), towline_wire::AmountError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    currency: String,
    input: Amount,
    output: Amount,
    cached_input: Option<Amount>,
    cache_write: Option<Amount>,
}

impl Price {
    /// The price of a million tokens that are read and written. What was read before, and what is kept to be read again, costs
    /// the same unless it is said.
    pub fn new(currency: impl Into<String>, input: Amount, output: Amount) -> Self {
        Self {
            currency: currency.into(),
            input,
            output,
            cached_input: None,
            cache_write: None,
        }
    }

    /// The price of a million tokens that the upstream had read before.
    #[must_use]
    pub fn cached_input(mut self, price: Amount) -> Self {
        self.cached_input = Some(price);
        self
    }

    /// The price of a million tokens that the upstream reads and keeps, where it makes a difference.
    #[must_use]
    pub fn cache_write(mut self, price: Amount) -> Self {
        self.cache_write = Some(price);
        self
    }

    /// The currency.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// The amount that cannot be counted with: negative, or with more than twelve digits. With no more, no sum is ever rounded.
    pub(super) fn uncountable(&self) -> Option<Amount> {
        let more = [self.cached_input, self.cache_write].into_iter().flatten();
        [self.input, self.output]
            .into_iter()
            .chain(more)
            .find(|amount| {
                let decimal = amount.decimal();
                let digits = decimal.mantissa().unsigned_abs();
                amount.is_negative() || digits >= DIGITS || decimal.scale() > PLACES
            })
    }

    /// What this much costs, exactly.
    pub(super) fn cost(&self, usage: &Usage) -> Amount {
        let cached = self.cached_input.unwrap_or(self.input);
        let written = self.cache_write.unwrap_or(self.input);
        let sum = [
            (usage.input, self.input),
            (usage.cached, cached),
            (usage.written, written),
            (usage.output, self.output),
        ]
        .into_iter()
        .map(|(tokens, price)| times(tokens, price))
        .sum::<Decimal>();
        Amount::from(sum.normalize())
    }

    /// What a call may cost at most.
    pub(super) fn most(&self, input: u64, output: u64) -> Amount {
        let kinds = [
            Usage {
                input,
                ..Usage::default()
            },
            Usage {
                cached: input,
                ..Usage::default()
            },
            Usage {
                written: input,
                ..Usage::default()
            },
        ];
        let costs = kinds.map(|usage| self.cost(&Usage { output, ..usage }));
        costs.into_iter().max().unwrap_or(Amount::ZERO)
    }
}

/// Tokens at a price for a million of them.
fn times(tokens: u64, price: Amount) -> Decimal {
    let price = price.decimal();
    let whole = Decimal::from(tokens) * price;
    let mut exact = whole;
    // A million is six places, which needs no division.
    match exact.set_scale(whole.scale() + 6) {
        Ok(()) => exact,
        Err(_) => whole / Decimal::from(1_000_000),
    }
}

/// More digits of a price are not counted with, nor more places behind the point.
const DIGITS: u128 = 1_000_000_000_000;
const PLACES: u32 = 12;

/// Prices by patterns of models.
#[derive(Debug, Clone, Default)]
pub(super) struct Prices(Vec<(Pattern, Price)>);

impl Prices {
    pub(super) fn add(&mut self, pattern: Pattern, price: Price) {
        self.0.push((pattern, price));
    }

    /// The price of a model: of the pattern that is its name, else of the longest that covers it.
    pub(super) fn of(&self, model: &str) -> Option<&Price> {
        let covering = self
            .0
            .iter()
            .filter(|(pattern, _)| pattern.matches(model) == Ok(true));
        covering
            .max_by_key(|(pattern, _)| {
                let text = pattern.as_str();
                (
                    text == model,
                    text.len(),
                    std::cmp::Reverse(text.to_owned()),
                )
            })
            .map(|(_, price)| price)
    }

    /// The kind of a pattern of models.
    pub(super) const KIND: Kind = Kind::Name;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    /// [ARCP 18-3] Tokens times the table, with every digit.
    #[test]
    fn costs_are_exact() {
        let price = Price::new("USD", amount("2.50"), amount("10.00"))
            .cached_input(amount("1.25"))
            .cache_write(amount("3.125"));
        for (input, cached, written, output, cost) in [
            (1, 0, 0, 0, "0.0000025"),
            (0, 1, 0, 0, "0.00000125"),
            (0, 0, 1, 0, "0.000003125"),
            (0, 0, 0, 1, "0.00001"),
            (1_000_000, 0, 0, 1_000_000, "12.5"),
            (1234, 567, 89, 4321, "0.047281875"),
            (0, 0, 0, 0, "0"),
        ] {
            let usage = Usage {
                input,
                cached,
                written,
                output,
            };
            assert_eq!(price.cost(&usage), amount(cost));
        }
        let (small, large) = (amount("0.000000000001"), amount("999999.999999"));
        let usage = Usage {
            input: 3,
            output: 9_999_999_999,
            ..Usage::default()
        };
        let cost = Price::new("USD", small, large).cost(&usage);
        assert_eq!(cost, amount("9999999998.990000000001000003"));
    }

    #[test]
    fn the_nearest_pattern_has_the_price() {
        let mut prices = Prices::default();
        for (pattern, input) in [("*", "1"), ("gpt-*", "2"), ("gpt-4o", "3"), ("gpt-4*", "4")] {
            let pattern = Pattern::parse(pattern, Prices::KIND).unwrap();
            prices.add(pattern, Price::new("USD", amount(input), amount("0")));
        }
        let of = |model: &str| prices.of(model).map(|price| price.input.to_string());
        assert_eq!(of("gpt-4o").as_deref(), Some("3"));
        assert_eq!(of("gpt-4.1").as_deref(), Some("4"));
        assert_eq!(of("gpt-5").as_deref(), Some("2"));
        assert_eq!(of("claude").as_deref(), Some("1"));
        assert_eq!(of("a/b"), None);
    }

    #[test]
    fn what_cannot_be_counted_with_is_told() {
        let price = |input: &str| Price::new("USD", amount(input), amount("1")).uncountable();
        assert_eq!(price("2.5"), None);
        assert!(price("-1").is_some() && price("1.000000000000001").is_some());
    }
}
