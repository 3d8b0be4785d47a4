//! The pages, and the blocks on them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A fenced block of a page.
#[derive(Debug)]
pub(crate) struct Block {
    /// What is written behind the fence.
    pub(crate) language: String,
    /// The line of the fence, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
    /// The comment of the page right before it, which no reader sees.
    pub(crate) remark: Option<String>,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// README.md and every page below `docs`, by name.
pub(crate) fn all() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    let read = |name: String| {
        let text = fs::read_to_string(root().join(&name)).unwrap();
        (name, text)
    };
    names.into_iter().map(read).collect()
}

/// The fenced blocks of a page, in order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut remark = None;
    let mut open: Option<Block> = None;
    for (at, line) in page.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(language)) => {
                open = Some(Block {
                    language: language.trim().to_owned(),
                    line: at + 1,
                    text: String::new(),
                    remark: remark.take(),
                });
            }
            (None, None) if line.trim().is_empty() => {}
            (None, None) => {
                let inner = line.trim().strip_prefix("<!--");
                let inner = inner.and_then(|inner| inner.strip_suffix("-->"));
                remark = inner.map(|inner| inner.trim().to_owned());
            }
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

#[test]
fn blocks_are_found_with_their_remarks() {
    let page = "text\n\n<!-- not run: why -->\n```sh\na\n```\nmore\n```rust,no_run\nb\n\nc\n```\n";
    let found = blocks(page);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].remark.as_deref(), Some("not run: why"));
    assert_eq!((found[0].line, &*found[0].text), (4, "a\n"));
    assert_eq!(
        (&*found[1].language, found[1].remark.as_deref()),
        ("rust,no_run", None)
    );
    assert_eq!(found[1].text, "b\n\nc\n");
}
