//! How many refusals of one principal the audit log tells one by one.
//!
//! Whoever is refused without end must not push what others did out of the audit log, nor write to the store at the speed of
//! a socket [ARCP 14-6]. So many refusals a minute have an entry each; the others are one number, in the next entry or, when
//! none follows, in one of their own.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use towline_store::{AuditRow, Principal};
use towline_wire::Timestamp;

use crate::audit::{self, Audit};

/// What was told of whom lately. As many principals as were refused within the last minute or two.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<Principal, Share>>);

struct Share {
    since: Timestamp,
    told: u32,
    untold: u32,
}

impl Refusals {
    /// The entry to write, if it is to be written. What is no principal's refusal always is.
    pub(super) fn admit(&self, row: AuditRow) -> Option<AuditRow> {
        let Some(principal) = audit::refused_principal(&row) else {
            return Some(row);
        };
        let mut shares = self.0.lock();
        let share = shares.entry(principal).or_insert(Share {
            since: row.at,
            told: 0,
            untold: 0,
        });
        if share.since.plus(WINDOW) <= row.at {
            share.since = row.at;
            share.told = 0;
        }
        if share.told >= SHARE {
            share.untold = share.untold.saturating_add(1);
            return None;
        }
        share.told += 1;
        Some(audit::with_more(row, std::mem::take(&mut share.untold)))
    }

    /// Entries about what nobody was told of, for principals whose minute is over.
    pub(super) fn sum_up(&self, now: Timestamp) -> Vec<AuditRow> {
        let mut rows = Vec::new();
        self.0.lock().retain(|principal, share| {
            let is_over = share.since.plus(WINDOW) <= now;
            if is_over && share.untold > 0 {
                rows.push(Audit::at(now).refusals(principal, share.untold));
            }
            !is_over
        });
        rows.sort_by(|one, other| one.data.as_str().cmp(other.data.as_str()));
        rows
    }
}

const WINDOW: Duration = Duration::from_secs(60);

/// Refusals of a principal that have an entry of their own, a window.
const SHARE: u32 = 60;
