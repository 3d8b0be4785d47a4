//! The steps of the scripted agent: what its help says and what the page says are the same.

use std::{collections::BTreeSet, process::Command};

use towline_tests::program;

use crate::pages;

/// The names that stand right behind a brace, which is where the action of a step is.
fn actions(text: &str) -> BTreeSet<&str> {
    let after = text.split("{\"").skip(1);
    let names = after.filter_map(|rest| Some(rest.split_once('"')?.0));
    // What they are given has members of its own.
    let inner = ["toolCallId", "path", "sessionUpdate", "cwd"];
    names.filter(|name| !inner.contains(name)).collect()
}

#[test]
fn the_help_and_the_page_have_the_same_steps() {
    let mut help = Command::new(program::binary());
    let help = help.args(["acp-script", "--help"]).output().unwrap();
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    let pages = pages::all();
    let page = pages
        .iter()
        .find(|(name, _)| name == "docs/coding-agents.md");
    let page = &page.unwrap().1;
    let (_, section) = page.split_once("## The scripted agent\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    assert_eq!(actions(&help), actions(section));
    assert!(actions(section).len() > 15, "{:?}", actions(section));
}
