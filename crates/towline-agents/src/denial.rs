//! Which grant a program was missing, as far as its complaints say.
//!
//! The kernel refuses in silence: what a program that is kept to a lease may not do looks to it like a file that is not there
//! or not its own, or like a machine without a network. What it complains of last, before it gives up, mostly names it.

use std::{collections::VecDeque, process::ExitStatus};

use parking_lot::Mutex;
use towline_proto::lease::LeaseSet;
use towline_runtime::AgentError;
use towline_wire::{Lease, RawJson, namespace};

use crate::{sandbox::Bounds, trouble::failed};

/// How many of the last lines of standard error are looked at.
const LAST: usize = 16;

/// The last lines of a program's standard error, which say why it ended.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    last: Mutex<VecDeque<String>>,
    /// Whether it is kept to a lease: else no grant is missing.
    is_held: bool,
}

impl Complaints {
    /// Of a program that is about to be started within `bounds`.
    pub(crate) fn within(bounds: &Bounds) -> Self {
        Self {
            last: Mutex::default(),
            is_held: !matches!(bounds, Bounds::Off),
        }
    }

    pub(crate) fn hear(&self, line: &str) {
        let mut last = self.last.lock();
        if last.len() == LAST {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }

    /// What a job fails with whose program ended: with what the lease does not give of what it complained of.
    pub(crate) fn failure(
        &self,
        lease: &Lease,
        subject: &str,
        what: &str,
        status: Option<ExitStatus>,
    ) -> AgentError {
        let missing = match LeaseSet::compile(lease) {
            Ok(lease) if self.is_held => {
                missing(self.last.lock().iter().map(String::as_str), &lease)
            }
            _ => Vec::new(),
        };
        let mut details =
            serde_json::json!({ "exit_code": status.and_then(|status| status.code()) });
        let mut what = what.to_owned();
        if !missing.is_empty() {
            let names = missing.join(", ");
            what.push_str(&format!(
                "; its lease does not cover what it complains of: {names}"
            ));
            details["missing_grants"] = missing.into();
        }
        failed(subject, &what).with_details(RawJson::of(&details).unwrap_or(RawJson::NULL))
    }
}

/// Words of programs for a file they may not have, in the C locale.
const NO_FILE: [&str; 4] = [
    "permission denied",
    "no such file",
    "operation not permitted",
    "eacces",
];

/// Words for a file they may not change.
const NO_CHANGE: [&str; 5] = [
    "read-only file system",
    "cannot create",
    "cannot touch",
    "cannot remove",
    "can't create",
];

/// Words for a network they do not have.
const NO_NETWORK: [&str; 6] = [
    "could not resolve",
    "name resolution",
    "network is unreachable",
    "name or service not known",
    "getaddrinfo",
    "enotfound",
];

/// What every program may read.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/dev", "/proc"];

/// The grants that would have covered what a program complains of, as one writes them: `fs.read=/etc/shadow`.
fn missing<'l>(complaints: impl IntoIterator<Item = &'l str>, lease: &LeaseSet) -> Vec<String> {
    let mut missing = Vec::new();
    for line in complaints {
        let lower = line.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if says(&NO_NETWORK) {
            missing.push(format!("{}=…", namespace::NET_FETCH));
        }
        let changes = says(&NO_CHANGE);
        if changes || says(&NO_FILE) {
            missing.extend(paths(line).filter_map(|path| uncovered(path, changes, lease)));
        }
    }
    missing.sort_unstable();
    missing.dedup();
    missing
}

fn uncovered(path: &str, changes: bool, lease: &LeaseSet) -> Option<String> {
    let has = |namespace| lease.check(namespace, path).is_allowed();
    let wanted = match (has(namespace::FS_READ), has(namespace::FS_WRITE)) {
        (_, true) => return None,
        // What it may read and does not find is not there.
        (true, false) if !changes => return None,
        (true, false) => namespace::FS_WRITE,
        (false, false) if changes => namespace::FS_WRITE,
        (false, false) => namespace::FS_READ,
    };
    Some(format!("{wanted}={path}"))
}

/// The absolute paths that a complaint names, those of the system aside.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| {
        c.is_whitespace() || matches!(c, '\'' | '"' | '`' | ',' | ';' | '(' | ')' | '‘' | '’')
    };
    let words = line.split(ends);
    words
        .map(|word| word.trim_end_matches([':', '.']))
        .filter(|word| word.len() > 1 && word.starts_with('/'))
        .filter(|word| {
            !SYSTEM.iter().any(|place| {
                let rest = word.strip_prefix(place);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        })
}

#[cfg(test)]
mod tests {
    use towline_wire::Lease;

    use super::*;

    #[test]
    fn complaints_name_what_is_missing() {
        let lease: Lease = [("fs.read", "/work/**"), ("fs.write", "/out/**")]
            .into_iter()
            .collect();
        let lease = LeaseSet::compile(&lease).unwrap();
        let table = [
            ("cat: /etc/shadow: Permission denied", "fs.read=/etc/shadow"),
            (
                "PermissionError: [Errno 13] Permission denied: '/data/x'",
                "fs.read=/data/x",
            ),
            (
                "sh: 1: cannot create /work/new: Permission denied",
                "fs.write=/work/new",
            ),
            (
                "touch: cannot touch '/work/a b': Read-only file system",
                "fs.write=/work/a",
            ),
            (
                "curl: (6) Could not resolve host: example.com",
                "net.fetch=…",
            ),
            ("cat: /work/typo: No such file or directory", ""),
            ("cat: /out/typo: No such file or directory", ""),
            ("sh: 1: /usr/bin/nothing: not found", ""),
            ("/etc/passwd is fine", ""),
        ];
        for (line, expected) in table {
            assert_eq!(missing([line], &lease).join(" "), expected, "{line}");
        }
    }
}
