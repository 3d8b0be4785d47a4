//! What goes to standard output and standard error.
//!
//! Standard output carries what was asked for: a result, a table, JSON. Everything else (events, progress, errors, logs)
//! goes to standard error. What agents and servers say is cleaned before a terminal sees it.

mod follow;
mod human;
mod lines;
mod table;
mod terminal;

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use towline::wire::{EventPayload, RawJson, shown_json};

pub(crate) use follow::{Ending, EndingError, Follower, ResultText, end_of};
pub(crate) use terminal::{clean, clean_lines, note};

use terminal::{RED, RESET};

use crate::{
    args::OutputFormat,
    failure::{Failure, Outcome},
};

/// An event as one line without colours; nothing for those that are shown otherwise.
pub(crate) fn event_line(payload: &EventPayload) -> Option<String> {
    let line = lines::line(payload)?;
    Some(anstream::adapter::strip_str(&line.text).to_string())
}

/// Writes bytes to standard output.
pub(crate) fn write(bytes: &[u8]) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(stdout_failed)
}

/// Writes a piece of a job's result to standard output: as it is, unless a terminal would obey it.
pub(crate) fn result(bytes: &[u8], raw: bool) -> Outcome<()> {
    if raw || !stdout_is_terminal() {
        return write(bytes);
    }
    write(&terminal::for_terminal(bytes))
}

/// Writes a line to standard output.
pub(crate) fn line(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(stdout_failed)
}

/// Writes a value as one line of JSON to standard output.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Outcome<()> {
    let text = RawJson::of(value)
        .map_err(|error| Failure::local(format!("cannot write JSON: {error}")))?;
    line(&shown_json(text.as_str()))
}

/// Writes a list: a table for people, one array, or one line for each entry.
pub(crate) fn list<T: Serialize>(
    format: OutputFormat,
    entries: &[T],
    table: impl FnOnce(&[T]) -> String,
) -> Outcome<()> {
    match format {
        OutputFormat::Human => line(&table(entries)),
        OutputFormat::Json => json(entries),
        OutputFormat::Ndjson => entries.iter().try_for_each(json),
    }
}

/// Writes one thing: as text for people, or as one line of JSON.
pub(crate) fn one<T: Serialize>(
    format: OutputFormat,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Outcome<()> {
    match format {
        OutputFormat::Human => line(&text(value)),
        OutputFormat::Json | OutputFormat::Ndjson => json(value),
    }
}

/// Says why a command failed.
pub(crate) fn error(failure: &Failure) {
    if failure.is_broken_pipe() {
        return;
    }
    note(&format!("{RED}error:{RESET} {failure}"));
}

/// Says why a command failed to a program that reads documents: one of its own, or the last line. Nothing, where one that says
/// so was written already.
pub(crate) fn error_document(format: OutputFormat, failure: &Failure) -> Outcome<()> {
    if failure.is_broken_pipe() || failure.is_told() {
        return Ok(());
    }
    let mut document = serde_json::Map::new();
    match format {
        OutputFormat::Human => return Ok(()),
        OutputFormat::Json => {}
        OutputFormat::Ndjson => drop(document.insert("type".to_owned(), "error".into())),
    }
    document.insert("error".to_owned(), failure.document());
    document.insert("exit_status".to_owned(), failure.status().into());
    json(&document)
}

/// Whether a person looks at standard output.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A table for people, as wide as the terminal that standard output is, if it is one.
pub(crate) fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    table::table(header, rows, terminal::width_of_stdout())
}

fn stdout_failed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::broken_pipe(),
        _ => Failure::local(format!("cannot write to standard output: {error}")),
    }
}
