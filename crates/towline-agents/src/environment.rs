//! What an agent's process sees of the environment: what it was given, and nothing else of the runtime's own, which holds
//! secrets that are nobody's business (tokens, collectors' keys).

use std::fmt;

/// What every process gets as the runtime has it: where programs are, and how to write and tell the time.
const ALWAYS: [&str; 3] = ["PATH", "LANG", "TZ"];

/// Where programs are looked for when the runtime itself has no `PATH`.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names that begin so are never passed on: the program's own settings and its collector's, secrets among them.
const NEVER: [&str; 2] = ["TOWLINE_", "OTEL_"];

/// Whether a variable of the runtime's environment may be passed on to agents' processes at all: not those of towline and
/// of OpenTelemetry (`TOWLINE_*`, `OTEL_*`), which hold tokens and headers.
pub fn may_pass(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    !NEVER.iter().any(|prefix| upper.starts_with(prefix))
}

/// The environment of a process, being put together.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    set: Vec<(String, String)>,
    pass: Vec<String>,
}

impl Environment {
    /// A value of its own; the last one of a name counts.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.set.push((name.into(), value.into()));
    }

    /// The runtime's own value, where it has one and may pass it on.
    pub(crate) fn pass(&mut self, name: impl Into<String>) {
        self.pass.push(name.into());
    }

    /// All of it, with what `runtime` says of the runtime's own.
    pub(crate) fn variables(
        &self,
        runtime: impl Fn(&str) -> Option<String>,
    ) -> Vec<(String, String)> {
        let passed = ALWAYS
            .into_iter()
            .chain(self.pass.iter().map(String::as_str))
            .filter(|name| may_pass(name))
            .filter_map(|name| Some((name.to_owned(), runtime(name)?)));
        let path = ("PATH".to_owned(), PATH.to_owned());
        std::iter::once(path)
            .chain(passed)
            .chain(self.set.iter().cloned())
            .collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        let set: Vec<_> = self.set.iter().map(|(name, _)| name).collect();
        f.debug_struct("Environment")
            .field("set", &set)
            .field("pass", &self.pass)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Nothing of the runtime's environment but the three, what is passed by name, and never a secret of ours.
    #[test]
    fn only_what_was_named_is_passed_on() {
        let ours = BTreeMap::from([
            ("PATH", "/bin"),
            ("TZ", "UTC"),
            ("HOME", "/root"),
            ("AWS_SECRET", "s"),
            ("PROXY", "p"),
            ("TOWLINE_TOKENS", "alice:s"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "key=s"),
        ]);
        let mut environment = Environment::default();
        environment.set("MODE", "x");
        for name in [
            "PROXY",
            "MISSING",
            "TOWLINE_TOKENS",
            "otel_exporter_otlp_headers",
        ] {
            environment.pass(name);
        }
        let seen: BTreeMap<_, _> = environment
            .variables(|name| ours.get(name).map(|value| (*value).to_owned()))
            .into_iter()
            .collect();
        let seen: Vec<_> = seen
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(
            seen,
            [
                ("MODE", "x"),
                ("PATH", "/bin"),
                ("PROXY", "p"),
                ("TZ", "UTC")
            ]
        );
        assert!(!format!("{environment:?}").contains("\"x\""));
    }
}
