//! What the source tree claims to prove.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use super::marker::{Citation, Owner, RuleId};
use super::suite::Macros;
use super::{python_source, rust_source};

/// A line of a source file, for a person to go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Relative to the root of the tree, with `/` between its parts.
    pub file: String,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

/// The markers of a whole tree: which tests claim which rule, and which markers are at fault.
///
/// A marker counts as a claim when it stands in the comments above a test function or inside it, or
/// above a case of a behaviour suite whose macro is called somewhere; see the source modules for the
/// exact rules. All markers, also those beside ordinary code, are kept as citations so that a misspelt
/// id is found wherever it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    proofs: BTreeMap<RuleId, BTreeSet<String>>,
    cited: BTreeMap<RuleId, Place>,
    malformed: Vec<(String, Place)>,
}

/// A source file that has been read.
struct Source {
    file: String,
    citations: Vec<Citation>,
    macros: Macros,
}

impl Evidence {
    /// Reads every `*.rs` and `*.py` file below `root`, in the order of their names.
    ///
    /// Hidden directories, `target` and `__pycache__` are left out.
    ///
    /// # Errors
    ///
    /// When a directory or a file cannot be read, or a file is not UTF-8; the message names it.
    pub fn gather(root: &Path) -> io::Result<Self> {
        let mut sources = Vec::new();
        for path in source_files(root)? {
            let text = fs::read_to_string(&path).map_err(|error| naming(&path, &error))?;
            sources.push(Source::read(&relative(root, &path), &text));
        }
        Ok(Self::of(sources))
    }

    /// What the sources of a tree claim, each given as its file name and its text; files other than
    /// `*.rs` and `*.py` say nothing.
    pub fn of_texts<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::of(
            texts
                .into_iter()
                .map(|(file, text)| Source::read(file, text))
                .collect(),
        )
    }

    fn of(sources: Vec<Source>) -> Self {
        let mut evidence = Self::default();
        let called: BTreeSet<_> = sources
            .iter()
            .flat_map(|source| &source.macros.called)
            .cloned()
            .collect();
        for Source {
            file,
            citations,
            macros,
        } in sources
        {
            let is_suite_run = !macros.defined.is_disjoint(&called);
            for Citation {
                marked,
                line,
                owner,
            } in citations
            {
                let place = Place {
                    file: file.clone(),
                    line,
                };
                let rule = match marked {
                    Ok(rule) => rule,
                    Err(text) => {
                        evidence.malformed.push((text, place));
                        continue;
                    }
                };
                let test = match owner {
                    Owner::Test(name) => Some(name),
                    Owner::Function(name) => (is_suite_run && macros.list(&name)).then_some(name),
                    Owner::Code => None,
                };
                if let Some(test) = test {
                    let tests = evidence.proofs.entry(rule.clone()).or_default();
                    tests.insert(format!("{file}::{test}"));
                }
                evidence.cited.entry(rule).or_insert(place);
            }
        }
        evidence
    }

    /// The tests that claim `rule`, as `path::name`, sorted.
    pub fn proofs(&self, rule: &RuleId) -> impl Iterator<Item = &str> {
        self.proofs
            .get(rule)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// Whether any test claims `rule`.
    pub fn is_proved(&self, rule: &RuleId) -> bool {
        self.proofs.contains_key(rule)
    }

    /// Every rule that any comment names, with one place that does.
    pub fn cited(&self) -> impl Iterator<Item = (&RuleId, &Place)> {
        self.cited.iter()
    }

    /// Markers whose inside is not a list of ids.
    pub fn malformed(&self) -> &[(String, Place)] {
        &self.malformed
    }
}

impl Source {
    fn read(file: &str, text: &str) -> Self {
        let (citations, macros) = match extension(Path::new(file)) {
            "rs" => rust_source::read(text),
            "py" => (python_source::citations(text), Macros::default()),
            _ => (Vec::new(), Macros::default()),
        };
        Self {
            file: file.to_owned(),
            citations,
            macros,
        }
    }
}

fn source_files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(|error| naming(&directory, &error))? {
            let entry = entry.map_err(|error| naming(&directory, &error))?;
            let kind = entry
                .file_type()
                .map_err(|error| naming(&entry.path(), &error))?;
            let name = entry.file_name();
            let is_left_out = name.to_string_lossy().starts_with('.')
                || name == "target"
                || name == "__pycache__";
            if kind.is_dir() && !is_left_out {
                directories.push(entry.path());
            } else if kind.is_file() && matches!(extension(&entry.path()), "rs" | "py") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
}

fn relative(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot read {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str) -> RuleId {
        RuleId::parse(id).unwrap()
    }

    #[test]
    fn claims_and_faults_are_kept_apart() {
        let evidence = Evidence::of_texts([
            (
                "b.rs",
                "/// [ARCP 4-1]\n#[test] fn b() {}\n/// [ARCP 4-2]\nfn code() {}",
            ),
            ("a.py", "def test_a():\n    pass  # [ARCP 4-1]\n"),
            ("c.rs", "\n// [ARCP four]"),
            ("d.txt", "// [ARCP five]"),
        ]);
        assert_eq!(
            evidence.proofs(&rule("4-1")).collect::<Vec<_>>(),
            ["a.py::test_a", "b.rs::b"]
        );
        assert!(!evidence.is_proved(&rule("4-2")));
        let cited: Vec<_> = evidence
            .cited()
            .map(|(rule, place)| format!("{rule} {place}"))
            .collect();
        assert_eq!(cited, ["4-1 b.rs:1", "4-2 b.rs:3"]);
        assert_eq!(
            evidence.malformed(),
            [(
                "four".to_owned(),
                Place {
                    file: "c.rs".to_owned(),
                    line: 2
                }
            )]
        );
    }

    #[test]
    fn cases_of_a_suite_count_once_it_is_called() {
        let suite = "/// [ARCP 4-4]\npub fn keeps_order() {}\n/// [ARCP 4-5]\nfn helper() {}\n\
                     macro_rules! suite { () => { #[test] fn keeps_order() { $crate::keeps_order() } } }";
        let unused = Evidence::of_texts([("suite.rs", suite)]);
        assert!(!unused.is_proved(&rule("4-4")));
        let used = Evidence::of_texts([("suite.rs", suite), ("tests/memory.rs", "suite!();")]);
        assert_eq!(
            used.proofs(&rule("4-4")).collect::<Vec<_>>(),
            ["suite.rs::keeps_order"]
        );
        assert!(!used.is_proved(&rule("4-5")));
    }

    #[test]
    fn the_walk_leaves_out_what_is_built_or_hidden() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "a.rs",
            "x/b.py",
            "x/c.txt",
            "target/d.rs",
            ".git/e.rs",
            "x/__pycache__/f.py",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let files: Vec<_> = source_files(root.path())
            .unwrap()
            .iter()
            .map(|path| relative(root.path(), path))
            .collect();
        assert_eq!(files, ["a.rs", "x/b.py"]);
        assert!(
            Evidence::gather(&root.path().join("absent"))
                .unwrap_err()
                .to_string()
                .contains("absent")
        );
    }
}
