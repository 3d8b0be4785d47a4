//! Every console block runs, a page in one shell, in a copy of the repository's documents.
//!
//! A block that does not run says why, in a comment of its page right before it: `<!-- not run: … -->`. One that needs
//! something to be there first names it: `<!-- run with: … -->`. What a block shows below a `$` line is what the command has
//! to say. A command may fail only on a line that shows its status, with `status $?`. The ports of the pages are replaced by free
//! ones. At its end nothing runs that the page has started.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use towline_tests::program;

use crate::pages::{self, Block};

const LANGUAGES: [&str; 3] = ["sh", "bash", "console"];

/// What a page's server listens on, and what listens beside it.
const PORTS: [&str; 2] = ["7777", "7778"];

/// A page as a script, each line where it is on the page.
#[derive(Default)]
struct Script {
    lines: BTreeMap<usize, String>,
    /// What has to be said by the command of a line, in order.
    expected: BTreeMap<usize, Vec<String>>,
}

impl Script {
    fn of(page: &str, text: &str) -> Self {
        let mut script = Self::default();
        for block in pages::blocks(text) {
            if !LANGUAGES.contains(&block.language.as_str()) {
                continue;
            }
            let remark = block.remark.as_deref().unwrap_or_default();
            if let Some(reason) = remark.strip_prefix("not run:") {
                assert!(reason.trim().len() > 8, "{page}:{}: say why", block.line);
                continue;
            }
            if let Some(first) = remark.strip_prefix("run with:") {
                script.lines.insert(block.line, first.trim().to_owned());
            }
            script.add(&block);
        }
        script
    }

    fn add(&mut self, block: &Block) {
        let mut command = None;
        let mut goes_on = block.language != "console";
        for (at, line) in block.text.lines().enumerate() {
            let number = block.line + 1 + at;
            let told = line.strip_prefix("$ ");
            if block.language != "console" || goes_on && command.is_some() || told.is_some() {
                let line = told.unwrap_or(line);
                goes_on = line.ends_with('\\');
                command = Some(number);
                self.lines.insert(number, line.to_owned());
            } else if let Some(command) = command.filter(|_| !line.trim().is_empty()) {
                self.expected
                    .entry(command)
                    .or_default()
                    .push(line.trim().to_owned());
            }
        }
    }

    /// The lines with what notes failures, and what was said where that is looked at.
    fn text(&self, ports: [&str; 2]) -> String {
        let mut text = String::from("set -m; trap 'echo $LINENO >> failed' ERR; exec 2>&1");
        let last = self.lines.keys().last().copied().unwrap_or(0);
        for number in 2..=last {
            text.push('\n');
            if let Some(line) = self.lines.get(&number) {
                text.push_str(line);
                if self.expected.contains_key(&number) {
                    text.push_str(&format!(" > said.{number}"));
                }
            }
        }
        text.push_str("\ntrap - ERR; jobs -r > left; kill $(jobs -p) 2> /dev/null; wait\n");
        for (page, port) in PORTS.iter().zip(ports) {
            text = text.replace(page, port);
        }
        text
    }
}

fn run(page: &str, text: &str) {
    let script = Script::of(page, text);
    if script.lines.is_empty() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let here = place.path().join("towline");
    copy(&pages::root().join("docs"), &here.join("docs"));
    fs::copy(pages::root().join("README.md"), here.join("README.md")).unwrap();
    let free = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let free = free.map(|listener| listener.local_addr().unwrap().port().to_string());
    let text = script.text([&free[0], &free[1]]);
    let path = place.path().join("script");
    fs::write(&path, text).unwrap();
    let program = program::binary().parent().unwrap().display().to_string();
    let path_variable = std::env::var("PATH").unwrap();
    let mut bash = Command::new("bash");
    bash.arg(&path).current_dir(&here).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOWLINE_") || name == "RUST_LOG" {
            bash.env_remove(name);
        }
    }
    bash.env("PATH", format!("{program}:{path_variable}"));
    bash.env("XDG_STATE_HOME", place.path().join("state"));
    bash.env("TMPDIR", place.path());
    let output = bash.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = fs::read_to_string(here.join("failed")).unwrap_or_default();
    for line in failed.lines() {
        let number: usize = line.parse().unwrap();
        let command = script.lines.get(&number).map_or("", String::as_str);
        assert!(
            command.contains("status $?") || script.expected.contains_key(&number),
            "{page}:{number} failed: {command}\n{said}"
        );
    }
    let left = fs::read_to_string(here.join("left")).unwrap();
    assert_eq!(left, "", "{page} leaves this running\n{said}");
    for (number, expected) in &script.expected {
        let told = fs::read_to_string(here.join(format!("said.{number}"))).unwrap();
        let mut told = told.lines().map(str::trim);
        for line in expected {
            assert!(
                told.any(|told| told == line),
                "{page}:{number} does not say `{line}`"
            );
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn every_console_block_runs_or_says_why_not() {
    for (page, text) in pages::all() {
        run(&page, &text);
    }
}

#[test]
fn a_script_has_its_commands_where_the_page_has_them() {
    let page = "a\n<!-- run with: X=1 -->\n```console\n$ one \\\n  more\nsaid\n$ two\n```\n\n```sh\nthree\n```\n\
                <!-- not run: for no good reason -->\n```sh\nfour\n```\n";
    let script = Script::of("page", page);
    let lines: Vec<(usize, &str)> = script
        .lines
        .iter()
        .map(|(number, line)| (*number, line.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (3, "X=1"),
            (4, "one \\"),
            (5, "  more"),
            (7, "two"),
            (11, "three")
        ]
    );
    assert_eq!(
        script.expected,
        BTreeMap::from([(5, vec!["said".to_owned()])])
    );
    assert!(
        script
            .text(["1", "2"])
            .contains("\n  more > said.5\n\ntwo\n")
    );
}

/// Whoever has followed one page follows the next in the same shell, and one of them again.
#[test]
fn pages_with_a_server_go_one_after_the_other() {
    let names = ["schedules", "http", "webhooks", "mcp", "http"];
    let pages = pages::all();
    let texts = names.map(|name| {
        let name = format!("{name}.md");
        let page = pages.iter().find(|(page, _)| page.ends_with(&name));
        page.unwrap().1.as_str()
    });
    run("one page after the other", &texts.join("\n"));
}

/// What a page starts it stops.
#[test]
#[should_panic(expected = "page leaves this running")]
fn what_a_page_leaves_running_is_told() {
    run("page", "```sh\nsleep 600 &\n```\n");
}

/// What fails, or says something else, is told.
#[test]
#[should_panic(expected = "page:2 failed: false")]
fn a_command_that_fails_is_told() {
    run("page", "```sh\nfalse\n```\n");
}

#[test]
#[should_panic(expected = "does not say `two`")]
fn a_command_that_says_something_else_is_told() {
    run("page", "```console\n$ echo one\ntwo\n```\n");
}
