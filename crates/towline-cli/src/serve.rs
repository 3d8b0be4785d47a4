//! `towline serve`: a runtime behind a WebSocket listener, or on standard input and output.

mod auth;
mod door;
mod http;
pub(crate) mod roles;
mod settings;
mod tls;

use std::{future::Future, net::SocketAddr, sync::Arc};

use towline::{
    otel::OpenTelemetryLink,
    runtime::{Runtime, auth::Authenticator, roles::Roles},
    transport::StdioTransport,
};

use crate::{
    agents,
    args::ServeArgs,
    confinement::{confinement, own_files},
    context::Context,
    exit,
    failure::{Failure, Outcome, chain},
    hosting, output,
    signals::Signals,
    telemetry::traced,
};
use settings::Settings;

pub(crate) async fn run(context: &Context, args: ServeArgs) -> Outcome {
    let signals = Signals::new()?;
    // A server that silently lacks its agents helps nobody.
    if let Some(untrusted) = context.config.untrusted() {
        return Err(untrusted);
    }
    let settings = Settings::new(&args, &context.config, &context.data)?;
    let kept_in = settings.store.is_kept().then_some(&context.data);
    let admission = auth::admission(&args, &context.config, kept_in)?;
    let authenticator: Arc<dyn Authenticator> = Arc::from(admission.authenticator);
    let roles = roles::roles(&context.config, args.dangerously_grant_any_lease)?;
    roles::tell(&roles);
    if args.stdio {
        let runtime = start(context, &settings, authenticator, roles).await?;
        return stdio(context, runtime, signals).await;
    }
    let address = settings.address().await?;
    auth::check_bind(&args, &*authenticator, address)?;
    settings.check_clear(&args, address)?;
    let metrics = http::Metrics::install()?;
    // The listener first: a port that is taken should be told before a store is opened.
    let listener = http::Listener::bind(address, settings.tls.as_ref())?;
    let runtime = start(context, &settings, authenticator, roles).await?;
    let bound = listener.address();
    let scheme = if settings.tls.is_some() { "wss" } else { "ws" };
    let router = http::router(context, &runtime, &settings, bound, metrics)?;
    let mut server = listener.serve(router, &settings)?;
    if let Some(token) = &admission.minted {
        output::line(&format!("token: {token}"))?;
    }
    if settings.dashboard {
        output::line(&page_line(&settings, bound, admission.minted.as_deref()))?;
    }
    output::line(&format!("listening on {scheme}://{bound}{}", settings.path))?;
    tokio::select! {
        ended = server.ended() => ended?,
        outcome = drain(signals, runtime.shutdown()) => {
            server.stop().await;
            return outcome;
        }
    }
    runtime.shutdown().await;
    Ok(exit::SUCCESS)
}

/// Where the dashboard is. A token this server made itself stands in the fragment, which no browser sends or logs, so that
/// the link signs in.
fn page_line(settings: &Settings, bound: SocketAddr, minted: Option<&str>) -> String {
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let fragment = minted.map(|token| format!("#token={token}"));
    format!(
        "dashboard: {scheme}://{bound}/{}",
        fragment.unwrap_or_default()
    )
}

async fn start(
    context: &Context,
    settings: &Settings,
    authenticator: Arc<dyn Authenticator>,
    roles: Roles,
) -> Outcome<Runtime> {
    let store = settings.store.open(std::time::Duration::ZERO).await?;
    settings.store.take_names(&context.data);
    let builder = Runtime::builder()
        .name("towline", env!("CARGO_PKG_VERSION"))
        .authenticator(roles.authenticator(authenticator))
        .shared_store(store)
        .options(settings.options.clone().protect(own_files(
            &context.config,
            &context.data,
            settings.own_files(),
        )))
        .roles(roles)
        .trace_link(OpenTelemetryLink);
    let confinement = confinement(&context.config, &context.data, settings.own_files());
    let builder = hosting::host(builder, &context.config, settings.demo, &confinement)?;
    let builder = hosting::credentials(builder, &context.config)?;
    let builder = if settings.demo {
        agents::for_kits(builder)
    } else {
        builder
    };
    let runtime = builder
        .build()
        .await
        .map_err(|error| Failure::local(chain(&error)))?;
    if !settings.demo && context.config.agents.is_empty() {
        tracing::warn!("no agents: add --demo, or [agents.NAME] to towline.toml");
    }
    Ok(runtime)
}

/// One session with whoever started us; when it ends, or a signal comes, so do we.
async fn stdio(context: &Context, runtime: Runtime, signals: Signals) -> Outcome {
    let connection = runtime.accept(traced(
        Box::new(StdioTransport::from_process()),
        context.traced,
    ));
    tokio::select! {
        () = connection.closed() => {
            runtime.shutdown().await;
            Ok(exit::SUCCESS)
        }
        outcome = drain(signals, runtime.shutdown()) => outcome,
    }
}

/// Waits for a signal, then for `shutdown`; a second signal does not wait any longer.
async fn drain(mut signals: Signals, shutdown: impl Future<Output = ()>) -> Outcome {
    let name = signals.next().await;
    tracing::info!(signal = name, "draining; a second signal ends at once");
    tokio::select! {
        () = shutdown => Ok(exit::SUCCESS),
        name = signals.next() => {
            tracing::warn!(signal = name, "ending at once");
            Ok(exit::INTERRUPTED)
        }
    }
}
