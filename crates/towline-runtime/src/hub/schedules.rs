//! How far schedules are, as the store has it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use towline_store::{ScheduleChange, ScheduleRow};

/// The schedules that anything is known of, by name.
#[derive(Default)]
pub(crate) struct Schedules(Mutex<BTreeMap<String, ScheduleRow>>);

impl Schedules {
    /// What an earlier run of the runtime left.
    pub(crate) fn restore(&self, rows: Vec<ScheduleRow>) {
        let rows = rows.into_iter();
        *self.0.lock() = rows.map(|row| (row.name.clone(), row)).collect();
    }

    /// A schedule as it is durable.
    pub(crate) fn get(&self, name: &str) -> Option<ScheduleRow> {
        self.0.lock().get(name).cloned()
    }

    /// A change has become durable.
    pub(crate) fn changed(&self, change: &ScheduleChange) {
        let mut rows = self.0.lock();
        let row = change.apply(rows.remove(&change.name));
        rows.insert(row.name.clone(), row);
    }
}
