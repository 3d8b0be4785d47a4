//! Tables for people, as wide as their terminal.

use comfy_table::{ContentArrangement, Table, presets};

use super::terminal::clean;

/// What is below the first column, where that has a line of its own, stands in by so much.
const INDENT: usize = 2;

/// A table for people. Where it does not fit in `width`, the first column, which is what one copies, has a line of its own, and
/// what is too wide even below it is cut.
pub(crate) fn table(
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
    width: Option<usize>,
) -> String {
    let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(clean).collect()).collect();
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let whole = plain(&header, &rows);
    let widest = whole.lines().map(columns).max().unwrap_or_default();
    match width {
        Some(width) if widest > width => stacked(&header, &rows, width).unwrap_or(whole),
        _ => whole,
    }
}

fn plain(header: &[String], rows: &[Vec<String>]) -> String {
    let mut table = begin(ContentArrangement::Disabled, header);
    table.add_rows(rows);
    lines(table).join("\n")
}

/// Nothing where there is no more than one column.
fn stacked(header: &[String], rows: &[Vec<String>], width: usize) -> Option<String> {
    let (first, rest) = header.split_first()?;
    if rest.is_empty() {
        return None;
    }
    let mut table = begin(ContentArrangement::Dynamic, rest);
    let width = width.saturating_sub(INDENT);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    for row in rows {
        let mut below = comfy_table::Row::from(row.get(1..).unwrap_or_default());
        below.max_height(1);
        table.add_row(below);
    }
    let firsts = rows
        .iter()
        .map(|row| row.first().map_or("", String::as_str));
    let stacked: Vec<String> = std::iter::once(first.as_str())
        .chain(firsts)
        .zip(lines(table))
        .map(|(first, below)| format!("{first}\n{:INDENT$}{below}", ""))
        .collect();
    Some(stacked.join("\n"))
}

fn begin(arrangement: ContentArrangement, header: &[String]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(arrangement)
        .set_truncation_indicator("…");
    let mut names = comfy_table::Row::from(header);
    names.max_height(1);
    table.set_header(names);
    table
}

fn lines(mut table: Table) -> Vec<String> {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// How many columns of a terminal a line takes, nearly: only where a table is stacked hangs on it.
fn columns(line: &str) -> usize {
    line.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> impl Iterator<Item = Vec<String>> {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        [
            row(["a", "1", "x"]),
            row(["long", "22", "a text of some length"]),
        ]
        .into_iter()
    }

    #[test]
    fn tables_have_no_frame() {
        let header = ["NAME", "N", "WHAT"];
        let wide = "NAME  N   WHAT\na     1   x\nlong  22  a text of some length";
        assert_eq!(table(&header, rows(), None), wide);
        assert_eq!(table(&header, rows(), Some(31)), wide);
    }

    #[test]
    fn a_narrow_terminal_gets_lines_that_fit() {
        let header = ["NAME", "N", "WHAT"];
        for width in [30, 24, 16] {
            let text = table(&header, rows(), Some(width));
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 6, "a row takes two: {text}");
            assert!(lines.iter().all(|line| columns(line) <= width), "{text}");
            assert_eq!((lines[0], lines[4]), ("NAME", "long"), "whole: {text}");
        }
        let text = table(&header, rows(), Some(30));
        assert!(text.ends_with("\n  22  a text of some length"), "{text}");
        assert!(table(&header, rows(), Some(16)).contains('…'));
        let one = ["a name that is long"].map(|name| vec![name.to_owned()]);
        assert_eq!(table(&["N"], one.into_iter(), Some(5)).lines().count(), 2);
    }
}
