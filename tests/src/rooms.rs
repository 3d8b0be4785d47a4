//! Which files of a crate know which others.
//!
//! Reads `use` declarations and paths from the text of the sources, follows re-exports to the file an item is defined in,
//! and leaves tests out. What is called as a method of a value is not seen; that takes no import either.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// The files of one crate and what each of them imports.
#[derive(Debug)]
pub struct Imports {
    /// By module path: `hub::tx` is `src/hub/tx.rs`, the empty one is the crate's root.
    edges: BTreeMap<String, BTreeSet<String>>,
}

/// One import: a file and another one it knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The file that imports.
    pub from: String,
    /// The file whose item it is.
    pub to: String,
}

impl Imports {
    /// Reads the sources below `src`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(src: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        gather(src, &mut Vec::new(), &mut files)?;
        Ok(Self::between(&Crate { files }))
    }

    fn between(sources: &Crate) -> Self {
        let mut edges = BTreeMap::new();
        for (module, file) in &sources.files {
            let paths = file.paths.iter();
            let mut known: BTreeSet<String> = paths
                .filter_map(|path| sources.definer(path, FOLLOWED))
                .collect();
            known.remove(module);
            edges.insert(module.clone(), known);
        }
        Self { edges }
    }

    /// Imports that run up: `rank` says how high a file stands.
    pub fn upward(&self, rank: impl Fn(&str) -> usize) -> BTreeSet<Import> {
        let all = self
            .edges
            .iter()
            .flat_map(|(from, known)| known.iter().map(move |to| (from, to)));
        all.filter(|(from, to)| rank(from) < rank(to))
            .map(|(from, to)| Import {
                from: from.clone(),
                to: to.clone(),
            })
            .collect()
    }

    /// Every module there is.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.edges.keys().map(String::as_str)
    }

    /// Files that all know each other, be it through others; only those sets that have more than `limit` files.
    pub fn circles(&self, limit: usize) -> Vec<BTreeSet<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> = self
            .edges
            .keys()
            .map(|module| (module.as_str(), self.reached_from(module)))
            .collect();
        let mut circles = BTreeSet::new();
        for (module, reach) in &reached {
            let circle: BTreeSet<&str> = reach
                .iter()
                .copied()
                .filter(|other| reached[other].contains(module))
                .collect();
            if circle.len() > limit {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reached_from(&self, module: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> = self.edges[module].iter().map(String::as_str).collect();
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(self.edges[module].iter().map(String::as_str));
            }
        }
        reached
    }
}

/// The text of a crate, as far as it matters.
struct Crate {
    files: BTreeMap<String, File>,
}

struct File {
    /// Absolute paths it names: `["hub", "Tx"]`.
    paths: BTreeSet<Vec<String>>,
    /// What it re-exports: the name, and where that comes from.
    exports: BTreeMap<String, Vec<String>>,
}

impl Crate {
    /// The file that defines what a path names; `None` for a mere module.
    fn definer(&self, path: &[String], followed: usize) -> Option<String> {
        let depth = (0..=path.len())
            .rev()
            .find(|depth| self.files.contains_key(&path[..*depth].join("::")))?;
        let module = path[..depth].join("::");
        let item = path.get(depth)?;
        match self.files[&module].exports.get(item) {
            Some(origin) if followed > 0 => {
                let origin: Vec<String> =
                    origin.iter().chain(&path[depth + 1..]).cloned().collect();
                self.definer(&origin, followed - 1).or(Some(module))
            }
            _ => Some(module),
        }
    }
}

fn gather(
    folder: &Path,
    module: &mut Vec<String>,
    files: &mut BTreeMap<String, File>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default();
        let name = stem.to_string_lossy().into_owned();
        if name == "tests" {
            continue;
        }
        let is_root = matches!(name.as_str(), "lib" | "main" | "mod");
        if !is_root {
            module.push(name);
        }
        if path.is_dir() {
            gather(&path, module, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            files.insert(module.join("::"), File::read(&text, module));
        }
        if !is_root {
            module.pop();
        }
    }
    Ok(())
}

