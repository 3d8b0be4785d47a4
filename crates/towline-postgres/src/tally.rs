//! How much there is.

use tokio_postgres::Row;
use towline_store::StoreStats;

/// What is counted as it changes: how much an incarnation added, or took away, which makes it negative. The sum over all is
/// what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) jobs: i64,
    pub(crate) live: i64,
    pub(crate) events: i64,
    pub(crate) bytes: i64,
}

/// What each incarnation counted last, and the sum over those for which a condition on `inc` holds.
pub(crate) fn sum_of_tallies(condition: &str) -> String {
    format!(
        "SELECT coalesce(sum(jobs), 0)::bigint, coalesce(sum(live), 0)::bigint, coalesce(sum(events), 0)::bigint, \
         coalesce(sum(bytes), 0)::bigint FROM (SELECT DISTINCT ON (inc) jobs, live, events, bytes FROM token \
         WHERE {condition} ORDER BY inc, seq DESC) t"
    )
}

impl Tally {
    /// From columns `jobs, live, events, bytes`.
    pub(crate) fn read(row: &Row) -> Self {
        Self {
            jobs: row.get(0),
            live: row.get(1),
            events: row.get(2),
            bytes: row.get(3),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            jobs: self.jobs + other.jobs,
            live: self.live + other.live,
            events: self.events + other.events,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// How much there is, as of the last commit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) tally: Tally,
    pub(crate) sessions: u64,
}

impl Totals {
    /// With how much the tables take.
    pub(crate) fn stats(&self, disk_bytes: u64) -> StoreStats {
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        StoreStats {
            jobs: count(self.tally.jobs),
            live_jobs: count(self.tally.live),
            events: count(self.tally.events),
            event_bytes: count(self.tally.bytes),
            sessions: self.sessions,
            disk_bytes,
        }
    }
}
