//! `towline conformance`

use std::path::PathBuf;

use clap::Args;
use towline::wire::Secret;

use super::FormatArgs;
use crate::values::{self, Span};

/// What the kit is run against.
#[derive(Debug, Args)]
#[command(
    after_help = "Each check has a verdict: pass, FAIL with the frames, skip with the reason, or n/a. Rules marked (ours) are not in the draft.\nExit status: 0 when nothing failed, 1 when a rule failed.\n\nExamples:\n  towline conformance --url ws://127.0.0.1:7777/arcp --token s3cret\n  towline conformance --url stdio:'my-runtime --stdio' --agents echo=my-echo -o json"
)]
pub(crate) struct ConformanceArgs {
    /// The runtime: ws://HOST:PORT/arcp, wss://HOST/arcp, unix:PATH, or stdio:COMMAND to start one for each connection
    #[arg(long, value_name = "URL", env = "TOWLINE_URL")]
    pub(crate) url: String,

    /// The token to show it
    ///
    /// Else TOWLINE_TOKEN, or the first line of the file that TOWLINE_TOKEN_FILE names.
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<Secret>,

    /// A file whose first line is the token
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// The token of a second principal, who must have no way to the jobs of the first; without it that is not looked at
    #[arg(long, value_name = "TOKEN")]
    pub(crate) second_token: Option<Secret>,

    /// A certificate authority (PEM) to trust beside those of this machine, for wss
    #[arg(long, value_name = "FILE", env = "TOWLINE_CA_CERT")]
    pub(crate) ca_cert: Option<PathBuf>,

    /// The agents that play the kit's roles, where they have other names; without a value, lists the roles
    #[arg(
        long,
        value_name = "ROLE=NAME,…",
        value_delimiter = ',',
        num_args = 0..,
        value_parser = role
    )]
    pub(crate) agents: Option<Vec<(String, String)>>,

    /// Leave out the rules that the draft does not have
    #[arg(long)]
    pub(crate) draft_only: bool,

    /// How long each answer is waited for [default: 5s]
    #[arg(long, value_name = "SPAN", env = "TOWLINE_TIMEOUT", value_parser = values::positive_span)]
    pub(crate) timeout: Option<Span>,

    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

fn role(text: &str) -> Result<(String, String), String> {
    let (role, name) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not ROLE=NAME"))?;
    let known = towline_conformance::ROLES;
    if known.iter().any(|(known, _)| *known == role) {
        return Ok((role.to_owned(), name.to_owned()));
    }
    let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
    Err(format!(
        "`{role}` is no role; there are {}",
        names.join(", ")
    ))
}
