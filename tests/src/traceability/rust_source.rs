//! Finds markers in Rust source, and the tests they belong to.
//!
//! A marker belongs to a test when it stands
//! - in a doc comment, or a plain comment with no blank line between, among the attributes above a
//!   function that carries a test attribute (`#[test]`, `#[tokio::test]`, any path ending in `test`,
//!   also inside `proptest! { … }`), or
//! - anywhere in that function's signature or body.
//!
//! Inner comments (`//!`) and comments after code on the same line speak of what is around or before
//! them, so they never reach the function below. An ignored test proves nothing.
//!
//! A marker above a function that is no test is kept with the function's name, because the function
//! may be a case of a behaviour suite (see `suite`).

use super::marker::{Citation, Owner, markers};
use super::rust_lexer::{Lexer, Placed, Token, attribute_path, is_test_attribute};
use super::suite::{MacroScan, Macros};

/// Every marker in the comments of `source`, and its macros.
pub(super) fn read(source: &str) -> (Vec<Citation>, Macros) {
    let mut scan = Scan::default();
    let mut macros = MacroScan::default();
    for placed in Lexer::new(source) {
        scan.step(placed);
        macros.step(placed.token);
    }
    (scan.found, macros.finish())
}

#[derive(Debug, Default)]
struct Scan {
    found: Vec<Citation>,
    open_brackets: usize,
    /// The item whose attributes or signature are being read.
    item: Item,
    /// The test whose body is being read, and how many brackets are open around that body.
    test: Option<(String, usize)>,
}

/// What is known of an item before its body begins.
#[derive(Debug, Default)]
struct Item {
    /// Citations above it, as positions in `Scan::found`, and whether each is in a doc comment.
    citations: Vec<(usize, bool)>,
    /// An attribute or a word of it has come.
    has_begun: bool,
    is_test: bool,
    is_ignored: bool,
    function: Function,
}

#[derive(Debug, Default)]
enum Function {
    #[default]
    NotSeen,
    /// The word `fn` has come.
    Keyword,
    /// Its name too; the brackets open around its signature are counted.
    Named(String, usize),
}

impl Scan {
    fn step(&mut self, placed: Placed<'_>) {
        if placed.breaks_before > 1 {
            self.item.citations.retain(|(_, is_doc)| *is_doc);
        }
        match placed.token {
            Token::Comment(text) => self.comment(text, placed),
            Token::Attribute(text) => self.attribute(text),
            Token::Word(word) => self.word(word),
            Token::Mark('(' | '[') => self.open(),
            Token::Mark('{') => self.open_brace(),
            Token::Mark(')' | ']') => self.close(),
            Token::Mark('}') => {
                self.close();
                self.end_item();
            }
            Token::Mark(';') => self.end_item(),
            Token::Mark(_) => {}
        }
    }

    fn comment(&mut self, text: &str, placed: Placed<'_>) {
        let is_inner = text.starts_with("//!") || text.starts_with("/*!");
        let is_doc = text.starts_with("///") || text.starts_with("/**");
        let is_trailing = placed.breaks_before == 0 && !is_doc && !self.item.has_begun;
        let owner = self
            .test
            .as_ref()
            .map_or(Owner::Code, |(name, _)| Owner::Test(name.clone()));
        for (marked, line) in markers(text, placed.line) {
            if self.test.is_none() && !is_inner && !is_trailing {
                self.item.citations.push((self.found.len(), is_doc));
            }
            self.found.push(Citation {
                marked,
                line,
                owner: owner.clone(),
            });
        }
    }

    fn attribute(&mut self, text: &str) {
        let path = attribute_path(text);
        self.item.has_begun |= !path.is_empty();
        self.item.is_test |= is_test_attribute(text);
        self.item.is_ignored |= path == "ignore";
    }

    fn word(&mut self, word: &str) {
        self.item.has_begun = true;
        match self.item.function {
            Function::NotSeen if word == "fn" => self.item.function = Function::Keyword,
            Function::Keyword => {
                self.item.function = Function::Named(word.to_owned(), self.open_brackets);
            }
            Function::NotSeen | Function::Named(..) => {}
        }
    }

    fn open(&mut self) {
        // `fn(` is a type, not a function.
        if matches!(self.item.function, Function::Keyword) {
            self.item.function = Function::NotSeen;
        }
        self.open_brackets += 1;
    }

    fn open_brace(&mut self) {
        if !self.is_inside_signature() {
            let item = std::mem::take(&mut self.item);
            if let Function::Named(name, outer) = item.function
                && !item.is_ignored
                && self.test.is_none()
            {
                let owner = if item.is_test {
                    Owner::Test(name.clone())
                } else {
                    Owner::Function(name.clone())
                };
                for (position, _) in item.citations {
                    self.found[position].owner = owner.clone();
                }
                self.test = item.is_test.then_some((name, outer));
            }
        }
        self.open();
    }

