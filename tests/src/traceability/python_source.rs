//! Finds markers in Python source, and the tests they belong to.
//!
//! A marker belongs to a `def test_…` (also `async def`) when it stands in comments directly above it
//! or above its decorators, in a comment of its body, or in a string that is a statement by itself
//! there, as a docstring is. A blank line cuts the comments above from the function.

use super::marker::{Citation, Owner, markers};

/// Every marker in the comments and docstrings of `source`.
pub(super) fn citations(source: &str) -> Vec<Citation> {
    let mut found: Vec<Citation> = Vec::new();
    // Citations above a function that has not come yet, as positions in `found`.
    let mut above: Vec<usize> = Vec::new();
    let mut test: Option<(&str, usize)> = None;
    for line in Lines::new(source) {
        let is_comment = line.code.is_empty() && !line.remarks.is_empty();
        if line.code.is_empty() && line.remarks.is_empty() {
            above.clear();
            continue;
        }
        if test.is_some_and(|(_, indent)| line.indent <= indent) {
            test = None;
        }
        if let Some(name) = test_name(line.code).filter(|_| test.is_none()) {
            test = Some((name, line.indent));
            for position in above.drain(..) {
                found[position].owner = Owner::Test(name.to_owned());
            }
        }
        for (text, at) in line.remarks {
            for (marked, at) in markers(text, at) {
                if is_comment && test.is_none() {
                    above.push(found.len());
                }
                let owner = test.map_or(Owner::Code, |(name, _)| Owner::Test(name.to_owned()));
                found.push(Citation {
                    marked,
                    line: at,
                    owner,
                });
            }
        }
        if !is_comment && !line.code.starts_with('@') {
            above.clear();
        }
    }
    found
}

fn test_name(code: &str) -> Option<&str> {
    let code = code.strip_prefix("async").map_or(code, str::trim_start);
    let name = code.strip_prefix("def ")?.trim_start();
    let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    name[..end].starts_with("test_").then_some(&name[..end])
}

/// A logical line: what brackets, open strings and backslashes hold together.
#[derive(Debug)]
struct Line<'a> {
    indent: usize,
    /// From its first character on, when it holds more than a comment.
    code: &'a str,
    /// Its comments, and the string it consists of, each with its line number.
    remarks: Vec<(&'a str, usize)>,
}

#[derive(Debug)]
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn new(source: &'a str) -> Self {
        Self {
            rest: source,
            number: 1,
        }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.number += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let indent = self
            .rest
            .find(|c| c != ' ' && c != '\t')
            .unwrap_or(self.rest.len());
        self.take(indent);
        let whole = self.rest;
        let mut line = Line {
            indent,
            code: "",
            remarks: Vec::new(),
        };
        let mut open_brackets = 0_usize;
        while let Some(first) = self.rest.chars().next() {
            let is_start = self.rest.len() == whole.len();
            let mut length = first.len_utf8();
            match first {
                '\n' if open_brackets == 0 => {
                    self.take(1);
                    break;
                }
                '#' => {
                    let length = self.rest.find('\n').unwrap_or(self.rest.len());
                    let number = self.number;
                    line.remarks.push((self.take(length), number));
                    continue;
                }
                '"' | '\'' => {
                    let number = self.number;
                    let text = self.take(string_length(self.rest));
                    let before = &whole[..whole.len() - self.rest.len() - text.len()];
                    if before.chars().all(|c| "rRuUbBfF".contains(c)) {
                        line.remarks.push((text, number));
                    }
                    line.code = whole;
                    continue;
                }
                '(' | '[' | '{' => open_brackets += 1,
                ')' | ']' | '}' => open_brackets = open_brackets.saturating_sub(1),
                '\\' => {
                    length += self.rest[1..].chars().next().map_or(0, char::len_utf8);
                }
                _ => {}
            }
            self.take(length);
            if is_start && !first.is_whitespace() {
                line.code = whole;
            }
        }
        Some(line)
    }
}

/// The length of the string that begins with a quote here, its closing quote included.
fn string_length(rest: &str) -> usize {
    let quote = &rest[..1];
    let triple = quote.repeat(3);
    let closing = if rest.starts_with(&triple) {
        triple.as_str()
    } else {
        quote
    };
    let mut at = closing.len();
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with(closing) {
            return at + closing.len();
        }
        let mut characters = here.chars();
        let first = characters.next().map_or(0, char::len_utf8);
        at += match here.as_bytes()[0] {
            b'\\' => first + characters.next().map_or(0, char::len_utf8),
            b'\n' if closing.len() == 1 => return at,
            _ => first,
        };
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[&str]) {
        let found: Vec<_> = citations(source).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "in {source}");
    }

    #[test]
    fn comments_above_and_inside_a_test_count() {
        check(
            "# [ARCP 4-1]\ndef test_a():\n    pass  # [ARCP 4-2]\n",
            &["4-1@test_a", "4-2@test_a"],
        );
        check(
            "# [ARCP 4-1]\n@mark.slow(\n  x\n)\nasync def test_a(\n    x,\n) -> None:\n    # [ARCP 4-2]\n    pass\n",
            &["4-1@test_a", "4-2@test_a"],
        );
    }

    #[test]
    fn docstrings_count_and_other_strings_do_not() {
        check(
            "def test_a():\n    \"\"\"[ARCP 4-1]\n  [ARCP 4-2]\n\"\"\"\n    x = '[ARCP 4-3]'\n",
            &["4-1@test_a", "4-2@test_a"],
        );
        check(
            "def test_a():\n    r'[ARCP 4-1]'\n    f('# [ARCP 4-2]')\n",
            &["4-1@test_a"],
        );
    }

    #[test]
    fn a_test_ends_where_its_indentation_ends() {
        check(
            "class T:\n  def test_a(self):\n    pass\n\n    # [ARCP 4-1]\n  # [ARCP 4-2]\n\n  x = 1\n",
            &["4-1@test_a", "4-2"],
        );
        check(
            "def test_a():\n    def inner():\n        pass  # [ARCP 4-1]\n    pass  # [ARCP 4-2]\n",
            &["4-1@test_a", "4-2@test_a"],
        );
    }

    #[test]
    fn ordinary_code_proves_nothing() {
        check("\"\"\"[ARCP 4-1]\"\"\"\ndef test_a(): pass\n", &["4-1"]);
        check("# [ARCP 4-1]\n\ndef test_a(): pass\n", &["4-1"]);
        check("# [ARCP 4-1]\nx = 1\ndef test_a(): pass\n", &["4-1"]);
        check(
            "# [ARCP 4-1]\ndef helper():\n    pass  # [ARCP 4-2]\n",
            &["4-1", "4-2"],
        );
    }

    #[test]
    fn odd_text_is_survived() {
        check(
            "x = 'unterminated\n# [ARCP 4-1]\ndef test_a(): pass\n",
            &["4-1@test_a"],
        );
        check("x = \"\"\"never closed # [ARCP 4-1]", &[]);
        check("x = 1 \\\n  # no comment\n\\é", &[]);
    }
}
