//! Which database: a URL, read and checked, and never shown with its password.

use std::{fmt, net::IpAddr, path::Path, str::FromStr as _, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};
use towline_store::{Reason, StoreError};
use towline_transport::tls::Trust;

use crate::{options::PostgresOptions, password};

/// Where a store is: `postgres://user@host1,host2/database?sslmode=…`.
///
/// Several hosts are tried in their order until one takes writes. Beside what tokio-postgres knows there are `sslmode`
/// (`verify-full`, which is the default for hosts that are not this machine, and `disable`), `sslrootcert` (a file of
/// certificates to trust instead of the system's) and `schema` (where the tables are, `towline` by default).
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) config: Config,
    /// Whom to trust; `None` without TLS.
    pub(crate) trust: Option<Trust>,
    pub(crate) schema: String,
    shown: String,
}

impl Address {
    /// Reads a URL.
    pub(crate) fn parse(url: &str, options: &PostgresOptions) -> Result<Self, StoreError> {
        let shown = without_password(url);
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        if !base.starts_with("postgres://") && !base.starts_with("postgresql://") {
            return Err(bad(format!(
                "`{shown}` is no address of a PostgreSQL database; write postgres://USER@HOST/DATABASE"
            )));
        }
        let mut known = url::form_urlencoded::Serializer::new(String::new());
        let (mut mode, mut roots, mut schema) = (None, None, None);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" => roots = Some(value.into_owned()),
                "schema" => schema = Some(value.into_owned()),
                _ => drop(known.append_pair(&name, &value)),
            }
        }
        let text = format!("{base}?{}", known.finish().replace('+', "%20"));
        let mut config = Config::from_str(&text).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| error.to_string());
            bad(format!("`{shown}` cannot be read: {cause}"))
        })?;
        let trust = trust(&config, mode.as_deref(), roots.as_deref(), options, &shown)?;
        let schema = schema.unwrap_or_else(|| "towline".to_owned());
        if !is_plain(&schema) {
            return Err(bad(format!(
                "`{schema}` cannot be the schema; use small letters, digits and underscores"
            )));
        }
        if let Some(file) = &options.password_file
            && config.get_password().is_none()
            && let Some(password) = password::look_up(file, &config)?
        {
            config.password(password);
        }
        settle(&mut config, trust.is_some(), &schema);
        Ok(Self {
            config,
            trust,
            schema,
            shown,
        })
    }
}

/// What is the same for every connection.
fn settle(config: &mut Config, with_tls: bool, schema: &str) {
    let given = config.get_options().unwrap_or_default().to_owned();
    config.options(format!(
        "{given} -c search_path={schema} -c jit=off -c client_min_messages=warning"
    ));
    if config.get_application_name().is_none() {
        config.application_name("towline");
    }
    config
        .ssl_mode(if with_tls {
            SslMode::Require
        } else {
            SslMode::Disable
        })
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3)
        .tcp_user_timeout(Duration::from_secs(10));
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(5));
    }
}

fn trust(
    config: &Config,
    mode: Option<&str>,
    roots: Option<&str>,
    options: &PostgresOptions,
    shown: &str,
) -> Result<Option<Trust>, StoreError> {
    let here = config.get_hosts().iter().all(is_here)
        && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    match mode {
        None if here => Ok(None),
        Some("disable") if here || options.in_the_clear => Ok(None),
        Some("disable") => Err(bad(format!(
            "`{shown}` is not on this machine, and without TLS whoever is on the way reads and changes what is stored; \
             leave out sslmode=disable"
        ))),
        None | Some("require" | "verify-ca" | "verify-full") => match roots {
            None => Ok(Some(Trust::system())),
            Some(file) => {
                let failed = |cause: String| bad(format!("`sslrootcert={file}`: {cause}"));
                let pem = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
                let trust = Trust::nobody().with_pem(&pem);
                Ok(Some(trust.map_err(|error| failed(error.to_string()))?))
            }
        },
        Some(other) => Err(bad(format!(
            "`sslmode={other}` is not known; write verify-full or disable"
        ))),
    }
}

fn is_here(host: &Host) -> bool {
    match host {
        #[cfg(unix)]
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
    }
}

fn is_plain(schema: &str) -> bool {
    let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (1..=63).contains(&schema.len())
        && schema.chars().all(of_a_name)
        && !schema.starts_with(|c: char| c.is_ascii_digit())
        && !schema.starts_with("pg_")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

/// Whether a URL has a password in it.
pub fn has_password(url: &str) -> bool {
    let in_query = || {
        let query = url.split_once('?').map_or("", |(_, query)| query);
        url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "password")
    };
    user_of(url).is_some_and(|(_, user, _)| user.contains(':')) || in_query()
}

