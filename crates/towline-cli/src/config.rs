//! `towline.toml`: read, checked, never guessed at.
//!
//! Every key that is not known is an error that names the nearest known one; every value that is wrong is an error that
//! names the file, the key, the value and the remedy. Paths in the file count from the file's directory.

mod credentials;
mod keys;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    failure::{Failure, Outcome},
    values::{self, PrincipalToken, Span},
};

/// The file's name when none is given.
pub(crate) const DEFAULT_FILE: &str = "towline.toml";

/// What `towline.toml` says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// `[server]`
    pub(crate) server: ServerSection,
    /// `[auth]`
    pub(crate) auth: AuthSection,
    /// `[store]`
    pub(crate) store: StoreSection,
    /// `[credentials]`
    pub(crate) credentials: credentials::CredentialsSection,
    /// `[agents.NAME]`
    pub(crate) agents: BTreeMap<String, AgentSection>,
    /// The file itself, for messages.
    #[serde(skip)]
    pub(crate) file: PathBuf,
}

/// `[server]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServerSection {
    pub(crate) listen: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) allowed_hosts: Option<Vec<String>>,
    pub(crate) allowed_origins: Option<Vec<String>>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) heartbeat: Option<SpanValue>,
    pub(crate) resume_window: Option<SpanValue>,
    pub(crate) hello_timeout: Option<SpanValue>,
    pub(crate) drain: Option<SpanValue>,
    pub(crate) demo: Option<bool>,
    pub(crate) dashboard: Option<bool>,
    pub(crate) dashboard_connect: Option<Vec<String>>,
    pub(crate) limits: LimitsSection,
}

/// `[server.limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LimitsSection {
    pub(crate) sessions_per_principal: Option<u32>,
    pub(crate) jobs_per_principal: Option<u32>,
    pub(crate) jobs: Option<u32>,
    pub(crate) message_bytes: Option<u32>,
}

/// `[auth]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AuthSection {
    pub(crate) tokens: Vec<TokenSection>,
    pub(crate) jwt: Option<JwtSection>,
}

/// `[[auth.tokens]]`
#[derive(Deserialize)]
pub(crate) struct TokenSection {
    principal: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    token_file: Option<PathBuf>,
}

impl std::fmt::Debug for TokenSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:[redacted]", self.principal)
    }
}

/// `[auth.jwt]`: one of `secret_file`, `public_key_file`, `jwks_file`, `jwks_url`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JwtSection {
    pub(crate) secret_file: Option<PathBuf>,
    pub(crate) public_key_file: Option<PathBuf>,
    pub(crate) jwks_file: Option<PathBuf>,
    pub(crate) jwks_url: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) principal_claim: Option<String>,
}

/// `[store]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StoreSection {
    pub(crate) sqlite: Option<PathBuf>,
    pub(crate) memory: Option<bool>,
    pub(crate) durability: Option<String>,
    pub(crate) retention: RetentionSection,
}

/// `[store.retention]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RetentionSection {
    pub(crate) age: Option<SpanValue>,
    pub(crate) jobs: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) audit_age: Option<SpanValue>,
    pub(crate) audit_rows: Option<u64>,
}

/// `[agents.NAME]`
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentSection {
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) protocol: Option<String>,
    #[serde(default)]
    pub(crate) version: Option<String>,
    #[serde(default)]
    pub(crate) cwd: Option<PathBuf>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) token_file: Option<PathBuf>,
}

/// A time span: `"10s"`, or a number of seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum SpanValue {
    Text(String),
    Whole(i64),
    Fraction(f64),
}

impl SpanValue {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Whole(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
        }
    }
}

