//! Exact decimals: money never passes through a binary float [ARCP 5-10].

use std::{fmt, str::FromStr};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a decimal number of at most 28 significant digits")]
pub struct AmountError {
    text: String,
}

/// An exact decimal number of at most 28 significant digits.
///
/// On the wire it is a JSON number whose digits are kept as they were written (`5.00` stays `5.00`). Equality and order
/// are those of the number, so `5.0 == 5`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(Decimal);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// The number.
    pub const fn decimal(self) -> Decimal {
        self.0
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.0.is_sign_negative() && !self.0.is_zero()
    }

    /// The sum; `None` when it has no exact form.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` when it has no exact form.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Reads what peers write for a budget: `5.00`, or `USD:5.00`, whose currency is dropped.
    fn parse_budget_text(text: &str) -> Result<Self, AmountError> {
        let number = text.rsplit_once(':').map_or(text, |(_, number)| number);
        number.parse()
    }
}

impl From<Decimal> for Amount {
    fn from(value: Decimal) -> Self {
        Self(value)
    }
}

impl From<u32> for Amount {
    fn from(value: u32) -> Self {
        Self(value.into())
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let refuse = || AmountError { text: text.chars().take(64).collect() };
        let plain = !text.starts_with('+') && !text.contains('_');
        let value = plain.then(|| match text.contains(['e', 'E']) {
            true => Decimal::from_scientific(text).ok(),
            false => Decimal::from_str_exact(text).ok(),
        });
        let value = value.flatten().ok_or_else(refuse)?;
        // `from_str_exact` takes any 96-bit mantissa, which is a little more than 28 digits.
        match value.mantissa().unsigned_abs() < 10u128.pow(28) {
            true => Ok(Self(value)),
            false => Err(refuse()),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.to_string();
        let raw: &RawValue = serde_json::from_str(&text).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        if text.starts_with('"') {
            let text: String = serde_json::from_str(text).map_err(D::Error::custom)?;
            return Self::parse_budget_text(&text).map_err(D::Error::custom);
        }
        text.parse().map_err(D::Error::custom)
    }
}
