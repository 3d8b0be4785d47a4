//! The file itself: where it is, what is wrong in it, and the values it is made of.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    failure::{Failure, Outcome},
    guard,
    values::Span,
};

/// Where the file is: what paths in it count from, and what errors name.
#[derive(Debug, Clone, Default)]
pub(crate) struct File(pub(super) PathBuf);

impl File {
    /// The first line of a file that holds a secret.
    pub(crate) fn secret(&self, key: &str, file: &Path) -> Outcome<String> {
        let path = self.path(file);
        guard::given_secret(&path)?;
        first_line(&path).map_err(|error| {
            self.wrong(
                key,
                &format!("names `{}`, which cannot be used: {error}", path.display()),
            )
        })
    }

    /// A path of the file, counted from the file's directory.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.0.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A value of the file that is wrong.
    pub(crate) fn wrong(&self, key: &str, message: &str) -> Failure {
        Failure::usage(format!("{}: `{key}` {message}", self.0.display()))
    }

    /// A value that has to read as something.
    pub(super) fn checked<T>(
        &self,
        key: &str,
        value: &Option<String>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Outcome<()> {
        let Some(text) = value else { return Ok(()) };
        check(text)
            .map(drop)
            .map_err(|message| self.wrong(key, &format!("is wrong: {message}")))
    }

    /// A span that has to read as one.
    pub(super) fn span(
        &self,
        key: &str,
        value: Option<&SpanValue>,
        check: impl Fn(&str) -> Result<Span, String>,
    ) -> Outcome<()> {
        self.checked(key, &value.map(SpanValue::text), check)
    }
}

/// A time span: `"10s"`, or a number of seconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum SpanValue {
    Text(String),
    Whole(i64),
    Fraction(f64),
}

impl SpanValue {
    /// What it comes to, when it reads as a span.
    pub(super) fn span(&self) -> Option<Span> {
        self.text().parse().ok()
    }

    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Whole(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
        }
    }
}

/// A file's first line, without the line break.
pub(crate) fn first_line(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    // Editors of some systems begin a file with a mark.
    let text = text.trim_start_matches('\u{feff}');
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err("its first line is empty".to_owned()),
    }
}
