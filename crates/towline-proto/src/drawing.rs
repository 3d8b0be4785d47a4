//! Machines are held against the tables drawn above them.
//!
//! A table names a machine's phases at the left and its events at the top; a cell is the phase that follows, `·` the same
//! one. [`walk`] goes through every cell, so neither the table nor the machine can change alone.

/// Compares a machine with the first table drawn in `source`, the text of the module it stands in.
///
/// `step` puts a fresh machine into a phase, lets one event happen and says by name in which phase the machine is then.
pub(crate) fn walk(source: &str, step: impl Fn(&str, &str) -> String) {
    let lines: Vec<&str> = source.lines().collect();
    let rule = lines.iter().position(|line| line.contains('┼'));
    let rule = rule.expect("a table is drawn");
    let events = cells_of(lines[rule - 1]);
    let rows: Vec<Vec<&str>> = lines[rule + 1..]
        .iter()
        .take_while(|line| line.contains('│'))
        .map(|line| cells_of(line))
        .collect();
    let phases: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    for row in &rows {
        let (phase, cells) = (row[0], &row[1..]);
        assert_eq!(cells.len(), events.len(), "the row of {phase} is whole");
        for (event, cell) in events.iter().zip(cells.iter().copied()) {
            let drawn = if cell == "·" { phase } else { cell };
            assert!(phases.contains(&drawn), "{drawn} has a row");
            assert_eq!(step(phase, event), drawn, "{event} in {phase}");
        }
    }
}

fn cells_of(line: &str) -> Vec<&str> {
    let text = line.trim_start().trim_start_matches(['/', '!']);
    text.split_whitespace()
        .filter(|cell| *cell != "│")
        .collect()
}
