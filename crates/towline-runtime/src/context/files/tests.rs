//! The way to a place, without a runtime.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use towline_proto::lease::{Authority, Denial, Operation, validate_request};
use towline_wire::{Lease, LeaseConstraints, Timestamp};

use super::{
    create_missing,
    place::{Fault, Last, Place},
};

/// A directory under its real name, and an authority over parts of it.
struct Tree {
    _guard: tempfile::TempDir,
    root: PathBuf,
    authority: Authority,
}

impl Tree {
    fn with_lease(patterns: &[&str]) -> Self {
        let guard = tempfile::tempdir().unwrap();
        let root = guard.path().canonicalize().unwrap();
        let mut lease = Lease::new();
        for pattern in patterns {
            lease = lease.with("fs.read", format!("{}/{pattern}", root.display()));
        }
        let now = Timestamp::from_unix_micros(0);
        let request = validate_request(&lease, &LeaseConstraints::default(), now).unwrap();
        let authority = Authority::new(request, true);
        Self {
            _guard: guard,
            root,
            authority,
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.root.display())
    }

    fn dir(&self, path: &str) -> &Self {
        fs::create_dir_all(self.at(path)).unwrap();
        self
    }

    fn file(&self, path: &str, content: &str) -> &Self {
        fs::write(self.at(path), content).unwrap();
        self
    }

    fn link(&self, path: &str, target: impl AsRef<Path>) -> &Self {
        symlink(target, self.at(path)).unwrap();
        self
    }

    fn may(&self, path: &str) -> Result<(), Denial> {
        let now = Timestamp::from_unix_micros(0);
        self.authority
            .decide(Operation::FsRead(path), now)
            .map(drop)
    }

    fn find(&self, path: &str) -> Result<Place, Fault> {
        Place::find(&self.at(path), Last::Follow, &|path| self.may(path))
    }

    /// What is read from the path; `None` when it is denied.
    fn read(&self, path: &str) -> Option<String> {
        match self.find(path) {
            Ok(place) => {
                let file = place.open(cap_std::fs::OpenOptions::new().read(true));
                Some(std::io::read_to_string(file.unwrap()).unwrap())
            }
            Err(Fault::Denied { .. }) => None,
            Err(Fault::Io(error)) => panic!("{path}: {error}"),
        }
    }
}

/// [ARCP 9.2-3] a link is followed when the lease covers what it leads to, whatever way it takes, and denied otherwise.
#[test]
fn links_lead_only_to_what_is_covered() {
    let tree = Tree::with_lease(&["open/**"]);
    tree.dir("open/deep")
        .dir("closed/deep")
        .file("open/a", "a")
        .file("closed/s", "s")
        .link("open/same", "a")
        .link("open/absolute", tree.at("open/a"))
        .link("open/up", "../open/a")
        .link("open/deep/above", "..")
        .link("open/out", tree.at("closed/s"))
        .link("open/out_up", "../closed/s")
        .link("open/dir_out", "../closed")
        .link("open/chain", "out")
        .link("closed/back", tree.at("open/a"))
        .link("open/through", "../closed/back");
    for inside in [
        "open/a",
        "open/same",
        "open/absolute",
        "open/up",
        "open/deep/above/a",
        "open/through",
    ] {
        assert_eq!(tree.read(inside).as_deref(), Some("a"), "{inside}");
    }
    for outside in ["open/out", "open/out_up", "open/dir_out/s", "open/chain"] {
        assert_eq!(tree.read(outside), None, "{outside}");
    }
    assert_eq!(
        tree.find("open/same").unwrap().path(),
        tree.at("open/a"),
        "the real name"
    );
}

/// [ARCP 9.2-3] outside of the lease nobody learns through a link what exists.
#[test]
fn a_denied_link_tells_nothing_of_its_target() {
    let tree = Tree::with_lease(&["open/**"]);
    tree.dir("open")
        .dir("closed")
        .file("closed/there", "")
        .link("open/out", "../closed");
    for name in ["open/out/there", "open/out/missing", "open/out/there/below"] {
        let fault = tree.find(name).err().unwrap();
        assert!(matches!(fault, Fault::Denied { .. }), "{name}: {fault:?}");
    }
    let missing = tree.find("open/missing/x").err().unwrap();
    assert!(matches!(missing, Fault::Io(_)), "{missing:?}");
}

#[test]
fn links_in_a_circle_end() {
    let tree = Tree::with_lease(&["**"]);
    tree.link("a", "b").link("b", "a");
    assert!(matches!(tree.find("a"), Err(Fault::Io(_))));
}

/// [ARCP 9.3-2] a place stays what it was when it was checked, whatever is put in its way afterwards.
#[test]
fn a_place_does_not_move() {
    let tree = Tree::with_lease(&["open/**"]);
    tree.dir("open/d")
        .dir("closed")
        .file("open/d/f", "mine")
        .file("closed/f", "secret");
    let place = tree.find("open/d/f").unwrap();
    fs::rename(tree.at("open/d"), tree.at("open/old")).unwrap();
    tree.link("open/d", "../closed");
    let file = place
        .open(cap_std::fs::OpenOptions::new().read(true))
        .unwrap();
    assert_eq!(std::io::read_to_string(file).unwrap(), "mine");

    let place = tree.find("open/old/f").unwrap();
    fs::remove_file(tree.at("open/old/f")).unwrap();
    tree.link("open/old/f", "../../closed/f");
    assert!(
        place
            .open(cap_std::fs::OpenOptions::new().read(true))
            .is_err(),
        "the last name is not followed"
    );
}

/// [ARCP 9.3-2] directories are made only where the lease covers them.
#[test]
fn missing_directories_are_made_within_the_lease() {
    let tree = Tree::with_lease(&["open/**", "one"]);
    tree.dir("open").dir("closed").link("open/out", "../closed");
    let may = |path: &str| tree.may(path);
    create_missing(&tree.at("open/a/b/c"), &may).unwrap();
    assert!(tree.root.join("open/a/b/c").is_dir());
    create_missing(&tree.at("open/a/b/c"), &may).unwrap();
    create_missing(&tree.at("one"), &may).unwrap();
    assert!(create_missing(&tree.at("open/out/x"), &may).is_err());
    assert!(create_missing(&tree.at("open/out"), &may).is_err());
    assert!(create_missing(&tree.at("two/open"), &may).is_err());
    assert!(!tree.root.join("closed/x").exists() && !tree.root.join("two").exists());
}
