//! The namespaces of a lease and the kind of value each holds [ARCP 9.2-1].

use towline_wire::namespace;

/// What the values of a namespace are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Absolute POSIX paths: `fs.read`, `fs.write`.
    Path,
    /// URLs: `net.fetch`.
    Url,
    /// Dotted names: `tool.call`, `model.use`, `x-vendor.*`.
    Name,
    /// `name` or `name@version`: `agent.delegate`.
    Agent,
}

impl Kind {
    /// The kind of a namespace that holds patterns; `None` for `cost.budget` and for unknown ones.
    pub fn of(namespace: &str) -> Option<Self> {
        match namespace {
            namespace::FS_READ | namespace::FS_WRITE => Some(Self::Path),
            namespace::NET_FETCH => Some(Self::Url),
            namespace::TOOL_CALL | namespace::MODEL_USE => Some(Self::Name),
            namespace::AGENT_DELEGATE => Some(Self::Agent),
            vendor => is_vendor(vendor).then_some(Self::Name),
        }
    }
}

/// Whether the namespace is a vendor's: `x-vendor.` and at least one more character.
fn is_vendor(namespace: &str) -> bool {
    let name = namespace.strip_prefix("x-vendor.");
    name.is_some_and(|name| {
        !name.is_empty() && !name.contains(|char: char| char.is_control() || char.is_whitespace())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 9.2-1] The reserved namespaces and vendors' are known; nothing else is.
    #[test]
    fn namespaces_have_kinds() {
        for reserved in namespace::RESERVED {
            assert_eq!(
                Kind::of(reserved).is_none(),
                reserved == namespace::COST_BUDGET,
                "{reserved}"
            );
        }
        assert_eq!(Kind::of("x-vendor.acme.database"), Some(Kind::Name));
        for unknown in [
            "",
            "fs",
            "fs.delete",
            "FS.READ",
            "x-vendor",
            "x-vendor.",
            "x-vendor.a b",
            "xvendor.a",
        ] {
            assert_eq!(Kind::of(unknown), None, "{unknown}");
        }
    }
}
