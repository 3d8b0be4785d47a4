//! The agents this program hosts: the real ones of the library (`index`, `exec`), those for tries, tests and measuring, and
//! those that `towline.toml` names.

mod access;
mod ask;
mod burst;
mod chatty;
pub(crate) mod coder;
mod configured;
mod delegate;
mod echo;
mod fail;
mod kinds;
mod listen;
mod sleep;
mod spend;
mod stream;
mod tck_echo;
mod tck_log_emitter;
mod versioned;
mod waiting;

pub(crate) use configured::{Hosted, configured, is_built_in};

use towline::{
    agents::{Confinement, ExecAgent, IndexAgent},
    runtime::{AgentOptions, RuntimeBuilder},
};

/// Registers the built-in agents. None of them is run again after a restart, but `ask` and `listen`, which lose nothing.
pub(crate) fn built_in(builder: RuntimeBuilder, confinement: &Confinement) -> RuntimeBuilder {
    builder
        .agent("access", access::run)
        .restartable_agent("ask", ask::run)
        .agent("burst", burst::run)
        .agent("chatty", chatty::run)
        .agent("delegate", delegate::run)
        .agent("echo", echo::run)
        .agent("exec", ExecAgent::new().confinement(confinement.clone()))
        .agent("fail", fail::run)
        .agent("index", IndexAgent::new())
        .agent("kinds", kinds::run)
        .agent_with(
            "listen",
            listen::run,
            AgentOptions::default().restartable(true).listens(true),
        )
        .agent("sleep", sleep::run)
        .agent("spend", spend::run)
        .agent("stream", stream::run)
        .agent("versioned@1.0.0", versioned::one)
        .agent("versioned@2.0.0", versioned::two)
        .default_version("versioned@2.0.0")
}

/// Registers the agents that the conformance kits of other SDKs ask a runtime for.
pub(crate) fn for_kits(builder: RuntimeBuilder) -> RuntimeBuilder {
    builder
        .agent("tck-echo@1.0.0", tck_echo::run)
        .agent("tck-log-emitter@1.0.0", tck_log_emitter::run)
}
