//! `towline serve`: a runtime behind a listener, a Unix socket, or on standard input and output.

mod auth;
mod door;
mod here;
mod http;
mod listeners;
mod node;
mod reload;
pub(crate) mod roles;
mod settings;
mod tls;

use std::{future::Future, sync::Arc};

use towline::{
    otel::OpenTelemetryLink,
    runtime::{Runtime, RuntimeBuilder, auth::Replaceable, roles::LiveRoles},
    transport::StdioTransport,
};

use crate::{
    args::ServeArgs,
    confinement::{confinement, own_files},
    context::Context,
    exit,
    failure::{Failure, Outcome, chain},
    hosting,
    notify::Notify,
    output,
    signals::{Signal, Signals},
    telemetry::traced,
};
use auth::Minting;
use here::{Here, Open};
use listeners::{Listeners, Serving};
use node::{Leaving, Node};
use reload::Live;
pub(crate) use settings::DEFAULT_LISTEN;
use settings::Settings;

pub(crate) async fn run(context: &Context, args: ServeArgs) -> Outcome {
    let signals = Signals::new()?;
    let notify = Notify::from_env();
    // A server that silently lacks its agents helps nobody.
    if let Some(untrusted) = context.config.untrusted() {
        return Err(untrusted);
    }
    roles::tell(&roles::roles(
        &context.config,
        args.dangerously_grant_any_lease,
    )?);
    if args.stdio {
        let (settings, mut live, _) = prepare(context, &args)?;
        roles::tell_of_root(&context.config, settings.demo);
        let (runtime, node) = start(context, &settings, &live, |builder| builder).await?;
        let here = live.here.open(context, &runtime);
        if here.is_some() {
            Here::tell(context, &live.tokens);
        }
        return stdio(&mut live, runtime, &node, signals, &notify).await;
    }
    let mut server = Server::open(context, &args, |builder| builder).await?;
    if server.here.is_some() {
        Here::tell(context, &server.live.tokens);
    }
    if let Some(token) = &server.minted {
        output::line(&format!("token: {token}"))?;
        if server.settings.store.is_shared() {
            output::note("  it is good on this node alone: give all nodes the same --token");
        }
    }
    server.tell(server.minted.as_deref())?;
    notify.ready();
    tokio::select! {
        ended = server.serving.ended() => ended?,
        outcome = drain(signals, &mut server.live, &server.runtime, &server.node, &notify) => {
            server.serving.stop().await;
            return outcome;
        }
    }
    server.runtime.shutdown().await;
    Ok(exit::SUCCESS)
}

/// A server that takes connections, and its runtime.
pub(crate) struct Server<'s> {
    settings: Settings,
    live: Live<'s>,
    /// The token that it made, when it was given none.
    minted: Option<String>,
    runtime: Runtime,
    node: Node,
    serving: Serving,
    /// Commands on the data directory.
    here: Option<Open>,
}

impl<'s> Server<'s> {
    /// Binds, starts the runtime with `more` agents than are configured, and takes connections.
    pub(crate) async fn open(
        context: &'s Context,
        args: &'s ServeArgs,
        more: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
    ) -> Outcome<Self> {
        let (settings, mut live, minted) = prepare(context, args)?;
        roles::tell_of_root(&context.config, settings.demo);
        let metrics = http::Metrics::install()?;
        // The listeners first: a port that is taken should be told before a store is opened.
        let listeners = Listeners::bind(&settings, args, &live.authenticator).await?;
        live.certificate = listeners.certificate().zip(settings.tls.clone());
        let (runtime, node) = start(context, &settings, &live, more).await?;
        let serving = listeners.serve(context, &runtime, &settings, metrics)?;
        let here = live.here.open(context, &runtime);
        Ok(Self {
            settings,
            live,
            minted,
            runtime,
            node,
            serving,
            here,
        })
    }

    /// Says where it listens; the dashboard's link signs in with the token.
    pub(crate) fn tell(&self, token: Option<&str>) -> Outcome<()> {
        self.serving.tell(&self.settings, token)
    }

    /// Its runtime.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Waits for an end nobody asked for. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Outcome<()> {
        self.serving.ended().await
    }

    /// Ends the runtime, and then the listeners.
    pub(crate) async fn stop(self) {
        self.runtime.shutdown().await;
        self.serving.stop().await;
    }
}

