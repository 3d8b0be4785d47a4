//! Which keys `towline.toml` has.

use toml::{Table, Value};

use crate::nearest::nearest;

/// What may stand at a place of the file.
enum Shape {
    /// Any value; its type is checked when it is read.
    Leaf,
    /// These keys.
    Keys(&'static [(&'static str, Shape)]),
    /// Any keys, each with a table of this shape.
    Named(&'static Shape),
    /// A list of tables of this shape.
    List(&'static Shape),
}

use Shape::{Keys, Leaf, List, Named};

static FILE: Shape = Keys(&[
    (
        "server",
        Keys(&[
            ("listen", Leaf),
            ("unix", Leaf),
            ("path", Leaf),
            ("allowed_hosts", Leaf),
            ("allowed_origins", Leaf),
            ("trusted_proxies", Leaf),
            ("trust_forwarded_for", Leaf),
            ("tls_terminated", Leaf),
            ("conceal_foreign_jobs", Leaf),
            ("on_budget_exhausted", Leaf),
            ("tls_cert", Leaf),
            ("tls_key", Leaf),
            ("heartbeat", Leaf),
            ("resume_window", Leaf),
            ("idle_timeout", Leaf),
            ("hello_timeout", Leaf),
            ("drain", Leaf),
            ("demo", Leaf),
            ("allow_unconfined_root", Leaf),
            ("allow_network_by_port", Leaf),
            ("dashboard", Leaf),
            ("dashboard_connect", Leaf),
            (
                "limits",
                Keys(&[
                    ("sessions_per_principal", Leaf),
                    ("jobs_per_principal", Leaf),
                    ("jobs", Leaf),
                    ("message_bytes", Leaf),
                    ("detached_sessions_per_principal", Leaf),
                    ("children_per_principal", Leaf),
                    ("descendants", Leaf),
                    ("waiting_per_principal", Leaf),
                    ("waiting_bytes_per_principal", Leaf),
                    ("log_bytes", Leaf),
                    ("log_events", Leaf),
                    ("log_bytes_per_principal", Leaf),
                    ("connections", Leaf),
                    ("connections_per_address", Leaf),
                    ("known_connections_per_address", Leaf),
                    ("long_requests_per_principal", Leaf),
                    ("failed_tokens_per_address", Leaf),
                    ("hello_bytes", Leaf),
                    ("detached_sessions", Leaf),
                    ("subscriptions_per_session", Leaf),
                    ("waiting", Leaf),
                    ("waiting_bytes", Leaf),
                    ("children", Leaf),
                    ("depth", Leaf),
                    ("result_bytes", Leaf),
                ]),
            ),
        ]),
    ),
    (
        "auth",
        Keys(&[
            (
                "tokens",
                List(&Keys(&[
                    ("principal", Leaf),
                    ("token", Leaf),
                    ("token_file", Leaf),
                    ("role", Leaf),
                ])),
            ),
            (
                "jwt",
                Keys(&[
                    ("secret_file", Leaf),
                    ("public_key_file", Leaf),
                    ("jwks_file", Leaf),
                    ("jwks_url", Leaf),
                    ("issuer", Leaf),
                    ("audience", Leaf),
                    ("principal_claim", Leaf),
                    ("role_claim", Leaf),
                    ("principal_prefix", Leaf),
                ]),
            ),
        ]),
    ),
    (
        "roles",
        Named(&Keys(&[
            ("agents", Leaf),
            ("lease_ceiling", Leaf),
            ("budget_per_job", Leaf),
            ("budget_per_day", Leaf),
            ("jobs", Leaf),
            ("may_watch", Leaf),
            ("may_cancel", Leaf),
            ("may_answer", Leaf),
            ("admin", Leaf),
        ])),
    ),
    (
        "store",
        Keys(&[
            ("sqlite", Leaf),
            ("memory", Leaf),
            ("postgres", Leaf),
            ("postgres_file", Leaf),
            ("node", Leaf),
            ("durability", Leaf),
            (
                "retention",
                Keys(&[
                    ("age", Leaf),
                    ("jobs", Leaf),
                    ("bytes", Leaf),
                    ("audit_age", Leaf),
                    ("audit_rows", Leaf),
                    ("audit_refused", Leaf),
                ]),
            ),
        ]),
    ),
    ("mcp", Keys(&[("may_approve", Leaf)])),
    (
        "credentials",
        Keys(&[(
            "litellm",
            Keys(&[
                ("url", Leaf),
                ("key_file", Leaf),
                ("name", Leaf),
                ("endpoint", Leaf),
                ("models", Leaf),
                ("lifetime", Leaf),
                ("timeout", Leaf),
            ]),
        )]),
    ),
    (
        "models",
        Named(&Keys(&[
            ("style", Leaf),
            ("base_url", Leaf),
            ("key_file", Leaf),
            ("prices", Leaf),
        ])),
    ),
    (
        "tools",
        Named(&Keys(&[
            ("command", Leaf),
            ("url", Leaf),
            ("token_file", Leaf),
            ("cwd", Leaf),
            ("env", Leaf),
            ("env_pass", Leaf),
            ("confine", Leaf),
            ("read", Leaf),
            ("state", Leaf),
            ("limits", LIMITS),
        ])),
    ),
    (
        "webhooks",
        Keys(&[
            ("allow", Leaf),
            ("secret_file", Leaf),
            ("previous_secret_file", Leaf),
            ("ca_cert", Leaf),
        ]),
    ),
    (
        "schedules",
        Named(&Keys(&[
            ("cron", Leaf),
            ("zone", Leaf),
            ("agent", Leaf),
            ("input", Leaf),
            ("lease", Leaf),
            ("budget", Leaf),
            ("principal", Leaf),
            ("overlap", Leaf),
            ("missed", Leaf),
        ])),
    ),
    (
        "queues",
        Named(&Keys(&[("limit", Leaf), ("rate", Leaf), ("key", Leaf)])),
    ),
    (
        "agents",
        Named(&Keys(&[
            ("command", Leaf),
            ("builtin", Leaf),
            ("url", Leaf),
            ("agent", Leaf),
            ("ca_cert", Leaf),
            ("protocol", Leaf),
            ("version", Leaf),
            ("description", Leaf),
            ("input_schema", Leaf),
            ("cwd", Leaf),
            ("env", Leaf),
            ("env_pass", Leaf),
            ("token_file", Leaf),
            ("confine", Leaf),
            ("read", Leaf),
            ("state", Leaf),
            ("restartable", Leaf),
            ("listens", Leaf),
            ("on_budget_exhausted", Leaf),
            ("budget_default", Leaf),
            ("retries", Leaf),
            ("backoff", Leaf),
            ("result", Leaf),
            ("live", Leaf),
            ("model", Leaf),
            ("queue", Leaf),
            ("notify", Leaf),
            ("limits", LIMITS),
        ])),
    ),
]);

/// What programs may use up.
const LIMITS: Shape = Keys(&[
    ("memory", Leaf),
    ("processes", Leaf),
    ("open_files", Leaf),
    ("file_size", Leaf),
    ("cpu", Leaf),
    ("output", Leaf),
]);

/// Whether a key of this name stands anywhere in the file's grammar.
pub(super) fn is_known(name: &str) -> bool {
    fn within(shape: &Shape, name: &str) -> bool {
        match shape {
            Leaf => false,
            Keys(keys) => keys
                .iter()
                .any(|(known, shape)| *known == name || within(shape, name)),
            Named(shape) | List(shape) => within(shape, name),
        }
    }
    within(&FILE, name)
}

/// Checks that the file has no key but these.
pub(super) fn check(file: &Table) -> Result<(), String> {
    check_table(file, &FILE, "")
}

fn check_table(table: &Table, shape: &Shape, path: &str) -> Result<(), String> {
    table.iter().try_for_each(|(key, value)| {
        let here = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match shape {
            Keys(keys) => match keys.iter().find(|(known, _)| known == key) {
                Some((_, shape)) => check_value(value, shape, &here),
                None => Err(unknown(key, keys, &here)),
            },
            Named(shape) => check_value(value, shape, &here),
            Leaf | List(_) => Ok(()),
        }
    })
}

fn check_value(value: &Value, shape: &Shape, path: &str) -> Result<(), String> {
    match (shape, value) {
        (Leaf, _) => Ok(()),
        (List(shape), Value::Array(items)) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check_value(item, shape, &format!("{path}[{index}]"))),
        (List(_), _) => Err(format!(
            "`{path}` has to be a list of tables; write [[{path}]]"
        )),
        (_, Value::Table(table)) => check_table(table, shape, path),
        (_, _) => Err(format!("`{path}` has to be a table; write [{path}]")),
    }
}

fn unknown(key: &str, keys: &[(&'static str, Shape)], path: &str) -> String {
    let known: Vec<&str> = keys.iter().map(|(known, _)| *known).collect();
    match nearest(key, &known) {
        Some(near) => format!("`{path}` is not a key; did you mean `{near}`?"),
        None => format!("`{path}` is not a key; there are {}", known.join(", ")),
    }
}