    fn close(&mut self) {
        self.open_brackets = self.open_brackets.saturating_sub(1);
        if self
            .test
            .as_ref()
            .is_some_and(|(_, outer)| self.open_brackets <= *outer)
        {
            self.test = None;
        }
    }

    fn end_item(&mut self) {
        if !self.is_inside_signature() {
            self.item = Item::default();
        }
    }

    /// Braces and semicolons between the parentheses of a signature end nothing.
    fn is_inside_signature(&self) -> bool {
        matches!(self.item.function, Function::Named(_, outer) if self.open_brackets > outer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[&str]) {
        let found: Vec<_> = read(source).0.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "in {source}");
    }

    #[test]
    fn doc_comments_of_tests_count() {
        check(
            "/// [ARCP 4-1] Sends text.\n#[test]\nfn sends() {}",
            &["4-1@sends"],
        );
        check(
            "#[test]\n/// [ARCP 4-1, 4-2]\nfn sends() {}",
            &["4-1@sends", "4-2@sends"],
        );
        check("/** [ARCP 4-1] */ #[test] fn sends() {}", &["4-1@sends"]);
        check(
            "/// [ARCP 4-1]\n\n#[tokio::test(start_paused = true)]\npub(crate) async fn a() -> R<()> {}",
            &["4-1@a"],
        );
    }

    #[test]
    fn comments_in_the_body_of_a_test_count_up_to_its_end() {
        check(
            "#[test] fn a() { if x { // [ARCP 4-1]\n } /* [ARCP 4-2] */ } // [ARCP 4-3]\n",
            &["4-1@a", "4-2@a", "4-3"],
        );
        check("#[test] fn a() { fn b() {} // [ARCP 4-1]\n }", &["4-1@a"]);
        check(
            "#[test] fn a() { let _ = \"}\"; let _ = '}'; // [ARCP 4-1]\n }",
            &["4-1@a"],
        );
    }

    #[test]
    fn ordinary_code_proves_nothing() {
        check(
            "/// [ARCP 4-1]\npub fn a() { /* [ARCP 4-2] */ }",
            &["4-1~a", "4-2"],
        );
        check("//! [ARCP 4-1]\n#[test] fn a() {}", &["4-1"]);
        check("/// [ARCP 4-1]\nstruct A;\n#[test] fn a() {}", &["4-1"]);
        check(
            "/// [ARCP 4-1]\nstruct A { b: u8 }\n#[test] fn a() {}",
            &["4-1"],
        );
        check(
            "/// [ARCP 4-1]\n#[cfg(test)] mod tests { #[test] fn a() {} }",
            &["4-1"],
        );
        check(
            "const A: u8 = 1; // [ARCP 4-1]\n#[test] fn a() {}",
            &["4-1"],
        );
        check("#[cfg(test)] fn a() { /* [ARCP 4-1] */ }", &["4-1"]);
        check(
            "#[cfg(test)] mod m { /* [ARCP 4-1] */ fn a() {} }",
            &["4-1"],
        );
    }

    #[test]
    fn a_plain_comment_counts_only_next_to_its_test() {
        check("// [ARCP 4-1]\n#[test] fn a() {}", &["4-1@a"]);
        check("x();\n// [ARCP 4-1]\n\n#[test] fn a() {}", &["4-1"]);
    }

    #[test]
    fn strings_hold_no_markers() {
        check("#[test] fn a() { let _ = \"// [ARCP 4-1]\"; }", &[]);
        check("#[test] fn a() { let _ = r#\"\n// [ARCP 4-1]\"#; }", &[]);
    }

    #[test]
    fn ignored_tests_prove_nothing() {
        check(
            "/// [ARCP 4-1]\n#[test]\n#[ignore = \"slow\"]\nfn a() { /* [ARCP 4-2] */ }",
            &["4-1", "4-2"],
        );
    }

    #[test]
    fn proptests_are_tests() {
        check(
            "proptest! {\n#![proptest_config(c())]\n/// [ARCP 4-1]\n#[test]\n\
             fn a(x in (0..5).prop_map(|x| { x; x }), /* [ARCP 4-2] */ y in b()) { /* [ARCP 4-3] */ }\n\
             /// [ARCP 4-4]\nfn helper() {} }",
            &["4-1@a", "4-2@a", "4-3@a", "4-4~helper"],
        );
    }

    #[test]
    fn function_types_and_declarations_are_passed_over() {
        check(
            "type F = fn(u8); /// [ARCP 4-1]\n#[test] fn a() {}",
            &["4-1@a"],
        );
        check(
            "trait T { /// [ARCP 4-1]\nfn b(); }\n#[test] fn a() {}",
            &["4-1"],
        );
        check("#[test] fn a(f: fn(u8)) { /* [ARCP 4-1] */ }", &["4-1@a"]);
    }

    #[test]
    fn a_marker_that_cannot_be_read_is_kept() {
        check("/// [ARCP 4]\n#[test] fn a() {}", &["bad 4@a"]);
    }
}