impl Config {
    /// Reads the given file; or `towline.toml` of this directory if it is there; else there is nothing in it.
    pub(crate) fn load(given: Option<&Path>) -> Outcome<Self> {
        let file = given.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && given.is_none() => {
                return Ok(Self::default());
            }
            Err(error) => {
                let message = format!(
                    "cannot read the configuration file `{}`: {error}",
                    file.display()
                );
                return Err(Failure::usage(message)
                    .help("name another with --config, or leave --config out"));
            }
        };
        Self::parse(&text, file)
    }

    fn parse(text: &str, file: &Path) -> Outcome<Self> {
        let refuse = |error: toml::de::Error| {
            Failure::usage(format!(
                "{}: {}",
                file.display(),
                error.to_string().trim_end()
            ))
        };
        let table: toml::Table = text.parse().map_err(refuse)?;
        keys::check(&table)
            .map_err(|message| Failure::usage(format!("{}: {message}", file.display())))?;
        let mut config: Self = toml::from_str(text).map_err(refuse)?;
        config.file = file.to_owned();
        config.validate()?;
        Ok(config)
    }

    /// Everything that can be seen to be wrong without touching anything but the file.
    fn validate(&self) -> Outcome<()> {
        let server = &self.server;
        self.checked("server.listen", &server.listen, values::listen_address)?;
        self.checked("server.path", &server.path, values::endpoint_path)?;
        self.span(
            "server.heartbeat",
            server.heartbeat.as_ref(),
            values::heartbeat,
        )?;
        self.span(
            "server.resume_window",
            server.resume_window.as_ref(),
            str::parse,
        )?;
        self.span(
            "server.hello_timeout",
            server.hello_timeout.as_ref(),
            values::positive_span,
        )?;
        self.span("server.drain", server.drain.as_ref(), str::parse)?;
        let retention = &self.store.retention;
        for (key, span) in [("age", &retention.age), ("audit_age", &retention.audit_age)] {
            let key = format!("store.retention.{key}");
            self.span(&key, span.as_ref(), values::positive_span)?;
        }
        self.validate_credentials()?;
        if server.tls_cert.is_some() != server.tls_key.is_some() {
            return Err(self.wrong(
                "server.tls_cert",
                "needs server.tls_key and the other way round; give both or neither",
            ));
        }
        if self.store.sqlite.is_some() && self.store.memory == Some(true) {
            return Err(self.wrong(
                "store.memory",
                "and store.sqlite exclude each other; keep one",
            ));
        }
        self.checked("store.durability", &self.store.durability, durability)?;
        if let Some(jwt) = &self.auth.jwt {
            let given = [&jwt.secret_file, &jwt.public_key_file, &jwt.jwks_file]
                .into_iter()
                .flatten()
                .count()
                + usize::from(jwt.jwks_url.is_some());
            if given != 1 {
                return Err(self.wrong(
                    "auth.jwt",
                    "needs exactly one of secret_file, public_key_file, jwks_file, jwks_url",
                ));
            }
        }
        for (name, agent) in &self.agents {
            let key = format!("agents.{name}");
            towline::wire::AgentRef::parse(name)
                .ok()
                .filter(|agent| agent.version().is_none())
                .ok_or_else(|| {
                    self.wrong(
                        &key,
                        "is not an agent's name; use lower-case letters, digits and . _ -",
                    )
                })?;
            if agent.command.first().is_none_or(String::is_empty) {
                return Err(self.wrong(
                    &format!("{key}.command"),
                    "is empty; write the program and its arguments as a list",
                ));
            }
            self.checked(&format!("{key}.protocol"), &agent.protocol, protocol)?;
        }
        Ok(())
    }

    /// A span of the file, checked before.
    pub(crate) fn span_of(value: Option<&SpanValue>) -> Option<Span> {
        value.and_then(|value| value.text().parse().ok())
    }

    /// The tokens of the file, with those that stand in files of their own.
    pub(crate) fn tokens(&self) -> Outcome<Vec<PrincipalToken>> {
        self.auth
            .tokens
            .iter()
            .enumerate()
            .map(|(index, section)| self.token(index, section))
            .collect()
    }

    fn token(&self, index: usize, section: &TokenSection) -> Outcome<PrincipalToken> {
        let key = format!("auth.tokens[{index}]");
        let token = match (&section.token, &section.token_file) {
            (Some(token), None) => token.clone(),
            (None, Some(file)) => self.secret(&format!("{key}.token_file"), file)?,
            _ => return Err(self.wrong(&key, "needs exactly one of token and token_file")),
        };
        if section.principal.is_empty() || token.is_empty() {
            return Err(self.wrong(&key, "needs a principal and a token that are not empty"));
        }
        Ok(PrincipalToken {
            principal: section.principal.clone(),
            token,
        })
    }

    /// The first line of a file that holds a secret.
    pub(crate) fn secret(&self, key: &str, file: &Path) -> Outcome<String> {
        let path = self.path(file);
        first_line(&path).map_err(|error| {
            self.wrong(
                key,
                &format!("names `{}`, which cannot be used: {error}", path.display()),
            )
        })
    }

    /// A path of the file, counted from the file's directory.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A value of the file that is wrong.
    pub(crate) fn wrong(&self, key: &str, message: &str) -> Failure {
        Failure::usage(format!("{}: `{key}` {message}", self.file.display()))
    }

    fn checked<T>(
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

    fn span(
        &self,
        key: &str,
        value: Option<&SpanValue>,
        check: impl Fn(&str) -> Result<Span, String>,
    ) -> Outcome<()> {
        self.checked(key, &value.map(SpanValue::text), check)
    }
}

/// A file's first line, without the line break.
pub(crate) fn first_line(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err("its first line is empty".to_owned()),
    }
}

fn durability(text: &str) -> Result<(), String> {
    match text {
        "process" | "power" => Ok(()),
        other => Err(format!(
            "`{other}` is not a durability; write process (survives kill -9) or power (survives a power cut)"
        )),
    }
}