impl File {
    fn read(text: &str, module: &[String]) -> Self {
        let tokens = tokens(without_tests(text));
        let mut file = Self {
            paths: BTreeSet::new(),
            exports: BTreeMap::new(),
        };
        // Names that stand for a module or an item of the crate in this file.
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut rest = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at] == "mod" && tokens.get(at + 2) == Some(&";") {
                let child = tokens[at + 1].to_owned();
                let path = module.iter().cloned().chain([child.clone()]).collect();
                names.insert(child, path);
                at += 3;
            } else if tokens[at] == "use" {
                let end = (at..tokens.len()).find(|end| tokens[*end] == ";");
                let end = end.unwrap_or(tokens.len());
                let is_public = at > 0 && matches!(tokens[at - 1], "pub" | ")");
                for (name, path) in used(&tokens[at + 1..end]) {
                    let Some(path) = absolute(&path, module, &names) else {
                        continue;
                    };
                    if is_public {
                        file.exports.insert(name, path);
                    } else {
                        file.paths.insert(path.clone());
                        names.insert(name, path);
                    }
                }
                at = end;
            } else {
                rest.push(tokens[at]);
                at += 1;
            }
        }
        for path in named(&rest) {
            file.paths.extend(absolute(&path, module, &names));
        }
        file
    }
}

/// The text up to the module of tests at its end.
fn without_tests(text: &str) -> &str {
    let tests = text
        .find("#[cfg(test)]\nmod ")
        .or_else(|| text.find("#[cfg(test)]\npub(crate) mod "));
    &text[..tests.unwrap_or(text.len())]
}

/// Words and signs, without comments and texts.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            end_of_text(rest)
        } else if let Some(length) = raw_text(rest) {
            length
        } else if let Some(quote) = ["'\"'", "'\\''", "'\\\\'"]
            .iter()
            .find(|quote| rest.starts_with(**quote))
        {
            quote.len()
        } else if rest.starts_with("::") {
            tokens.push(&rest[..2]);
            2
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let end = end.unwrap_or(rest.len());
            tokens.push(&rest[..end]);
            end
        } else {
            if !first.is_whitespace() {
                tokens.push(&rest[..first.len_utf8()]);
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// How long the raw text is that `text` begins with.
fn raw_text(text: &str) -> Option<usize> {
    let begin = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let fences = begin.len() - begin.trim_start_matches('#').len();
    let inner = begin[fences..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(fences));
    let length = inner.find(&end).map_or(inner.len(), |at| at + end.len());
    Some(text.len() - inner.len() + length)
}

fn end_of_text(text: &str) -> usize {
    let mut escaped = false;
    for (at, sign) in text.char_indices().skip(1) {
        match sign {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// What a `use` declaration brings in: names with their paths.
fn used(tokens: &[&str]) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut prefixes: Vec<Vec<String>> = vec![Vec::new()];
    let mut path: Vec<String> = Vec::new();
    let mut alias = None;
    let mut take = |path: &mut Vec<String>, alias: &mut Option<String>, prefix: &[String]| {
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if path.len() > prefix.len() || alias.is_some() {
            let name = alias.take().or_else(|| path.last().cloned());
            found.extend(name.map(|name| (name, path.clone())));
        }
        *path = prefix.to_vec();
    };
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at] {
            "{" => prefixes.push(path.clone()),
            "}" => {
                let prefix = prefixes.pop().unwrap_or_default();
                take(&mut path, &mut alias, &prefix);
                path = prefixes.last().cloned().unwrap_or_default();
            }
            "," => {
                let prefix = prefixes.last().cloned().unwrap_or_default();
                take(&mut path, &mut alias, &prefix);
            }
            "as" => {
                at += 1;
                alias = tokens.get(at).map(|name| (*name).to_owned());
            }
            "::" => {}
            segment => path.push(segment.to_owned()),
        }
        at += 1;
    }
    take(&mut path, &mut alias, &[]);
    found
}

/// Paths with more than one segment.
fn named(tokens: &[&str]) -> Vec<Vec<String>> {
    let is_name = |token: &str| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = is_name(tokens[at]) && (at == 0 || tokens[at - 1] != "::");
        let mut path = Vec::new();
        if begins {
            path.push(tokens[at].to_owned());
            while tokens.get(at + 1) == Some(&"::")
                && tokens.get(at + 2).is_some_and(|t| is_name(t))
            {
                path.push(tokens[at + 2].to_owned());
                at += 2;
            }
        }
        if path.len() > 1 {
            found.push(path);
        }
        at += 1;
    }
    found
}

/// A path from the crate's root; `None` when it leads out of the crate.
fn absolute(
    path: &[String],
    module: &[String],
    names: &BTreeMap<String, Vec<String>>,
) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let start = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => {
            let ups = path
                .iter()
                .take_while(|segment| *segment == "super")
                .count();
            let base = module.len().checked_sub(ups)?;
            return Some([&module[..base], &path[ups..]].concat());
        }
        name => names.get(name)?.clone(),
    };
    Some([&start, rest].concat())
}

