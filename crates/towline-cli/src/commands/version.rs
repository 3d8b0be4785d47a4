//! `towline version`

use serde::Serialize;
use towline::wire::PROTOCOL_VERSION;

use crate::{args::OutputFormat, exit, failure::Outcome, output};

#[derive(Serialize)]
struct Version {
    towline: &'static str,
    arcp: &'static str,
}

pub(super) fn run(format: OutputFormat) -> Outcome {
    let version = Version {
        towline: env!("CARGO_PKG_VERSION"),
        arcp: PROTOCOL_VERSION,
    };
    output::one(format, &version, |version| {
        format!("towline {}\nARCP    {}", version.towline, version.arcp)
    })?;
    Ok(exit::SUCCESS)
}