/// What holds from the start, what can be given anew, and the token that was made.
fn prepare<'s>(
    context: &'s Context,
    args: &'s ServeArgs,
) -> Outcome<(Settings, Live<'s>, Option<String>)> {
    let settings = Settings::new(args, &context.config, &context.data)?;
    let minting = if settings.store.is_kept() {
        Minting::KeptIn(&context.data)
    } else {
        Minting::New
    };
    let admission = auth::admission(args, &context.config, minting)?;
    let roles = roles::roles(&context.config, args.dangerously_grant_any_lease)?;
    let here = Here::new(context, &settings)?;
    let live = Live {
        context,
        args,
        authenticator: Replaceable::new(Arc::from(admission.authenticator)),
        roles: LiveRoles::new(here.roles(roles, &admission.tokens)),
        here,
        certificate: None,
        minted: admission.minted.clone(),
        demo: settings.demo,
        own_files: settings.own_files(),
        config: context.read_again()?,
        tokens: admission.tokens,
    };
    Ok((settings, live, admission.minted))
}

async fn start(
    context: &Context,
    settings: &Settings,
    live: &Live<'_>,
    more: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
) -> Outcome<(Runtime, Node)> {
    let (store, node) = Node::open(&settings.store).await?;
    settings.store.take_names(&context.data);
    let known = live.here.authenticator(live.authenticator.clone())?;
    let builder = Runtime::builder()
        .name("towline", env!("CARGO_PKG_VERSION"))
        .authenticator(live.roles.authenticator(known))
        .shared_store(store)
        .options(settings.options.clone().protect(own_files(
            &context.config,
            &context.data,
            settings.own_files(),
        )))
        .observe_policy(live.roles.clone())
        .access_policy(live.roles.clone())
        .trace_link(OpenTelemetryLink);
    let confinement = confinement(&context.config, &context.data, settings.own_files());
    let ours = live.our_agents(&confinement);
    let builder = hosting::host(builder, &context.config, ours, &confinement)?;
    let builder = hosting::credentials(builder, &context.config)?;
    let builder = hosting::webhooks(builder, &context.config)?;
    // Only a server fires: any other runtime ends with its command.
    let schedules = context.config.schedules()?;
    roles::warn_of_unknown(&schedules, &live.roles, &live.tokens);
    let builder = schedules
        .into_iter()
        .fold(builder, RuntimeBuilder::schedule);
    let runtime = more(builder)
        .build()
        .await
        .map_err(|error| Failure::local(chain(&error)))?;
    if !settings.demo && context.config.agents.is_empty() {
        tracing::warn!("no agents: add --demo, or [agents.NAME] to towline.toml");
    }
    node.announce(&runtime).await;
    Ok((runtime, node))
}

/// One session with whoever started us; when it ends, or a signal comes, so do we.
async fn stdio(
    live: &mut Live<'_>,
    runtime: Runtime,
    node: &Node,
    signals: Signals,
    notify: &Notify,
) -> Outcome {
    let connection = runtime.accept(traced(
        Box::new(StdioTransport::from_process()),
        live.context.traced,
    ));
    notify.ready();
    tokio::select! {
        () = connection.closed() => {
            notify.stopping();
            runtime.shutdown().await;
            Ok(exit::SUCCESS)
        }
        outcome = drain(signals, live, &runtime, node, notify) => outcome,
    }
}

/// Waits for a signal that ends the program, or for another node to ask for it, reloading at signals that ask for that; then for
/// the shutdown, which a second signal does not wait for any longer.
async fn drain(
    mut signals: Signals,
    live: &mut Live<'_>,
    runtime: &Runtime,
    node: &Node,
    notify: &Notify,
) -> Outcome {
    let name = loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = notify.live() => continue,
            leaving = node.leaving() => match leaving {
                Leaving::Asked => break "nodes drain",
                Leaving::Fallen(error) => {
                    notify.stopping();
                    return Err(node::fall(runtime, &error).await);
                }
            },
        };
        match signal {
            Signal::End(name) => break name,
            Signal::Hangup => {
                notify.reloading();
                live.reload(runtime);
                node.announce(runtime).await;
                notify.ready();
            }
        }
    };
    tracing::info!(signal = name, "draining; a second signal ends at once");
    notify.stopping();
    end(&mut signals, runtime.shutdown()).await
}

async fn end(signals: &mut Signals, shutdown: impl Future<Output = ()>) -> Outcome {
    tokio::pin!(shutdown);
    loop {
        let signal = tokio::select! {
            () = &mut shutdown => return Ok(exit::SUCCESS),
            signal = signals.next() => signal,
        };
        if let Signal::End(name) = signal {
            tracing::warn!(signal = name, "ending at once");
            return Ok(exit::INTERRUPTED);
        }
    }
}
