//! How long files and functions are.
//!
//! Reads the text of the sources as rustfmt lays it out: a function ends with the first brace that stands as far to the left
//! as the function begins.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// One source file.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
}

/// The sources below a folder, whatever was built there left out; their paths begin at the folder.
///
/// # Errors
/// When a folder or a file cannot be read.
pub fn sources(folder: &Path) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    gather(folder, &mut found)?;
    for source in &mut found {
        let inside = source.path.strip_prefix(folder).map(Path::to_owned);
        source.path = inside.map_err(io::Error::other)?;
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn gather(folder: &Path, found: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            if name != "target" && name != "node_modules" {
                gather(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            found.push(Source { path, text });
        }
    }
    Ok(())
}

impl Source {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many lines it has.
    pub fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// Whether all of it is for tests: a suite, say.
    pub fn is_for_tests(&self) -> bool {
        let parts = self.path.iter().map(Path::new);
        let mut names = parts.filter_map(Path::file_stem);
        names.any(|name| name == "tests" || name == "testing")
    }

    /// The functions with more lines than this, each with their number, from its first line to its last; those of the tests
    /// at the file's end left out.
    pub fn functions_over(&self, limit: usize) -> Vec<(&str, usize)> {
        let lines: Vec<&str> = without_tests(&self.text).lines().collect();
        let begun = lines.iter().enumerate().filter_map(|(at, line)| {
            let name = function(line)?;
            Some((name, length(&lines[at..])?))
        });
        begun.filter(|(_, length)| *length > limit).collect()
    }
}

/// The text up to the module of tests at its end.
fn without_tests(text: &str) -> &str {
    let tests = text.match_indices("#[cfg(test)]\n").find(|(at, mark)| {
        let next = text[at + mark.len()..].lines().next().unwrap_or_default();
        next.ends_with('{') && next.contains("mod ")
    });
    &text[..tests.map_or(text.len(), |(at, _)| at)]
}

/// The name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_head = before.split_whitespace().all(|word| {
        let word = word.split('(').next().unwrap_or_default();
        ["pub", "const", "async"].contains(&word) || word.ends_with(')')
    });
    let end = after.find(|sign: char| !sign.is_alphanumeric() && sign != '_')?;
    (is_head && end > 0).then_some(&after[..end])
}

/// How many lines there are up to the brace that ends what the first one begins; `None` for what has no body.
fn length(lines: &[&str]) -> Option<usize> {
    let first = lines[0];
    let margin = &first[..first.len() - first.trim_start().len()];
    if first.ends_with(';') || first.ends_with('}') {
        return None;
    }
    for (at, line) in lines.iter().enumerate().skip(1) {
        let rest = line.strip_prefix(margin).unwrap_or_default();
        if rest == "}" {
            return Some(at + 1);
        }
        if rest.starts_with(')') && rest.ends_with(';') {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_head_to_brace() {
        let text = "\
trait T {
    fn declared(
        &self,
    ) -> u8;
    fn short(&self) {}
}

pub(in crate::a) async fn four(
    one: u8,
) -> u8 {
    if one == 0 {
    }
    one
}

const S: &str = \"a fn text(\";

#[cfg(test)]
use std::fs;

impl U {
    const fn three() {
        // A closure |x| { x } ends nothing.
    }
}

#[cfg(test)]
mod tests {
    fn tested() {
        let a = 1;
        let b = 2;
    }
}
";
        let source = Source {
            path: PathBuf::from("src/a.rs"),
            text: text.to_owned(),
        };
        assert_eq!(source.functions_over(0), [("four", 7), ("three", 3)]);
        assert_eq!(source.functions_over(3), [("four", 7)]);
        assert_eq!(source.lines(), text.lines().count());
    }

    #[test]
    fn suites_are_for_tests() {
        for (path, expected) in [
            ("a/src/testing/logs.rs", true),
            ("a/src/testing.rs", true),
            ("a/tests/cli/agents.rs", true),
            ("a/src/server/tests.rs", true),
            ("a/src/server.rs", false),
        ] {
            let source = Source {
                path: PathBuf::from(path),
                text: String::new(),
            };
            assert_eq!(source.is_for_tests(), expected, "{path}");
        }
    }
}
