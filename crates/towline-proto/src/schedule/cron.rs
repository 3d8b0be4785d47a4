//! Cron expressions: sets of seconds, minutes, hours, days, months and weekdays.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use jiff::civil::{Date, DateTime, Time};

/// Why a text is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It has too few or too many fields.
    #[error(
        "a cron expression has 5 fields (minute hour day month weekday), or 6 with seconds first; this one has {0}"
    )]
    Fields(usize),
    /// A field cannot be read.
    #[error("the {field} `{text}` of the cron expression {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// The part of it that is wrong.
        text: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// There is no such day in any year.
    #[error("the cron expression names a day that never comes, such as the 30th of February")]
    Never,
}

/// A cron expression: 5 fields (minute, hour, day of the month, month, weekday), or 6 with seconds first.
///
/// A field is `*`, a number, a range `a-b`, either with a step (`*/5`, `8-18/2`, `5/10` from 5 on), or a list of those by
/// commas. Months and weekdays have names too (`JAN`, `MON-FRI`), and 7 is Sunday as 0 is. Where both the day of the month and
/// the weekday are restricted, a day matches that is one of either, as crontab has it.
///
/// ```
/// use towline_proto::schedule::Cron;
///
/// let nightly: Cron = "30 2 * * MON-FRI".parse()?;
/// assert_eq!(nightly.to_string(), "30 2 * * MON-FRI");
/// assert!("61 * * * *".parse::<Cron>().is_err());
/// # Ok::<(), towline_proto::schedule::CronError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    /// Bit `n` stands for `n`, in all of them.
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether a day matches by one of day and weekday, for both are restricted.
    either: bool,
}

struct Field {
    name: &'static str,
    range: RangeInclusive<u32>,
    names: &'static [&'static str],
    /// The number of the first name.
    first_name: u32,
}

const SECOND: Field = plain("second", 0..=59);
const MINUTE: Field = plain("minute", 0..=59);
const HOUR: Field = plain("hour", 0..=23);
const DAY: Field = plain("day of the month", 1..=31);
const MONTH: Field = Field {
    name: "month",
    range: 1..=12,
    names: &[
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ],
    first_name: 1,
};
const WEEKDAY: Field = Field {
    name: "weekday",
    range: 0..=7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    first_name: 0,
};

