//! What every runtime of this program hosts, and the limits it keeps to: a server's and an embedded one's.

use towline::{
    agents::Confinement,
    runtime::{AdmissionLimits, ChunkLimits, RuntimeBuilder, RuntimeOptions},
    store::RetentionPolicy,
};

use crate::{
    agents::{self, Hosted},
    config::{Config, LimitsSection, on_budget_exhausted},
    failure::Outcome,
};

/// Registers agents of this program's own, and those of the file. One of the file takes the place of ours that has its name.
pub(crate) fn host(
    builder: RuntimeBuilder,
    config: &Config,
    ours: Vec<Hosted>,
    confinement: &Confinement,
) -> Outcome<RuntimeBuilder> {
    let queues = config.queues()?.into_iter();
    let builder = queues.fold(builder, |builder, (name, rules)| builder.queue(name, rules));
    let builder = config.with_tools(builder, confinement)?;
    let theirs = agents::configured(config, !ours.is_empty(), confinement)?;
    let ours = ours.into_iter().filter(|agent| {
        let is_replaced = |theirs: &Hosted| theirs.section == agent.section;
        !theirs.iter().any(is_replaced)
    });
    let ours: Vec<Hosted> = ours.collect();
    let host = |builder, agent: Hosted| agent.begin_with(builder);
    Ok(ours.into_iter().chain(theirs).fold(builder, host))
}

/// Where jobs get keys of their own.
pub(crate) fn credentials(builder: RuntimeBuilder, config: &Config) -> Outcome<RuntimeBuilder> {
    Ok(match config.provisioner()? {
        Some(provisioner) => builder.credentials(provisioner),
        None => builder,
    })
}

/// Who posts what is told of jobs over HTTP, and where to.
pub(crate) fn webhooks(builder: RuntimeBuilder, config: &Config) -> Outcome<RuntimeBuilder> {
    Ok(match config.webhooks()? {
        Some((allowed, sender)) => builder.webhooks(allowed, sender),
        None => builder,
    })
}

/// What holds for an embedded runtime as well: retention, and what is about jobs.
pub(crate) fn limits(options: RuntimeOptions, config: &Config) -> RuntimeOptions {
    let limits = &config.server.limits;
    let mut options = options
        .admission(admission(limits))
        .retention(retention(config));
    if let Some(jobs) = limits.descendants {
        options = options.max_descendants(jobs as usize);
    }
    if let Some(bytes) = limits.log_bytes {
        options = options.log_bytes(bytes);
    }
    let then = config.server.on_budget_exhausted.as_deref();
    if let Some(then) = then.and_then(|text| on_budget_exhausted(text).ok()) {
        options = options.on_budget_exhausted(then);
    }
    if let Some(events) = limits.log_events {
        options = options.log_events(events);
    }
    if let Some(bytes) = limits.log_bytes_per_principal {
        options = options.log_bytes_per_principal(bytes);
    }
    if let Some(jobs) = limits.children {
        options = options.max_children(jobs as usize);
    }
    if let Some(depth) = limits.depth {
        options = options.max_depth(depth);
    }
    if let Some(bytes) = limits.result_bytes {
        options = options.chunks(ChunkLimits {
            total: bytes,
            ..ChunkLimits::default()
        });
    }
    options
}

/// Who runs and who waits.
fn admission(limits: &LimitsSection) -> AdmissionLimits {
    let default = AdmissionLimits::default();
    let or = |given: Option<u32>, default: usize| given.map_or(default, |given| given as usize);
    AdmissionLimits {
        per_principal: or(limits.jobs_per_principal, default.per_principal),
        running: or(limits.jobs, default.running),
        children_per_principal: or(
            limits.children_per_principal,
            default.children_per_principal,
        ),
        queued: or(limits.waiting, default.queued),
        queued_bytes: limits.waiting_bytes.map_or(default.queued_bytes, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        }),
        waiting_per_principal: or(limits.waiting_per_principal, default.waiting_per_principal),
        waiting_bytes_per_principal: limits
            .waiting_bytes_per_principal
            .map_or(default.waiting_bytes_per_principal, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }),
    }
}

/// What is kept of what is over.
fn retention(config: &Config) -> RetentionPolicy {
    let mut retention = RetentionPolicy::default();
    let section = &config.store.retention;
    if let Some(age) = Config::span_of(section.age.as_ref()) {
        retention.max_age = age.0;
    }
    retention.max_jobs = section.jobs.unwrap_or(retention.max_jobs);
    retention.max_bytes = section.bytes.unwrap_or(retention.max_bytes);
    if let Some(age) = Config::span_of(section.audit_age.as_ref()) {
        retention.audit_age = age.0;
    }
    retention.audit_rows = section.audit_rows.unwrap_or(retention.audit_rows);
    retention.audit_refused = section.audit_refused.unwrap_or(retention.audit_refused);
    retention
}
