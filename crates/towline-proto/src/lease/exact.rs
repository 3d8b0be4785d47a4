//! Sums of amounts that never round.
//!
//! An [`Amount`] has 28 significant digits, and so 10^27 and 10^-27 are both amounts whose sum is none. Counters are kept
//! in a form wide enough for every sum that can occur; only what is reported goes back through 28 digits.

use std::{
    fmt,
    ops::{Add, Sub},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use towline_wire::Amount;

/// `whole + fraction / 10^28`, with `fraction` below 10^28; so −0.25 is −1 and 0.75.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Exact {
    whole: i128,
    fraction: u128,
}

impl Exact {
    pub(super) const ZERO: Self = Self {
        whole: 0,
        fraction: 0,
    };

    /// The number times a small factor.
    pub(super) fn times(self, factor: u32) -> Self {
        let fraction = self.fraction * u128::from(factor);
        let carry = i128::try_from(fraction / ONE).unwrap_or(i128::MAX);
        let whole = self
            .whole
            .saturating_mul(i128::from(factor))
            .saturating_add(carry);
        Self {
            whole,
            fraction: fraction % ONE,
        }
    }

    /// The nearest amount not farther from zero, with at least `scale` decimals where they fit.
    pub(super) fn amount(self, scale: u32) -> Amount {
        let text = self.text(MAX_DIGITS, scale as usize);
        text.parse().unwrap_or_else(|_| {
            if self < Self::ZERO {
                lowest()
            } else {
                highest()
            }
        })
    }

    /// Whether [`amount`](Self::amount) would change the number.
    pub(super) fn fits(self) -> bool {
        Self::from(self.amount(0)) == self
    }

    /// The decimal digits, at most `digits` of them where decimals can be left out.
    fn text(self, digits: usize, scale: usize) -> String {
        let negative = self < Self::ZERO;
        let Self { whole, fraction } = if negative { Self::ZERO - self } else { self };
        let whole = whole.to_string();
        let decimals = format!("{fraction:0width$}", width = DECIMALS);
        let room = digits
            .saturating_sub(if whole == "0" { 0 } else { whole.len() })
            .min(DECIMALS);
        let decimals = &decimals[..room];
        let needed = decimals.trim_end_matches('0').len().max(scale.min(room));
        let sign = if negative { "-" } else { "" };
        match needed {
            0 => format!("{sign}{whole}"),
            needed => format!("{sign}{whole}.{}", &decimals[..needed]),
        }
    }
}

impl From<Amount> for Exact {
    fn from(amount: Amount) -> Self {
        let (mantissa, scale) = (amount.decimal().mantissa(), amount.decimal().scale());
        let unit = 10i128.pow(scale);
        let fraction =
            mantissa.rem_euclid(unit).unsigned_abs() * 10u128.pow(DECIMALS as u32 - scale);
        Self {
            whole: mantissa.div_euclid(unit),
            fraction,
        }
    }
}

impl Add for Exact {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let fraction = self.fraction + other.fraction;
        let carry = i128::from(fraction >= ONE);
        let whole = self.whole.saturating_add(other.whole).saturating_add(carry);
        Self {
            whole,
            fraction: fraction % ONE,
        }
    }
}

impl Sub for Exact {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let borrow = i128::from(self.fraction < other.fraction);
        let whole = self
            .whole
            .saturating_sub(other.whole)
            .saturating_sub(borrow);
        Self {
            whole,
            fraction: (self.fraction + ONE - other.fraction) % ONE,
        }
    }
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(usize::MAX, 0))
    }
}

/// Stored as decimal text, every digit of it.
impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        parse(&text)
            .ok_or_else(|| D::Error::custom(format_args!("`{text}` is not a decimal number")))
    }
}

fn parse(text: &str) -> Option<Exact> {
    let (negative, digits) = text
        .strip_prefix('-')
        .map_or((false, text), |digits| (true, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > DECIMALS || !plain(whole) || !plain(decimals) {
        return None;
    }
    let fraction = format!("{decimals:0<width$}", width = DECIMALS)
        .parse()
        .ok()?;
    let value = Exact {
        whole: whole.parse().ok()?,
        fraction,
    };
    Some(if negative { Exact::ZERO - value } else { value })
}

fn highest() -> Amount {
    HIGHEST.parse().unwrap_or(Amount::ZERO)
}

fn lowest() -> Amount {
    format!("-{HIGHEST}").parse().unwrap_or(Amount::ZERO)
}

const DECIMALS: usize = 28;
const ONE: u128 = 10u128.pow(DECIMALS as u32);
const MAX_DIGITS: usize = 28;
const HIGHEST: &str = "9999999999999999999999999999";

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Exact {
        parse(text).expect("a number")
    }

    /// [ARCP 5-10] Sums keep every digit, also those that no amount could hold together.
    #[test]
    fn sums_never_round() {
        let large = exact("1000000000000000000000000000");
        let small = exact("0.0000000000000000000000000001");
        assert_eq!(
            format!("{:?}", large + small),
            "1000000000000000000000000000.0000000000000000000000000001"
        );
        assert_eq!(large + small - large, small);
        assert!(!(large + small).fits() && large.fits() && small.fits());
        assert_eq!(format!("{:?}", exact("0.1") - exact("0.3")), "-0.2");
        assert_eq!(exact("-0.25").times(20), exact("-5"));
    }

    #[test]
    fn amounts_come_back_with_the_wanted_decimals() {
        let cases = [
            ("4.6", 2, "4.60"),
            ("4.601", 2, "4.601"),
            ("5", 0, "5"),
            ("-0.25", 1, "-0.25"),
            ("0", 2, "0.00"),
        ];
        for (text, scale, expected) in cases {
            assert_eq!(exact(text).amount(scale).to_string(), expected);
        }
        assert_eq!(
            exact("99999999999999999999999999999").amount(0).to_string(),
            HIGHEST
        );
        assert_eq!(
            exact("-99999999999999999999999999999")
                .amount(0)
                .to_string(),
            format!("-{HIGHEST}")
        );
        let cut = exact("1000000000000000000000000000.5").amount(2);
        assert_eq!(cut.to_string(), "1000000000000000000000000000");
    }

    #[test]
    fn amounts_convert_exactly() {
        for text in [
            "0",
            "5.00",
            "-0.25",
            "0.0000000000000000000000000001",
            HIGHEST,
            "-1.5",
        ] {
            let amount: Amount = text.parse().expect("an amount");
            assert_eq!(Exact::from(amount).amount(0), amount, "{text}");
        }
    }

    #[test]
    fn stored_text_reads_back() {
        for text in [
            "0",
            "-12.5",
            "1000000000000000000000000000.0000000000000000000000000001",
        ] {
            let json = serde_json::to_string(&exact(text)).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Exact>(&json).unwrap(), exact(text));
        }
        for wrong in ["\"\"", "\".5\"", "\"1e3\"", "\"+1\"", "\"--1\""] {
            assert!(serde_json::from_str::<Exact>(wrong).is_err(), "{wrong}");
        }
    }
}
