//! Points in time as the wire writes them: RFC 3339, ours in UTC with milliseconds [ARCP 5-8].

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    digits,
    read::{FromText, excerpt, parsed},
};

/// Why a text is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an RFC 3339 time such as 2026-01-31T12:00:00.000Z")]
pub struct TimestampError {
    text: String,
}

/// A point in time, in microseconds since 1970-01-01T00:00:00Z, in the years 0 to 9999 that RFC 3339 can write.
///
/// It is written with milliseconds and `Z`; any RFC 3339 offset is read. A leap second is read as the second before it.
///
/// ```
/// use towline_wire::Timestamp;
///
/// let time: Timestamp = "2026-01-31T13:30:00+01:30".parse()?;
/// assert_eq!(time.to_string(), "2026-01-31T12:00:00.000Z");
/// assert!(Timestamp::parse_utc("2026-01-31T13:30:00+01:30").is_err());
/// # Ok::<(), towline_wire::TimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The beginning of the year 0.
    pub const MIN: Self = Self(-62_167_219_200_000_000);
    /// The last microsecond of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// Microseconds since the Unix epoch. Values outside the years 0 to 9999 are moved to that bound.
    pub fn from_unix_micros(micros: i64) -> Self {
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds since the Unix epoch.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, 0 for times before it.
    pub fn unix_millis(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    /// This time and `later`, at most the end of the year 9999.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        let micros = i64::try_from(later.as_micros()).unwrap_or(i64::MAX);
        Self::from_unix_micros(self.0.saturating_add(micros))
    }

    /// How far this time lies after `earlier`; zero when it does not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339 in UTC written with `Z`, as the fields that bound authority demand [ARCP 9.5-1].
    ///
    /// # Errors
    /// [`TimestampError`] when the text is no RFC 3339 time or names an offset.
    pub fn parse_utc(text: &str) -> Result<Self, TimestampError> {
        if text.ends_with('Z') {
            text.parse()
        } else {
            Err(TimestampError {
                text: excerpt(text),
            })
        }
    }

    /// The 24 characters that go onto the wire, as ASCII.
    pub(crate) fn to_ascii(self) -> [u8; 24] {
        let millis = self.0.div_euclid(1000);
        let (days, in_day) = (
            millis.div_euclid(DAY_MILLIS),
            millis.rem_euclid(DAY_MILLIS).unsigned_abs(),
        );
        let (year, month, day) = civil(days);
        let (seconds, millis) = (in_day / 1000, in_day % 1000);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let places = [
            (0..4, year.unsigned_abs()),
            (5..7, month.unsigned_abs()),
            (8..10, day.unsigned_abs()),
            (11..13, seconds / 3600),
            (14..16, seconds / 60 % 60),
            (17..19, seconds % 60),
            (20..23, millis),
        ];
        for (place, value) in places {
            digits::fill_decimal(&mut text[place], value);
        }
        text
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        read(text.as_bytes()).ok_or_else(|| TimestampError {
            text: excerpt(text),
        })
    }
}

/// RFC 3339 as its grammar has it, and no more: other profiles of ISO 8601 are not on the wire.
fn read(text: &[u8]) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.split_at_checked(9)?;
    let separators = date[4] == b'-'
        && date[7] == b'-'
        && time[0].eq_ignore_ascii_case(&b'T')
        && time[3] == b':'
        && time[6] == b':';
    separators.then_some(())?;
    let (year, month, day) = (
        number(&date[..4])?,
        number(&date[5..7])?,
        number(&date[8..])?,
    );
    let (hour, minute, second) = (
        number(&time[1..3])?,
        number(&time[4..6])?,
        number(&time[7..])?,
    );
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    in_range.then_some(())?;
    let (fraction, zone) = fraction(rest)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second.min(59)
        - offset(zone)?;
    let micros = seconds * 1_000_000 + fraction;
    (Timestamp::MIN.0..=Timestamp::MAX.0)
        .contains(&micros)
        .then_some(Timestamp(micros))
}

/// The microseconds of `.123456…`, cut off, and what follows them.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let end = rest
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(end);
    (!fraction.is_empty()).then_some(())?;
    let mut six = *b"000000";
    let kept = fraction.len().min(six.len());
    six[..kept].copy_from_slice(&fraction[..kept]);
    Some((number(&six)?, zone))
}

/// The seconds a zone is ahead of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, zone) = match zone {
        b"Z" | b"z" => return Some(0),
        [b'+', zone @ ..] => (1, zone),
        [b'-', zone @ ..] => (-1, zone),
        _ => return None,
    };
    let &[h1, h2, b':', m1, m2] = zone else {
        return None;
    };
    let (hours, minutes) = (number(&[h1, h2])?, number(&[m1, m2])?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The day counted from 1970-01-01 of a Gregorian date, by eras of 400 years beginning on 1 March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The Gregorian date of a day counted from 1970-01-01: the way back from [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(digits::ascii(&self.to_ascii()))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(digits::ascii(&self.to_ascii()))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, Self::from_str)
    }
}

impl FromText for Timestamp {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

const DAY_MILLIS: i64 = 86_400_000;
