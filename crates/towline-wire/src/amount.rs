//! Exact decimals: money never passes through a binary float [ARCP 5-10].

use std::{collections::BTreeMap, fmt, str::FromStr};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

use crate::read::{at, excerpt};

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a decimal number of at most 28 significant digits")]
pub struct AmountError {
    text: String,
}

/// An exact decimal number of at most 28 significant digits, the last of them at most 28 places behind the point.
///
/// On the wire it is a JSON number whose digits are kept as they were written (`5.00` stays `5.00`); only an exponent is
/// written out (`1e-7` becomes `0.0000001`). Equality and order are those of the number, so `5.0 == 5`.
///
/// ```
/// use towline_wire::Amount;
///
/// let price: Amount = serde_json::from_str("0.10")?;
/// let sum = price.checked_add("0.2".parse().unwrap()).unwrap();
/// assert_eq!(serde_json::to_string(&sum)?, "0.30");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
        // `Decimal` rounds a sum that has too many digits.
        let scale = self.0.scale().max(other.0.scale());
        let sum = mantissa_at(self.0, scale)?.checked_add(mantissa_at(other.0, scale)?)?;
        fit(sum, i64::from(scale))
    }

    /// The difference; `None` when it has no exact form.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(Self(-other.0))
    }
}

/// The number in units of 10^-scale.
fn mantissa_at(number: Decimal, scale: u32) -> Option<i128> {
    number
        .mantissa()
        .checked_mul(10i128.checked_pow(scale.checked_sub(number.scale())?)?)
}

/// The number `mantissa` × 10^-scale, if it has a form with the digits we keep. Zeros at its end are only given up when
/// it has none otherwise.
fn fit(mut mantissa: i128, mut scale: i64) -> Option<Amount> {
    if mantissa == 0 {
        return Some(Amount(Decimal::new(
            0,
            u32::try_from(scale.clamp(0, MOST_PLACES)).ok()?,
        )));
    }
    while scale > 0
        && (scale > MOST_PLACES || mantissa.unsigned_abs() >= MANTISSAS)
        && mantissa % 10 == 0
    {
        mantissa /= 10;
        scale -= 1;
    }
    if scale < 0 {
        let zeros = u32::try_from(-scale).ok()?;
        mantissa = mantissa.checked_mul(10i128.checked_pow(zeros)?)?;
        scale = 0;
    }
    let fits = mantissa.unsigned_abs() < MANTISSAS && scale <= MOST_PLACES;
    fits.then_some(())?;
    Decimal::try_from_i128_with_scale(mantissa, u32::try_from(scale).ok()?)
        .ok()
        .map(Amount)
}

impl From<Decimal> for Amount {
    /// Exact up to 28 significant digits; a 29th is rounded away.
    fn from(value: Decimal) -> Self {
        if value.mantissa().unsigned_abs() < MANTISSAS {
            Self(value)
        } else {
            Self(value.round_sf(DIGITS).unwrap_or(value))
        }
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
        parse(text).ok_or_else(|| AmountError {
            text: excerpt(text),
        })
    }
}

/// Reads a number as JSON writes it, leading zeros allowed.
fn parse(text: &str) -> Option<Amount> {
    let (negative, text) = text
        .strip_prefix('-')
        .map_or((false, text), |rest| (true, rest));
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, parse_exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, places) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, places)) => (whole, places),
        None => (digits, ""),
    };
    let valid = !whole.is_empty()
        && whole
            .bytes()
            .chain(places.bytes())
            .all(|byte| byte.is_ascii_digit());
    valid.then_some(())?;
    let mantissa = whole
        .bytes()
        .chain(places.bytes())
        .try_fold(0i128, |mantissa, digit| {
            let mantissa = mantissa
                .checked_mul(10)?
                .checked_add(i128::from(digit - b'0'))?;
            (mantissa.unsigned_abs() < MANTISSAS).then_some(mantissa)
        })?;
    let scale = i64::try_from(places.len()).ok()?.checked_sub(exponent)?;
    fit(if negative { -mantissa } else { mantissa }, scale)
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then_some(())?;
    text.parse().ok()
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
    /// A number, or the same digits in a string.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let literal = literal(deserializer)?;
        literal.parse().map_err(D::Error::custom)
    }
}

/// The text of a number, or of a string.
fn literal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    match raw.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw.get()).map_err(D::Error::custom),
        Some(b'-' | b'0'..=b'9') => Ok(raw.get().to_owned()),
        _ => Err(D::Error::custom("expected a number")),
    }
}

/// What a budget holds per currency; read as a number, `"5.00"` or `"USD:5.00"`, whichever an SDK writes.
pub(crate) struct Budget(BTreeMap<String, Amount>);

impl From<Budget> for Option<BTreeMap<String, Amount>> {
    fn from(budget: Budget) -> Self {
        Some(budget.0)
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = BTreeMap::<String, BudgetText>::deserialize(deserializer)?;
        let read = |(currency, BudgetText(text)): (String, BudgetText)| {
            let number = text
                .strip_prefix(currency.as_str())
                .and_then(|rest| rest.strip_prefix(':'))
                .unwrap_or(&text);
            match number.parse() {
                Ok(amount) => Ok((currency, amount)),
                Err(cause) => Err(at(&currency, &D::Error::custom(cause))),
            }
        };
        entries
            .into_iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

struct BudgetText(String);

impl<'de> Deserialize<'de> for BudgetText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        literal(deserializer).map(Self)
    }
}

/// An amount that is not negative [ARCP 8-2].
pub(crate) struct NonNegative(Amount);

impl From<NonNegative> for Option<Amount> {
    fn from(value: NonNegative) -> Self {
        Some(value.0)
    }
}

impl<'de> Deserialize<'de> for NonNegative {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let amount = Amount::deserialize(deserializer)?;
        if amount.is_negative() {
            Err(D::Error::custom(format_args!(
                "must not be negative, found {amount}"
            )))
        } else {
            Ok(Self(amount))
        }
    }
}

const DIGITS: u32 = 28;
/// What a mantissa has to be below: 28 digits. `Decimal` has room for a little more.
const MANTISSAS: u128 = 10u128.pow(DIGITS);
/// The most digits `Decimal` keeps behind the point.
const MOST_PLACES: i64 = 28;
