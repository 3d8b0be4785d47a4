//! `towline conformance`: the kit of `towline-conformance`, run against what `--url` names.

use std::task::{Context, Poll};

use towline::{
    transport::{
        ChildOptions, ChildProcess, CloseFrame, FrameSink, FrameSource, StdioTransport, Transport,
        TransportError, TransportInfo, WebSocketOptions, WebSocketTransport,
    },
    wire::Envelope,
};
use towline_conformance::{Options, ROLES, Target};

use crate::{
    args::{ConformanceArgs, ConnectArgs, OutputFormat},
    connect, exit,
    failure::{Failure, Outcome},
    output, values,
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
    if let Some(command) = args.url.strip_prefix("stdio:") {
        return child(command);
    }
    let url = values::server_url(&args.url).map_err(Failure::usage)?;
    let mut socket = WebSocketOptions::client();
    if let Some(file) = &args.ca_cert {
        let pem = std::fs::read(file).map_err(|error| {
            Failure::usage(format!(
                "cannot read the certificate `{}`: {error}",
                file.display()
            ))
        })?;
        socket = socket.root_certificates_pem(values::without_mark(pem));
    }
    Ok(Target::new(move || {
        let (url, socket) = (url.clone(), socket.clone());
        async move {
            let transport = WebSocketTransport::connect_with(&url, &socket).await;
            transport.map_err(|error| error.to_string())
        }
    }))
}

/// A runtime of its own for each connection, which ends with it.
fn child(command: &str) -> Outcome<Target> {
    let mut words = command.split_whitespace().map(str::to_owned);
    let Some(program) = words.next() else {
        return Err(Failure::usage("`stdio:` names no command"));
    };
    let words: Vec<_> = words.collect();
    let options = ChildOptions::new(program).args(&words);
    let start = move || {
        let started = ChildProcess::spawn(&options);
        let started = started.map(|(child, transport)| Owned { child, transport });
        async move { started.map_err(|error| error.to_string()) }
    };
    Ok(Target::new(start).alone())
}

/// A child's transport; the child ends when it is no longer used.
struct Owned {
    child: ChildProcess,
    transport: StdioTransport,
}

impl Transport for Owned {
    fn info(&self) -> TransportInfo {
        self.transport.info()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let Self { child, transport } = *self;
        let (sink, source) = Box::new(transport).split();
        let sink = OwnedSink {
            _child: child,
            sink,
        };
        (Box::new(sink), source)
    }
}

struct OwnedSink {
    _child: ChildProcess,
    sink: Box<dyn FrameSink>,
}

impl FrameSink for OwnedSink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.sink.poll_ready(cx)
    }

    fn start_send(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        self.sink.start_send(envelope)
    }

    fn start_send_text(&mut self, text: &str) -> Result<(), TransportError> {
        self.sink.start_send_text(text)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.sink.poll_flush(cx)
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        self.sink.poll_close(cx, close)
    }
}