/// A URL as it may be shown.
pub fn without_password(url: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let base = match user_of(base) {
        Some((scheme, user, rest)) => {
            let user = user.split_once(':').map_or(user, |(name, _)| name);
            format!("{scheme}{user}@{rest}")
        }
        None => base.to_owned(),
    };
    let shown = query.split('&').filter(|pair| {
        let mut pairs = url::form_urlencoded::parse(pair.as_bytes());
        pairs.all(|(name, _)| name != "password")
    });
    let shown: Vec<&str> = shown.filter(|pair| !pair.is_empty()).collect();
    if shown.is_empty() {
        base
    } else {
        format!("{base}?{}", shown.join("&"))
    }
}

/// A URL up to its user, the user with a password if there is one, and what follows.
fn user_of(url: &str) -> Option<(&str, &str, &str)> {
    let (base, _) = url.split_once('?').unwrap_or((url, ""));
    let start = base.find("://")? + 3;
    let (user, _) = base[start..].rsplit_once('@')?;
    let after = start + user.len() + 1;
    Some((&url[..start], user, &url[after..]))
}

fn bad(text: String) -> StoreError {
    StoreError::Incompatible(text.into())
}

/// A file that cannot be used as it is.
pub(crate) fn bad_file(path: &Path, cause: impl fmt::Display) -> StoreError {
    StoreError::Incompatible(Reason::from(format!("`{}`: {cause}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Address, String> {
        Address::parse(url, &PostgresOptions::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://u:s3cret@h/d", "postgres://u@h/d"),
            ("postgres://u:s3@cret@h,i/d?a=b", "postgres://u@h,i/d?a=b"),
            ("postgres://u@h/d?password=s3cret", "postgres://u@h/d"),
            (
                "postgres://u@h/d?pass%77ord=s3cret&x=y",
                "postgres://u@h/d?x=y",
            ),
            ("postgres://h/d", "postgres://h/d"),
        ] {
            assert_eq!(without_password(url), shown);
            assert_eq!(has_password(url), url.contains("s3"), "{url}");
            assert!(!has_password(&without_password(url)));
        }
        let address = read("postgres://u:s3cret@localhost/d").unwrap();
        let shown = format!("{address} {address:?} {:?}", address.config);
        assert!(!shown.contains("s3cret"), "{shown}");
        let wrong = read("postgres://u:s3cret@localhost/d?nonsense=1").unwrap_err();
        assert!(
            wrong.contains("nonsense") && !wrong.contains("s3cret"),
            "{wrong}"
        );
    }

    #[test]
    fn other_machines_are_spoken_to_in_secret() {
        assert!(read("postgres://u@db.example/d").unwrap().trust.is_some());
        assert!(
            read("postgres://u@h1,h2/d?sslmode=require")
                .unwrap()
                .trust
                .is_some()
        );
        assert!(read("postgres://u@localhost/d").unwrap().trust.is_none());
        assert!(read("postgres://u@127.0.0.1,db/d").unwrap().trust.is_some());
        assert!(read("postgres://u@%2Frun%2Fpg/d").unwrap().trust.is_none());
        let refused = read("postgres://u@db.example/d?sslmode=disable").unwrap_err();
        assert!(refused.contains("sslmode"), "{refused}");
        let forced = PostgresOptions::new().dangerously_in_the_clear(true);
        let url = "postgres://u@db.example/d?sslmode=disable";
        assert!(Address::parse(url, &forced).unwrap().trust.is_none());
        assert!(
            read("postgres://u@h/d?sslmode=prefer")
                .unwrap_err()
                .contains("prefer")
        );
    }

    #[test]
    fn only_plain_names_are_schemas() {
        for good in ["towline", "a1_b"] {
            let url = format!("postgres://u@localhost/d?schema={good}");
            assert_eq!(read(&url).unwrap().schema, good);
        }
        for bad in ["", "A", "1a", "a b", "a;b", "pg_x"] {
            let url = format!("postgres://u@localhost/d?schema={bad}");
            assert!(read(&url).is_err(), "{bad}");
        }
        assert!(
            read("mysql://u@localhost/d")
                .unwrap_err()
                .contains("postgres://")
        );
    }
}
