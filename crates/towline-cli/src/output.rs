//! What goes to standard output and standard error.
//!
//! Standard output carries what was asked for: a result, a table, JSON. Everything else (events, progress, errors, logs)
//! goes to standard error. What agents and servers say is cleaned before a terminal sees it.

mod follow;
mod human;
mod lines;
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

/// Whether a person looks at standard output.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A table for people.
pub(crate) fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(clean));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

fn stdout_failed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::broken_pipe(),
        _ => Failure::local(format!("cannot write to standard output: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_frame() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["long".to_owned(), "22".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "N"], rows.into_iter()),
            "NAME  N\na     1\nlong  22"
        );
    }
}
