//! The files of a lease as the kernel can be told them: whole trees and single files, held open.

use towline_proto::lease::LeaseSet;
use towline_wire::{Lease, namespace};

use crate::confine::{Access, Place};

#[derive(Debug, Default)]
pub(crate) struct Grants {
    pub(crate) places: Vec<(Place, Access)>,
    /// Patterns that are neither a tree nor a file, with their namespace.
    pub(crate) left_out: Vec<String>,
}

impl Grants {
    pub(crate) fn of(set: &LeaseSet, lease: &Lease) -> Self {
        let mut grants = Self::default();
        for (namespace, access) in [
            (namespace::FS_READ, Access::Read),
            (namespace::FS_WRITE, Access::Write),
        ] {
            for pattern in lease.patterns(namespace) {
                match place_of(set, namespace, pattern) {
                    Some(place) => grants.places.push((place, access)),
                    None => grants.left_out.push(format!("{namespace}={pattern}")),
                }
            }
        }
        grants
    }
}

/// The place whose tree (or which, being a file) is just what the pattern covers. Links are resolved, and what they lead to
/// has to be covered by the lease as well: it is asked about what is open.
fn place_of(set: &LeaseSet, namespace: &str, pattern: &str) -> Option<Place> {
    let (prefix, tree) = match pattern.strip_suffix("/**") {
        Some(prefix) => (prefix, true),
        None => (pattern, false),
    };
    if prefix.contains(['*', '?', '[', ']', '{', '}', '\\']) {
        return None;
    }
    let place = Place::open(if prefix.is_empty() { "/" } else { prefix }).ok()?;
    let text = place.path().to_str()?;
    // To the kernel a directory means all of its tree; a pattern without `/**` means the directory alone.
    if !tree && place.is_directory() {
        return None;
    }
    let covered = if tree && place.is_directory() {
        let below = format!("{}/**", escaped(text.trim_end_matches('/')));
        let child = LeaseSet::compile(&Lease::new().with(namespace, below)).ok()?;
        set.contains(&child).is_ok()
    } else {
        set.check(namespace, text).is_allowed()
    };
    covered.then_some(place)
}

fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ',') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn grant(patterns: &[String]) -> (Vec<PathBuf>, Vec<String>) {
        let lease: Lease = patterns
            .iter()
            .map(|pattern| (namespace::FS_READ, pattern.as_str()))
            .collect();
        let grants = Grants::of(&LeaseSet::compile(&lease).unwrap(), &lease);
        let places = grants.places.iter();
        let paths = places.map(|(place, _)| place.path().to_owned());
        (paths.collect(), grants.left_out)
    }

    /// What the kernel is told is never more than what the lease says.
    #[test]
    fn only_trees_and_files_reach_the_kernel() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::create_dir_all(root.join("secret")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let at = |rest: &str| format!("{}/{rest}", root.display());
        assert_eq!(grant(&[at("a/**")]).0, [root.join("a")]);
        assert_eq!(grant(&[at("file")]).0, [root.join("file")]);
        for inexact in [at("a"), at("*"), at("a/*"), at("**/x"), at("missing/**")] {
            let (told, left_out) = grant(std::slice::from_ref(&inexact));
            assert!(told.is_empty(), "{inexact}");
            assert_eq!(left_out, [format!("fs.read={inexact}")]);
        }
        std::os::unix::fs::symlink(root.join("secret"), root.join("link")).unwrap();
        assert!(grant(&[at("link/**")]).0.is_empty());
        assert_eq!(grant(&[at("link/**"), at("secret/**")]).0.len(), 2);
    }
}