/// A chain of re-exports that is longer is most likely a circle.
const FOLLOWED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(files: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
        let read = |(module, text): &(&str, &str)| {
            let path: Vec<String> = module
                .split("::")
                .filter(|at| !at.is_empty())
                .map(str::to_owned)
                .collect();
            ((*module).to_owned(), File::read(text, &path))
        };
        let files = files.iter().map(read).collect();
        Imports::between(&Crate { files }).edges
    }

    fn known(files: &[(&str, &str)], module: &str) -> Vec<String> {
        imports(files)[module].iter().cloned().collect()
    }

    #[test]
    fn imports_are_found_in_every_form() {
        let files = [
            ("", "mod a; mod b; mod c; pub use b::Lower;"),
            ("b", "pub struct Lower; pub fn f() {}"),
            (
                "c",
                "pub(crate) mod d;\npub(crate) use d::{Deep, other as Renamed};",
            ),
            ("c::d", "pub struct Deep;"),
        ];
        let table = [
            ("use crate::b::Lower;", vec!["b"]),
            ("use crate::Lower;", vec!["b"]),
            (
                "use crate::{\n    b::{self, f},\n    c::Deep,\n};",
                vec!["b", "c::d"],
            ),
            ("use super::c::Renamed as Again;", vec!["c::d"]),
            ("use crate::b;\nfn g() { b::f() }", vec!["b"]),
            ("fn g() -> crate::c::d::Deep { todo() }", vec!["c::d"]),
            ("use crate::b; // b::f is never called", vec![]),
            (
                "const A: &str = \"crate::b::f\"; const B: char = '\"'; const C: &str = r#\"a \" crate::b::f\"#;",
                vec![],
            ),
            ("use std::b::f;", vec![]),
            (
                "fn g() {}\n#[cfg(test)]\nmod tests { use crate::b::f; }",
                vec![],
            ),
        ];
        for (text, expected) in table {
            let files: Vec<_> = files.iter().copied().chain([("a", text)]).collect();
            assert_eq!(known(&files, "a"), expected, "{text}");
        }
    }

    #[test]
    fn circles_and_upward_imports_are_seen() {
        let files = [
            ("low", "use crate::high::H; pub struct L;"),
            ("middle", "use crate::low::L; pub struct M;"),
            ("high", "use crate::middle::M; pub struct H;"),
        ];
        let imports = Imports {
            edges: imports(&files),
        };
        assert_eq!(
            imports.circles(2),
            [BTreeSet::from(["low", "middle", "high"])]
        );
        assert!(imports.circles(3).is_empty());
        let order = ["low", "middle", "high"];
        let rank = |module: &str| order.iter().position(|name| *name == module).unwrap();
        let upward: Vec<_> = imports.upward(rank).into_iter().collect();
        assert_eq!(
            upward,
            [Import {
                from: "low".into(),
                to: "high".into()
            }]
        );
    }
}
