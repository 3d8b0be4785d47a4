//! `towline conformance`: the kit of `towline-conformance`, run against what `--url` names.

use std::sync::Arc;

use towline_conformance::{Options, ROLES, Target};

use crate::{
    args::{ConformanceArgs, ConnectArgs, OutputFormat},
    connect, exit,
    failure::Outcome,
    output,
};

pub(super) async fn run(args: &ConformanceArgs) -> Outcome {
    if args.agents.as_ref().is_some_and(Vec::is_empty) {
        return roles(args.format.output);
    }
    let target = target(args)?;
    let report = towline_conformance::run(&target, &options(args)?).await;
    match args.format.output {
        OutputFormat::Human => output::line(&report.to_string())?,
        OutputFormat::Json => output::json(&report.to_json())?,
        OutputFormat::Ndjson => {
            for finding in &report.findings {
                output::json(&serde_json::to_value(finding).unwrap_or_default())?;
            }
        }
    }
    Ok(if report.conforms() {
        exit::SUCCESS
    } else {
        exit::JOB_FAILED
    })
}

/// The roles that agents have to play.
fn roles(format: OutputFormat) -> Outcome {
    for (role, what) in ROLES {
        match format {
            OutputFormat::Human => output::line(&format!("{role:<10} {what}"))?,
            _ => output::json(&serde_json::json!({"role": role, "does": what}))?,
        }
    }
    Ok(exit::SUCCESS)
}

fn options(args: &ConformanceArgs) -> Outcome<Options> {
    let token = connect::token(&ConnectArgs {
        token: args.token.clone(),
        token_file: args.token_file.clone(),
        ..ConnectArgs::default()
    })?;
    let mut options = token.map_or_else(Options::new, Options::bearer);
    options = options.draft_only(args.draft_only);
    if let Some(token) = &args.second_token {
        options = options.second_token(token.clone());
    }
    if let Some(span) = args.timeout {
        options = options.patience(span.0);
    }
    for (role, name) in args.agents.iter().flatten() {
        options = options.agent(role, name);
    }
    Ok(options)
}

fn target(args: &ConformanceArgs) -> Outcome<Target> {
    let target = Arc::new(connect::target(&args.url)?);
    let socket = connect::socket_options(&ConnectArgs {
        ca_cert: args.ca_cert.clone(),
        ..ConnectArgs::default()
    })?;
    let alone = target.is_child();
    let kit = Target::new(move || {
        let (target, socket) = (Arc::clone(&target), socket.clone());
        async move {
            let transport = target.connect(&socket).await;
            transport.map_err(|error| error.to_string())
        }
    });
    // A program is a runtime of its own for each connection.
    Ok(if alone { kit.alone() } else { kit })
}
