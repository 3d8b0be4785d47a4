//! Rooms are entered from above: what knows little stays free of what knows much. And each is small enough to be seen at
//! once.

use std::{collections::BTreeSet, fs, path::PathBuf};

use towline_tests::{rooms::Imports, sizes};

/// The rooms of the runtime, the lowest first. A file belongs to the room with the longest of the names it begins with.
const RUNTIME: &[&[&str]] = &[
    &[
        "options",
        "agent_options",
        "policy",
        "roles",
        "audit",
        "auth",
        "store_view",
        "web",
        "schedule",
        "webhook",
    ],
    &["session"],
    &["job"],
    &["trace"],
    // The table of credentials, and what deployments bring for it. The hub has the table among its services …
    &["credentials"],
    &["hub"],
    // … and this is what happens to them, which goes through the hub.
    &[
        "credentials::announce",
        "credentials::issue",
        "credentials::revoke",
        "credentials::rotate",
        "credentials::show",
    ],
    &["life"],
    &["command"],
    &["connection"],
    &["caller"],
    &["scheduler", "courier"],
    &["context"],
    &["agent"],
    &["runtime"],
];

/// Imports that may run up, each with its reason.
const UPWARD: &[(&str, &str, &str)] = &[];

/// More files than this do not know each other.
const LARGEST_CIRCLE: usize = 3;

/// A file of more lines is split by meaning.
const LONGEST_FILE: usize = 600;

/// A function of more lines does not fit on a screen.
const LONGEST_FUNCTION: usize = 60;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn crates() -> PathBuf {
    repository().join("crates")
}

fn rank(module: &str) -> usize {
    let of = |room: &&[&str]| {
        let names = room.iter().filter(|name| {
            let rest = module.strip_prefix(**name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        names.map(|name| name.len()).max()
    };
    let found = RUNTIME.iter().enumerate();
    let found = found.filter_map(|(rank, room)| Some((of(room)?, rank)));
    let (_, rank) = found.max().unwrap_or((0, RUNTIME.len()));
    rank
}

#[test]
fn imports_of_the_runtime_point_down() {
    let imports = Imports::of(&crates().join("towline-runtime/src")).unwrap();
    let homeless: Vec<_> = imports
        .modules()
        .filter(|module| !module.is_empty() && rank(module) == RUNTIME.len())
        .collect();
    assert_eq!(homeless, [""; 0], "files without a room");
    let found = imports.upward(rank);
    let found: BTreeSet<_> = found
        .iter()
        .map(|import| (import.from.as_str(), import.to.as_str()))
        .collect();
    let allowed: BTreeSet<_> = UPWARD.iter().map(|(from, to, _)| (*from, *to)).collect();
    assert_eq!(found, allowed, "imports that run up");
    assert!(allowed.len() <= 6, "too many exceptions are no order");
}

#[test]
fn circles_of_files_stay_small() {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(crates()).unwrap() {
        let folder = entry.unwrap().path();
        let imports = Imports::of(&folder.join("src")).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        for circle in imports.circles(LARGEST_CIRCLE) {
            let circle: Vec<_> = circle.into_iter().collect();
            found.insert(format!("{name}: {circle:?}"));
        }
    }
    assert_eq!(
        found,
        BTreeSet::new(),
        "circles of more than {LARGEST_CIRCLE} files"
    );
}

#[test]
fn files_and_functions_are_seen_at_once() {
    let mut long = Vec::new();
    for source in sizes::sources(&repository()).unwrap() {
        let (path, lines) = (source.path().display(), source.lines());
        if lines > LONGEST_FILE {
            long.push(format!("{path}: {lines} lines"));
        }
        if source.path().starts_with("crates") && !source.is_for_tests() {
            let functions = source.functions_over(LONGEST_FUNCTION);
            long.extend(
                functions
                    .iter()
                    .map(|(name, lines)| format!("{path}: `{name}` has {lines} lines")),
            );
        }
    }
    assert_eq!(long, [""; 0], "files and functions that are too long");
}
