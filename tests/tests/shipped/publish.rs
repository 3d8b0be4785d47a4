//! Whether the crates can be published as they are. That cargo packs them is a step of `.ci/run`; this is what packing does
//! not notice: what a page of the registry lacks, and files that a package would leave behind.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The most keywords and categories that a registry takes of a crate.
const AT_MOST: usize = 5;

fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The members that are published.
fn published() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--locked", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    // `publish = false` is an empty list of registries.
    let is_published = |package: &&Value| package["publish"].is_null();
    packages.iter().filter(is_published).cloned().collect()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().expect("a package has a name")
}

#[test]
fn a_page_of_the_registry_says_what_a_crate_is() {
    let published = published();
    assert_eq!(published.len(), 15, "crates that are published");
    for package in &published {
        let name = name(package);
        for key in [
            "description",
            "license",
            "rust_version",
            "documentation",
            "readme",
        ] {
            assert!(package[key].is_string(), "{name} has no {key}");
        }
        for key in ["keywords", "categories"] {
            let count = package[key].as_array().map_or(0, Vec::len);
            assert!((1..=AT_MOST).contains(&count), "{name} has {count} {key}");
        }
        assert_eq!(
            package["metadata"]["docs"]["rs"]["all-features"], true,
            "{name}: docs.rs would leave out what stands behind features"
        );
        let manifest = Path::new(
            package["manifest_path"]
                .as_str()
                .expect("it has a manifest"),
        );
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            let path = manifest.with_file_name(file);
            let text = fs::read_to_string(&path);
            assert!(
                text.is_ok_and(|text| !text.is_empty()),
                "{}",
                path.display()
            );
        }
    }
}

/// A registry knows no paths: what others of ours a crate is built from, it names by version, and they are published too. For
/// tests a path is enough.
#[test]
fn ours_are_named_by_their_version() {
    let published = published();
    for package in &published {
        let dependencies = package["dependencies"].as_array().expect("a list");
        let ours = dependencies
            .iter()
            .filter(|dependency| dependency["path"].is_string());
        for dependency in ours.filter(|dependency| dependency["kind"] != "dev") {
            let other = name(dependency);
            let Some(other_package) = published.iter().find(|package| name(package) == other)
            else {
                panic!("{} needs {other}, which is not published", name(package));
            };
            let wanted = dependency["req"].as_str().expect("a requirement");
            let version = other_package["version"].as_str().expect("a version");
            assert_eq!(
                wanted,
                format!("^{version}"),
                "{} needs {other}",
                name(package)
            );
        }
    }
}

/// Files that stand outside a crate's directory are not in its package. Tests may include them, for nobody runs the tests of a
/// package.
#[test]
fn nothing_is_included_from_outside_a_crate() {
    for package in &published() {
        let manifest = Path::new(
            package["manifest_path"]
                .as_str()
                .expect("it has a manifest"),
        );
        let source = manifest.with_file_name("src");
        each_file(&source, &mut |path, text| {
            let outside = text.match_indices("include_").filter(|(at, _)| {
                let rest = text[*at..].lines().next().unwrap_or_default();
                let up = rest.matches("../").count();
                // The file's own directory counts from the crate's.
                let depth = path
                    .strip_prefix(&source)
                    .map_or(0, |inner| inner.components().count());
                up > depth
            });
            for (at, _) in outside {
                let before = &text[..at];
                let in_test = before.contains("#[cfg(test)]")
                    || before
                        .trim_end()
                        .lines()
                        .rev()
                        .take(3)
                        .any(|line| line.contains("doctest"));
                assert!(
                    in_test,
                    "{} includes what its package lacks",
                    path.display()
                );
            }
        });
    }
}

fn each_file(directory: &Path, visit: &mut impl FnMut(&Path, &str)) {
    let entries = fs::read_dir(directory).expect("a source directory can be read");
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            each_file(&path, visit);
        } else if path.extension().is_some_and(|end| end == "rs") {
            visit(
                &path,
                &fs::read_to_string(&path).expect("a source can be read"),
            );
        }
    }
}
