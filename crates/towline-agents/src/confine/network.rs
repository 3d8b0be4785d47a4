//! What a door is to whoever does not hold it: what an order says of it, and what keeps a program to it.

use serde::{Deserialize, Serialize};

/// The number of a door in a network that has nothing else.
pub(super) const PORT: u16 = 3128;

/// What an order says of a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ordered {
    pub(super) port: u16,
    /// In the program's own network, where the launcher has to open it.
    pub(super) inside: bool,
}

/// What keeps a program that may connect to a door to that door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Network {
    /// A network of its own, in which nothing else is.
    Namespace,
    /// Landlock, which knows ports and not addresses.
    Port,
}
