//! What a page shows and what is compiled are the same lines.

use crate::pages;

/// Lines as they count: without their indentation, and none that is empty.
fn lines(text: &str) -> Vec<&str> {
    let trimmed = text.lines().map(str::trim);
    trimmed.filter(|line| !line.is_empty()).collect()
}

/// Every Rust block of every page stands in `blocks.rs`. Those of README.md are compiled where they are, by the documentation
/// tests of the crate `towline`.
#[test]
fn every_rust_block_is_compiled() {
    let compiled = lines(include_str!("blocks.rs"));
    let mut count = 0;
    for (page, text) in pages::all() {
        for block in pages::blocks(&text) {
            if !block.language.starts_with("rust") {
                continue;
            }
            count += 1;
            if page == "README.md" {
                assert_eq!(block.language, "rust,no_run", "{page}:{}", block.line);
                continue;
            }
            assert_eq!(
                block.language, "rust",
                "{page}:{}: nothing is ignored",
                block.line
            );
            let wanted = lines(&block.text);
            assert!(
                compiled.windows(wanted.len()).any(|found| found == wanted),
                "{page}:{} shows lines that tests/tests/documents/blocks.rs does not compile:\n{}",
                block.line,
                block.text
            );
        }
    }
    assert!(count > 20, "the pages have blocks: {count}");
}
