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
    /// A database's address, without a password.
    pub(crate) postgres: Option<String>,
    /// A file whose first line is a database's address, with its password.
    pub(crate) postgres_file: Option<PathBuf>,
    /// What this node is called among those that share the database.
    pub(crate) node: Option<String>,
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
        let places = [
            ("sqlite", self.sqlite.is_some()),
            ("postgres", self.postgres.is_some()),
            ("postgres_file", self.postgres_file.is_some()),
            ("memory", self.memory == Some(true)),
        ];
        let mut named = places.iter().filter(|(_, is_named)| *is_named);
        if let (Some((one, _)), Some((other, _))) = (named.next(), named.next()) {
            return Err(file.wrong(
                &format!("store.{other}"),
                &format!("and store.{one} exclude each other; keep one"),
            ));
        }
        file.checked("store.postgres", &self.postgres, address)?;
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

fn address(text: &str) -> Result<(), String> {
    if !values::is_postgres(text) {
        return Err(
            "is no address of a PostgreSQL database; write postgres://USER@HOST/DATABASE"
                .to_owned(),
        );
    }
    if towline::postgres::has_password(text) {
        return Err("has a password in it; put the whole address into a file of your own and name that as store.postgres_file".to_owned());
    }
    Ok(())
}
