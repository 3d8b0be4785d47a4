//! `[store]`: where jobs and events are kept, and for how long.

use std::path::PathBuf;

use serde::Deserialize;

use super::file::{File, SpanValue};
use crate::{failure::Outcome, values};

/// `[store]`
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct StoreSection {
    pub(crate) sqlite: Option<PathBuf>,
    pub(crate) memory: Option<bool>,
    pub(crate) durability: Option<String>,
    pub(crate) retention: RetentionSection,
}

/// `[store.retention]`
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct RetentionSection {
    pub(crate) age: Option<SpanValue>,
    pub(crate) jobs: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) audit_age: Option<SpanValue>,
    pub(crate) audit_rows: Option<u64>,
    pub(crate) audit_refused: Option<u64>,
}

impl StoreSection {
    pub(super) fn validate(&self, file: &File) -> Outcome<()> {
        let retention = &self.retention;
        for (key, span) in [("age", &retention.age), ("audit_age", &retention.audit_age)] {
            let key = format!("store.retention.{key}");
            file.span(&key, span.as_ref(), values::positive_span)?;
        }
        if self.sqlite.is_some() && self.memory == Some(true) {
            return Err(file.wrong(
                "store.memory",
                "and store.sqlite exclude each other; keep one",
            ));
        }
        file.checked("store.durability", &self.durability, durability)
    }
}

fn durability(text: &str) -> Result<(), String> {
    match text {
        "process" | "power" => Ok(()),
        other => Err(format!(
            "`{other}` is not a durability; write process (survives kill -9) or power (survives a power cut)"
        )),
    }
}
