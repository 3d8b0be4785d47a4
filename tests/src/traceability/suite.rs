//! Behaviour suites: ordinary functions, and a `macro_rules!` that writes a test for each of them.
//!
//! A trait's suite is a file with one function per case and a macro that lists them. The functions are
//! no tests by themselves, and yet a test runs each of them wherever the macro is called.

use std::collections::BTreeSet;

use super::rust_lexer::{Token, is_test_attribute};

/// The macros of one source file.
#[derive(Debug, Default)]
pub(super) struct Macros {
    /// The names of its `macro_rules!`.
    pub(super) defined: BTreeSet<String>,
    /// Those it calls, outside its own `macro_rules!`.
    pub(super) called: BTreeSet<String>,
    words: BTreeSet<String>,
    writes_tests: bool,
}

impl Macros {
    /// Whether the macros of this file write tests and name `function` among what they write. It is run
    /// if any of them is called.
    pub(super) fn list(&self, function: &str) -> bool {
        self.writes_tests && self.words.contains(function)
    }
}

/// Collects [`Macros`] from the tokens of a file, given one after the other.
#[derive(Debug, Default)]
pub(super) struct MacroScan {
    found: Macros,
    before: Before,
    open_brackets: usize,
    /// The brackets open around the `macro_rules!` that is being read.
    definition: Option<usize>,
}

#[derive(Debug, Default)]
enum Before {
    #[default]
    Nothing,
    Word(String),
    /// A word and a `!`.
    Call(String),
}

impl MacroScan {
    pub(super) fn step(&mut self, token: Token<'_>) {
        self.before = match (std::mem::take(&mut self.before), token) {
            (before, Token::Comment(_)) => before,
            (Before::Word(word), Token::Mark('!')) => Before::Call(word),
            (before, Token::Word(word)) => {
                self.word(&before, word);
                Before::Word(word.to_owned())
            }
            (before, Token::Mark('(' | '[' | '{')) => {
                self.open(before);
                Before::Nothing
            }
            (_, Token::Mark(')' | ']' | '}')) => {
                self.close();
                Before::Nothing
            }
            (_, Token::Attribute(text)) => {
                self.found.writes_tests |= self.definition.is_some() && is_test_attribute(text);
                Before::Nothing
            }
            (_, Token::Mark(_)) => Before::Nothing,
        };
    }

    pub(super) fn finish(self) -> Macros {
        self.found
    }

    fn word(&mut self, before: &Before, word: &str) {
        if matches!(before, Before::Call(called) if called == "macro_rules") {
            self.found.defined.insert(word.to_owned());
            self.definition = Some(self.open_brackets);
        } else if self.definition.is_some() {
            self.found.words.insert(word.to_owned());
        }
    }

    fn open(&mut self, before: Before) {
        self.open_brackets += 1;
        if let (Before::Call(name), None) = (before, self.definition) {
            self.found.called.insert(name);
        }
    }

    fn close(&mut self) {
        self.open_brackets = self.open_brackets.saturating_sub(1);
        if self.definition == Some(self.open_brackets) {
            self.definition = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rust_lexer::Lexer;
    use super::*;

    fn macros(source: &str) -> Macros {
        let mut scan = MacroScan::default();
        Lexer::new(source).for_each(|placed| scan.step(placed.token));
        scan.finish()
    }

    #[test]
    fn a_suite_lists_its_cases() {
        let macros = macros(
            "macro_rules! cases { ($($c:ident)*) => { $(#[tokio::test] async fn $c() {})* } }\n\
             macro_rules! suite { ($p:expr) => { cases! { keeps_order closes_once } } }\n\
             pub fn other() {}",
        );
        assert_eq!(
            macros.defined.into_iter().collect::<Vec<_>>(),
            ["cases", "suite"]
        );
        assert!(
            macros.called.is_empty(),
            "calls inside a macro are no calls yet"
        );
        assert!(
            macros.writes_tests
                && macros.words.contains("closes_once")
                && !macros.words.contains("other")
        );
    }

    #[test]
    fn a_macro_without_tests_lists_nothing() {
        assert!(!macros("macro_rules! m { () => { case } } #[test] fn a() {}").list("case"));
        assert!(macros("macro_rules! m { () => { #[test] fn a() { case() } } }").list("case"));
    }

    #[test]
    fn calls_are_told_from_comparisons() {
        let called = macros("fn a() { b!(c != d); e::f! { g![] } !h() }").called;
        assert_eq!(called.into_iter().collect::<Vec<_>>(), ["b", "f", "g"]);
    }
}
