//! The agents this program hosts: the real ones of the library (`index`, `exec`), those for tries, tests and measuring, and
//! those that `towline.toml` names.

mod access;
mod ask;
mod burst;
mod chatty;
mod configured;
mod delegate;
mod described;
mod echo;
mod fail;
mod kinds;
mod listen;
mod remote;
mod sleep;
mod spend;
mod stream;
mod tck_echo;
mod tck_log_emitter;
mod versioned;
mod waiting;

pub(crate) use configured::{Hosted, configured};

use towline::{
    agents::{Confinement, ExecAgent, IndexAgent},
    runtime::AgentOptions,
};

use configured::Shelf;

/// The built-in agents. None of them is run again after a restart, but `ask` and `listen`, which lose nothing. The default of
/// several versions is the highest.
pub(crate) fn built_in(confinement: &Confinement) -> Vec<Hosted> {
    let confined = ExecAgent::new().confinement(confinement.clone());
    let told = described::options;
    let asks = told("ask").restartable(true);
    let listens = told("listen").restartable(true).listens(true);
    Shelf::default()
        .agent_with("access", access::run, told("access"))
        .agent_with("ask", ask::run, asks)
        .agent_with("burst", burst::run, told("burst"))
        .agent_with("chatty", chatty::run, told("chatty"))
        .agent_with("delegate", delegate::run, told("delegate"))
        .agent_with("echo", echo::run, told("echo"))
        .agent_with("exec", confined, told("exec"))
        .agent_with("fail", fail::run, told("fail"))
        .agent_with("index", IndexAgent::new(), told("index"))
        .agent_with("kinds", kinds::run, told("kinds"))
        .agent_with("listen", listen::run, listens)
        .agent_with("sleep", sleep::run, told("sleep"))
        .agent_with("spend", spend::run, told("spend"))
        .agent_with("stream", stream::run, told("stream"))
        .agent_with("versioned@1.0.0", versioned::one, told("versioned"))
        .agent_with("versioned@2.0.0", versioned::two, told("versioned"))
        .take()
}

/// Those that a server has for tries: the built-in ones, and those that the conformance kits of other SDKs ask a runtime for.
pub(crate) fn demo(confinement: &Confinement) -> Vec<Hosted> {
    let plain = AgentOptions::default;
    let kits = Shelf::default()
        .agent_with("tck-echo@1.0.0", tck_echo::run, plain())
        .agent_with("tck-log-emitter@1.0.0", tck_log_emitter::run, plain());
    let mut all = built_in(confinement);
    all.extend(kits.take());
    all
}
