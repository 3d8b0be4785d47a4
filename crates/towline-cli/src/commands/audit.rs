//! `towline audit`: who did what, from the store of a data directory, also while a server has it.

use serde_json::{Map, Value, json};
use towline::{
    env::{Clock as _, SystemClock},
    store::{AuditRow, SqliteStore},
};

use super::store::{self, Place};
use crate::{args::AuditArgs, context::Context, exit, failure::Outcome, output};

/// In which order the fields of an entry stand in a table, beside the first four.
const DETAILS: [&str; 12] = [
    "job",
    "parent",
    "agent",
    "owner",
    "code",
    "reason",
    "peer",
    "role",
    "credential",
    "expires_at",
    "session",
    "more",
];

pub(super) async fn run(context: &Context, args: AuditArgs) -> Outcome {
    let rows = match store::place(context, &args.store)? {
        Place::File(path) => {
            let path = store::present(path)?;
            store::blocking(path, |path| SqliteStore::audit_of(path, usize::MAX)).await?
        }
        Place::Database(database) => {
            let rows = database.look().await?.audit(usize::MAX).await;
            rows.map_err(|error| database.failed(&error))?
        }
    };
    let since = args.since.map(|span| {
        let micros = i64::try_from(span.0.as_micros()).unwrap_or(i64::MAX);
        SystemClock.now().unix_micros().saturating_sub(micros)
    });
    let young = |row: &&AuditRow| since.is_none_or(|since| row.at.unix_micros() >= since);
    let entries = rows.iter().filter(young).map(entry);
    let entries: Vec<Map<String, Value>> = entries.filter(|entry| fits(entry, &args)).collect();
    let entries = &entries[entries.len().saturating_sub(args.limit)..];
    output::list(args.format.output, entries, |entries| match entries {
        [] => "no entries".to_owned(),
        entries => output::table(
            &["AT", "ACTION", "VERDICT", "PRINCIPAL", "ABOUT"],
            entries.iter().map(row),
        ),
    })?;
    Ok(exit::SUCCESS)
}

/// An entry as one object.
fn entry(row: &AuditRow) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("at".to_owned(), json!(row.at.to_string()));
    entry.insert("action".to_owned(), json!(row.action));
    let data: Map<String, Value> = row.data.read().unwrap_or_default();
    entry.extend(data);
    entry
}

fn fits(entry: &Map<String, Value>, args: &AuditArgs) -> bool {
    let is = |field: &str, wanted: &Option<String>| {
        wanted
            .as_deref()
            .is_none_or(|wanted| entry.get(field).and_then(Value::as_str) == Some(wanted))
    };
    let whose = args.principal.is_none()
        || is("principal", &args.principal)
        || is("owner", &args.principal);
    is("action", &args.action) && whose && (!args.refused || is("verdict", &Some("refused".into())))
}

fn row(entry: &Map<String, Value>) -> Vec<String> {
    let text = |field: &str| match entry.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let about: Vec<String> = DETAILS
        .iter()
        .filter(|field| entry.contains_key(**field))
        .map(|field| format!("{field}={}", text(field)))
        .collect();
    vec![
        text("at"),
        text("action"),
        text("verdict"),
        text("principal"),
        about.join(" "),
    ]
}