fn protocol(text: &str) -> Result<(), String> {
    match text {
        "arcp" | "exec" => Ok(()),
        other => Err(format!(
            "`{other}` is not a protocol; write arcp (the child speaks ARCP over stdio) or exec (a plain command)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Outcome<Config> {
        Config::parse(text, Path::new("conf/towline.toml"))
    }

    #[track_caller]
    fn refused(text: &str, parts: &[&str]) {
        let failure = parse(text).expect_err(text);
        assert_eq!(failure.status(), crate::exit::USAGE);
        let message = failure.to_string();
        assert!(message.starts_with("conf/towline.toml: "), "{message}");
        for part in parts {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }

    #[test]
    fn a_full_file_reads() {
        let config = parse(
            r#"
            [server]
            listen = "127.0.0.1:0"
            path = "/agents"
            allowed_hosts = ["arcp.example"]
            heartbeat = 15
            resume_window = "10m"
            drain = 0.5
            [server.limits]
            jobs = 500
            [[auth.tokens]]
            principal = "alice"
            token = "s3cret"
            [store]
            sqlite = "data/t.db"
            durability = "power"
            retention = { age = "30d", jobs = 1000, audit_age = "365d", audit_rows = 5000 }
            [credentials.litellm]
            url = "https://llm.example"
            key_file = "litellm.key"
            models = ["gpt-4o"]
            lifetime = "1h"
            [agents.review]
            command = ["python3", "review_agent.py"]
            protocol = "arcp"
            env = { MODE = "fast" }
            "#,
        )
        .unwrap();
        assert_eq!(
            Config::span_of(config.server.heartbeat.as_ref())
                .unwrap()
                .0
                .as_secs(),
            15
        );
        assert_eq!(
            Config::span_of(config.server.drain.as_ref())
                .unwrap()
                .0
                .as_millis(),
            500
        );
        assert_eq!(config.tokens().unwrap()[0].principal, "alice");
        assert_eq!(
            config.path(Path::new("data/t.db")),
            Path::new("conf/data/t.db")
        );
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn unknown_keys_name_the_nearest_one() {
        refused(
            "[server]\nlisten_on = \"x\"",
            &["`server.listen_on`", "listen"],
        );
        refused("[sever]", &["`sever`", "did you mean `server`"]);
        refused(
            "[store]\nsqllite = \"x\"",
            &["`store.sqllite`", "did you mean `sqlite`"],
        );
        refused(
            "[agents.a]\ncomand = []",
            &["`agents.a.comand`", "did you mean `command`"],
        );
        refused(
            "[[auth.tokens]]\nprincpal = \"a\"",
            &["`auth.tokens[0].princpal`", "did you mean `principal`"],
        );
        refused(
            "[server.limits]\njob = 1",
            &["`server.limits.job`", "did you mean `jobs`"],
        );
    }

    #[test]
    fn wrong_values_name_key_value_and_remedy() {
        refused(
            "[server]\nlisten = \"nowhere\"",
            &["`server.listen`", "`nowhere`", "127.0.0.1:7777"],
        );
        refused(
            "[server]\nheartbeat = 0",
            &["`server.heartbeat`", "`0`", "at least 1"],
        );
        refused("[server]\nheartbeat = true", &["heartbeat"]);
        refused(
            "[server]\ntls_cert = \"c.pem\"",
            &["`server.tls_cert`", "server.tls_key"],
        );
        refused(
            "[store]\ndurability = \"disk\"",
            &["`store.durability`", "`disk`", "process", "power"],
        );
        refused("[agents.a]\ncommand = []", &["`agents.a.command`", "empty"]);
        refused(
            "[agents.a]\ncommand = [\"x\"]\nprotocol = \"grpc\"",
            &["`agents.a.protocol`", "`grpc`", "arcp"],
        );
        refused(
            "[agents.Bad]\ncommand = [\"x\"]",
            &["`agents.Bad`", "lower-case"],
        );
        refused("[auth.jwt]\nissuer = \"x\"", &["`auth.jwt`", "jwks_url"]);
        refused(
            "[store.retention]\naudit_age = \"never\"",
            &["`store.retention.audit_age`", "`never`"],
        );
        refused(
            "[credentials.litellm]\nurl = \"https://x\"\nkey_file = \"k\"\nlifetime = 0",
            &["`credentials.litellm.lifetime`", "`0`"],
        );
        refused("[credentials.litellm]\nurl = \"x\"", &["key_file"]);
        refused("[server\n", &["1"]);
    }

    #[test]
    fn secrets_may_stand_in_files() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("alice.token"), "s3cret\n").unwrap();
        let text = "[[auth.tokens]]\nprincipal = \"alice\"\ntoken_file = \"alice.token\"";
        let config = Config::parse(text, &directory.path().join("towline.toml")).unwrap();
        assert_eq!(config.tokens().unwrap()[0].token, "s3cret");
        let config =
            parse("[[auth.tokens]]\nprincipal = \"alice\"\ntoken_file = \"none\"").unwrap();
        let message = config.tokens().unwrap_err().to_string();
        assert!(
            message.contains("auth.tokens[0].token_file") && message.contains("conf/none"),
            "{message}"
        );
        let config = parse("[[auth.tokens]]\nprincipal = \"alice\"").unwrap();
        assert!(
            config
                .tokens()
                .unwrap_err()
                .to_string()
                .contains("exactly one of token and token_file")
        );
    }

    #[test]
    fn a_file_that_was_asked_for_has_to_be_there() {
        assert!(
            Config::load(Some(Path::new("/no/such/towline.toml")))
                .unwrap_err()
                .to_string()
                .contains("/no/such")
        );
    }
}