const fn plain(name: &'static str, range: RangeInclusive<u32>) -> Field {
    Field {
        name,
        range,
        names: &[],
        first_name: 0,
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let (second, rest) = match fields.as_slice() {
            [second, rest @ ..] if rest.len() == 5 => (*second, rest),
            rest if rest.len() == 5 => ("0", rest),
            other => return Err(CronError::Fields(other.len())),
        };
        let [minute, hour, day, month, weekday] = rest else {
            return Err(CronError::Fields(rest.len()));
        };
        let weekdays = WEEKDAY.read(weekday)?;
        let cron = Self {
            text: fields.join(" "),
            seconds: SECOND.read(second)?,
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days: DAY.read(day)?,
            months: MONTH.read(month)?,
            // 7 is Sunday as well.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        match cron.next(DateTime::constant(2000, 1, 1, 0, 0, 0, 0)) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cron {
    /// The first time after this one, as a clock without a zone shows it.
    pub(super) fn next(&self, after: DateTime) -> Option<DateTime> {
        let mut date = after.date();
        if self.has(date)
            && let Some(time) = self.time_after(after.time())
        {
            return Some(date.to_datetime(time));
        }
        for _ in 0..MOST_DAYS {
            date = date.tomorrow().ok()?;
            if self.has(date) {
                return Some(date.to_datetime(self.first_time()?));
            }
        }
        None
    }

    /// The last time up to this one, itself included.
    pub(super) fn last(&self, until: DateTime) -> Option<DateTime> {
        let mut date = until.date();
        if self.has(date)
            && let Some(time) = self.time_until(until.time())
        {
            return Some(date.to_datetime(time));
        }
        for _ in 0..MOST_DAYS {
            date = date.yesterday().ok()?;
            if self.has(date) {
                return Some(date.to_datetime(self.time_until(Time::MAX)?));
            }
        }
        None
    }

    fn has(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let fits = if self.either {
            day || weekday
        } else {
            day && weekday
        };
        fits && has(self.months, date.month())
    }

    fn first_time(&self) -> Option<Time> {
        time(
            least(self.hours, 0)?,
            least(self.minutes, 0)?,
            least(self.seconds, 0)?,
        )
    }

    fn time_after(&self, after: Time) -> Option<Time> {
        let (hour, minute, second) = parts(after);
        let (first_minute, first_second) = (least(self.minutes, 0)?, least(self.seconds, 0)?);
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(second) = least(self.seconds, second + 1)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = least(self.minutes, minute + 1) {
                return time(hour, minute, first_second);
            }
        }
        time(least(self.hours, hour + 1)?, first_minute, first_second)
    }

    fn time_until(&self, until: Time) -> Option<Time> {
        let (hour, minute, second) = parts(until);
        let (last_minute, last_second) = (most(self.minutes, 60)?, most(self.seconds, 60)?);
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(second) = most(self.seconds, second + 1)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = most(self.minutes, minute) {
                return time(hour, minute, last_second);
            }
        }
        time(most(self.hours, hour)?, last_minute, last_second)
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<u64, CronError> {
        text.split(',')
            .try_fold(0, |set, part| Ok(set | self.part(part)?))
    }

    fn part(&self, text: &str) -> Result<u64, CronError> {
        let wrong = |problem: String| CronError::Field {
            field: self.name,
            text: text.to_owned(),
            problem,
        };
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => {
                let step = step.parse::<u32>().ok().filter(|step| *step > 0);
                let step =
                    step.ok_or_else(|| wrong("has no step behind the `/`; write `*/5`".into()))?;
                (range, Some(step))
            }
            None => (text, None),
        };
        let (least, most) = (*self.range.start(), *self.range.end());
        let number = |text: &str| {
            self.number(text).ok_or_else(|| {
                let names = match self.names {
                    [first, .., last] => format!(", or a name from {first} to {last}"),
                    _ => String::new(),
                };
                wrong(format!(
                    "is no number from {least} to {most}{names}, and no range or list of those"
                ))
            })
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            None if step.is_some() => (number(range)?, most),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(wrong(format!(
                "begins after its end; write `{from}-{most},{least}-{to}`"
            )));
        }
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
        let set = (from..=to).step_by(step);
        Ok(set.fold(0, |set, number| set | 1 << number))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let name = |known: &&str| known.eq_ignore_ascii_case(text);
        if let Some(place) = self.names.iter().position(name) {
            return u32::try_from(place)
                .ok()
                .map(|place| place + self.first_name);
        }
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_plain.then(|| text.parse().ok()).flatten()?;
        self.range.contains(&number).then_some(number)
    }
}

fn has(set: u64, number: i8) -> bool {
    set >> number.unsigned_abs() & 1 == 1
}

/// The least number of a set from this one on.
fn least(set: u64, from: u32) -> Option<u32> {
    let rest = set.checked_shr(from)?;
    (rest != 0).then(|| rest.trailing_zeros() + from)
}

/// The largest number of a set below this one.
fn most(set: u64, below: u32) -> Option<u32> {
    let rest = set & (1u64.checked_shl(below)?).wrapping_sub(1);
    (rest != 0).then(|| 63 - rest.leading_zeros())
}

fn parts(time: Time) -> (u32, u32, u32) {
    let number = |part: i8| u32::from(part.unsigned_abs());
    (
        number(time.hour()),
        number(time.minute()),
        number(time.second()),
    )
}

fn time(hour: u32, minute: u32, second: u32) -> Option<Time> {
    let number = |part: u32| i8::try_from(part).ok();
    Time::new(number(hour)?, number(minute)?, number(second)?, 0).ok()
}

/// A 29th of February is at most eight years away.
const MOST_DAYS: usize = 9 * 366;
