//! `[queues.NAME]`: which jobs run one after the other, and how often they begin [ARCP 22-4].

use serde::Deserialize;
use towline::runtime::{Pointer, QueueRules, Rate, is_name_of_schedule};

use super::file::File;
use crate::failure::Outcome;

/// `[queues.NAME]`
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct QueueSection {
    limit: Option<u32>,
    rate: Option<String>,
    key: Option<String>,
}

impl QueueSection {
    /// What holds for the queue.
    pub(super) fn rules(&self, name: &str, file: &File) -> Outcome<QueueRules> {
        let key = |key: &str| format!("queues.{name}.{key}");
        named("queues", name, file)?;
        if self.limit == Some(0) {
            return Err(file.wrong(
                &key("limit"),
                "is 0, with which nothing runs; write 1 or more",
            ));
        }
        let rate = self.rate.as_deref().map(str::parse::<Rate>).transpose();
        let pointer = self.key.as_deref().map(str::parse::<Pointer>).transpose();
        Ok(QueueRules {
            limit: self.limit.map(|limit| limit as usize),
            rate: rate.map_err(|error| file.wrong(&key("rate"), &error.to_string()))?,
            key: pointer.map_err(|error| file.wrong(&key("key"), &error.to_string()))?,
        })
    }
}

/// That a queue or a schedule can have the name.
pub(super) fn named(table: &str, name: &str, file: &File) -> Outcome<()> {
    if is_name_of_schedule(name) {
        return Ok(());
    }
    Err(file.wrong(
        &format!("{table}.{name}"),
        "cannot have that name; write 1 to 64 letters, digits, `.`, `_` and `-`, the first a letter or a digit",
    ))
}
