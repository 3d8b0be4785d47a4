//! `towline bench`: the load program. A server in another process, clients in this one, real sockets between them, and a
//! bare socket loop of the same frames as the yardstick in the same run.

mod disk;
mod http;
mod report;
mod scenarios;
mod server;
mod sizes;
mod slopes;
mod yardstick;

use std::time::Duration;

use clap::{Args, ValueEnum};

use self::{report::Report, scenarios::Load, server::Server};
use crate::failure::{Failure, Outcome};

/// Measure a server on this machine.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// What to measure; all of it when none is named
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,

    /// Where the measured server keeps its jobs: memory, sqlite or sqlite-power (in a directory that is removed afterwards),
    /// or postgres://… (a database of its own)
    #[arg(long, default_value = "memory", value_parser = store)]
    store: String,

    /// How many times each is measured; the median and the spread are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,

    /// How much of it: events, round trips or sessions, by scenario
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// One JSON document instead of lines for a person
    #[arg(long)]
    json: bool,

    /// Serve the yardstick's frames instead (used by the program itself)
    #[arg(long, hide = true)]
    yardstick_serve: bool,
}

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Events of one job to one client
    Events,
    /// Submit to result, 32 in flight
    Roundtrips,
    /// Submit to result, one at a time
    Latency,
    /// Memory of a session that says nothing
    Idle,
    /// A finished job's events, read again
    Replay,
    /// Events of one job to eight clients
    Fanout,
    /// Sessions opened and closed
    Churn,
    /// Round trips beside ever more silent sessions, up to 10 000
    Sessions,
    /// Round trips and listings behind ever more finished jobs, up to 100 000
    History,
    /// Deliveries of one job's events to ever more watchers, up to 64
    Watchers,
    /// Commits and fsyncs a job
    Disk,
    /// Events of 100 bytes to 256 KiB
    Sizes,
    /// Events of up to 200 jobs at once
    Bursts,
    /// Submits and events over plain HTTP
    Http,
}

/// Measures and reports.
pub(crate) async fn run(args: BenchArgs) -> Outcome {
    if args.yardstick_serve {
        yardstick::serve().await?;
        return Ok(0);
    }
    let wanted = if args.scenarios.is_empty() {
        Scenario::value_variants().to_vec()
    } else {
        args.scenarios.clone()
    };
    let mut report = Report::new(&args.store, args.runs);
    for scenario in wanted {
        measure(scenario, &args, &mut report).await?;
    }
    report.print(args.json)?;
    Ok(0)
}

async fn measure(scenario: Scenario, args: &BenchArgs, report: &mut Report) -> Outcome<()> {
    for _ in 0..args.runs {
        let server = Server::start(&args.store).await?;
        let load = Load {
            server: &server,
            store: &args.store,
            count: args.count,
        };
        let limit = tokio::time::timeout(LIMIT, load.run(scenario, report)).await;
        limit.map_err(|_| Failure::local(format!("{scenario:?} took longer than {LIMIT:?}")))??;
        let measured = match scenario {
            Scenario::Events => scenarios::EVENTS_FIGURE,
            Scenario::Replay => scenarios::REPLAY_FIGURE,
            _ => continue,
        };
        let bare = yardstick::measure(args.count.unwrap_or(scenarios::EVENTS)).await?;
        report.add(
            "yardstick: the same frames on a bare socket",
            "frames/s",
            bare,
        );
        if let Some(rate) = report.latest(measured) {
            report.add(
                format!("{measured}, of the yardstick"),
                "%",
                100.0 * rate / bare,
            );
        }
    }
    Ok(())
}

fn store(text: &str) -> Result<String, String> {
    let known = ["memory", "sqlite", "sqlite-power"].contains(&text);
    let is_shared = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    if known || is_shared {
        Ok(text.to_owned())
    } else {
        Err("write memory, sqlite, sqlite-power or postgres://…".to_owned())
    }
}

/// No scenario may hang.
const LIMIT: Duration = Duration::from_secs(300);
