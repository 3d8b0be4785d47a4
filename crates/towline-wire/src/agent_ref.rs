//! `name` or `name@version` (§7.5).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::read::{excerpt, parsed};

/// Why a text is not an agent reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an agent: a name is [a-z0-9][a-z0-9._-]*, optionally followed by @ and a version [a-zA-Z0-9.+_-]+"
)]
pub struct AgentRefError {
    text: String,
}

/// The name of an agent, `[a-z0-9][a-z0-9._-]*`.
pub type AgentName = str;

/// An agent, by name or by name and version [ARCP 7.5-1].
///
/// ```
/// use towline_wire::AgentRef;
///
/// let agent = AgentRef::parse("code-review@2.1.0")?;
/// assert_eq!((agent.name(), agent.version()), ("code-review", Some("2.1.0")));
/// assert!(AgentRef::parse("Code Review").is_err());
/// # Ok::<(), towline_wire::AgentRefError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentRef {
    name: Box<str>,
    version: Option<Box<str>>,
}

impl AgentRef {
    /// Reads `name` or `name@version`.
    ///
    /// # Errors
    /// [`AgentRefError`] when either part breaks its grammar or is longer than 256 bytes.
    pub fn parse(text: &str) -> Result<Self, AgentRefError> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let valid = text.len() <= 256 && is_name(name) && version.is_none_or(is_version);
        if valid {
            Ok(Self {
                name: name.into(),
                version: version.map(Into::into),
            })
        } else {
            Err(AgentRefError {
                text: excerpt(text),
            })
        }
    }

    /// The same name with a version.
    ///
    /// # Errors
    /// [`AgentRefError`] when the version breaks its grammar.
    pub fn with_version(&self, version: &str) -> Result<Self, AgentRefError> {
        Self::parse(&format!("{}@{version}", self.name))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version, when the reference has one.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

fn is_name(text: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let rest = |byte: u8| first(byte) || matches!(byte, b'.' | b'_' | b'-');
    text.bytes().next().is_some_and(first) && text.bytes().all(rest)
}

fn is_version(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'_' | b'-');
    !text.is_empty() && text.bytes().all(allowed)
}

impl fmt::Display for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.version
            .as_ref()
            .map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

impl fmt::Debug for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for AgentRef {
    type Err = AgentRefError;

    fn from_str(text: &str) -> Result<Self, AgentRefError> {
        Self::parse(text)
    }
}

impl Serialize for AgentRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AgentRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, Self::parse)
    }
}
