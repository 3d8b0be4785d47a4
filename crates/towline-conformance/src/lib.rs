//! Asks a runtime whether it keeps the rules of ARCP v1.1.
//!
//! The kit is a client that trusts nothing: it speaks raw frames over any [`Transport`], so what a client library would mend
//! in silence is seen. [`run`] takes a [`Target`] that makes connections, and gives a [`Report`] with a verdict for each
//! check: passed, failed (with the frames), skipped (with the reason: an agent that is missing, a feature that is not
//! offered), or not applicable. Rules that the draft leaves open and this implementation decided are marked `ours`.
//!
//! Two kinds of checks:
//! - *cases* do something and look at the answer (`rules/`, one group of rules a file);
//! - *watches* look at every frame of every case: numbers without a gap, one terminal a job, no null where the draft has
//!   nothing, and so on ([`mod@watch`]).
//!
//! ```no_run
//! use towline_conformance::{Options, Target, run};
//! use towline_transport::WebSocketTransport;
//!
//! # async fn example() {
//! let target = Target::new(|| async {
//!     let transport = WebSocketTransport::connect("ws://127.0.0.1:7777/arcp").await;
//!     transport.map_err(|error| error.to_string())
//! });
//! let report = run(&target, &Options::bearer("secret")).await;
//! println!("{report}");
//! # }
//! ```
//!
//! [`Transport`]: towline_transport::Transport

mod case;
mod check;
mod context;
mod link;
mod options;
mod report;
mod rules;
mod session;
mod target;
pub mod watch;

pub use options::{Options, ROLES};
pub use report::{Finding, Origin, Recorded, Report, Summary, Verdict};
pub use target::Target;

use context::Context;

/// Runs every check. What cannot be reached at all, or welcomes nobody, is a report whose first finding has failed; a welcome
/// that breaks a rule is a finding like any other.
pub async fn run(target: &Target, options: &Options) -> Report {
    let mut context = Context::new(target, options);
    let mut report = Report::default();
    let opened = case::attempt(&mut context, &rules::FIRST).await;
    report.findings.push(opened);
    context.note_runtime(&mut report);
    if context.is_welcome() {
        for case in rules::all() {
            if options.wants(case.origin) {
                report
                    .findings
                    .push(case::attempt(&mut context, case).await);
            }
        }
    }
    report.findings.extend(context.watched(options));
    report
}
