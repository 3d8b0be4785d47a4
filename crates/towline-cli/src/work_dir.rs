//! The directory that a job works in: `run --dir`.

use std::{collections::BTreeMap, path::Path, str::FromStr};

use serde::de::IgnoredAny;
use towline::wire::{RawJson, namespace};

use crate::values::{Grant, is_literal};

/// An absolute directory, whose name means nothing else in a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkDir(String);

impl FromStr for WorkDir {
    type Err = String;

    /// One that is here is named as it is, without links and steps up; any other may be a server's, and is named as it stands.
    fn from_str(text: &str) -> Result<Self, String> {
        let path = std::fs::canonicalize(text).or_else(|_| std::path::absolute(text));
        let path =
            path.map_err(|error| format!("`{text}` cannot be read as a directory: {error}"))?;
        if path.is_file() {
            return Err(format!("`{text}` is a file; give the directory to work in"));
        }
        let named = path.to_str().filter(|named| is_literal(named));
        let named = named.ok_or_else(|| {
            format!(
                "`{}` has characters that mean something in patterns; write --lease and the input's `cwd` out",
                Path::new(text).display()
            )
        })?;
        Ok(Self(named.to_owned()))
    }
}

impl WorkDir {
    /// What the job may do there.
    pub(crate) fn grants(&self) -> [Grant; 2] {
        let pattern = format!("{}/**", self.0.trim_end_matches('/'));
        [namespace::FS_READ, namespace::FS_WRITE].map(|namespace| Grant {
            namespace: namespace.to_owned(),
            pattern: pattern.clone(),
        })
    }

    /// An input with the directory as its `cwd`, and the rest as it was written. A text is what a coding agent is told.
    pub(crate) fn named_in(&self, input: Option<RawJson>) -> Result<RawJson, String> {
        let cwd = serde_json::Value::from(self.0.as_str());
        let text = input.as_ref().map_or("{}", RawJson::as_str).trim();
        let named = if text.starts_with('"') {
            format!(r#"{{"cwd":{cwd},"prompt":{text}}}"#)
        } else if let Some(rest) = text.strip_prefix('{') {
            let members: BTreeMap<String, IgnoredAny> =
                serde_json::from_str(text).map_err(|error| error.to_string())?;
            if members.contains_key("cwd") {
                return Err("the input says `cwd` itself; leave it out, or --dir".to_owned());
            }
            let comma = if members.is_empty() { "" } else { "," };
            format!(r#"{{"cwd":{cwd}{comma}{rest}"#)
        } else {
            return Err(format!(
                "--dir puts `cwd` into the input, which has to be an object or a text, not `{text}`"
            ));
        };
        RawJson::parse(named).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(input: Option<&str>) -> Result<String, String> {
        let input = input.map(|text| RawJson::parse(text).unwrap());
        let named = WorkDir("/srv/a b".to_owned()).named_in(input)?;
        Ok(named.as_str().to_owned())
    }

    #[test]
    fn an_input_gets_its_directory_and_stays_as_it_was() {
        for (input, wanted) in [
            (None, r#"{"cwd":"/srv/a b"}"#),
            (Some("{ }"), r#"{"cwd":"/srv/a b" }"#),
            (Some(r#"{"n":1E5}"#), r#"{"cwd":"/srv/a b","n":1E5}"#),
            (
                Some(r#""mend it""#),
                r#"{"cwd":"/srv/a b","prompt":"mend it"}"#,
            ),
        ] {
            assert_eq!(named(input).unwrap(), wanted);
        }
        for refused in ["[1]", "null", "3", r#"{"cwd":"/"}"#] {
            assert!(named(Some(refused)).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_directory_is_named_as_it_is() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        let dir: WorkDir = "src/..".parse().unwrap();
        let patterns = dir.grants().map(|grant| grant.pattern);
        assert_eq!(patterns[0], format!("{}/**", here.display()));
        assert_eq!(patterns[0], patterns[1]);
        let root: WorkDir = "/".parse().unwrap();
        assert_eq!(root.grants()[0].pattern, "/**");
        let elsewhere: WorkDir = "/not/here".parse().unwrap();
        assert_eq!(elsewhere.0, "/not/here");
        assert!("Cargo.toml".parse::<WorkDir>().is_err());
        assert!("/a*b".parse::<WorkDir>().is_err());
    }
}
