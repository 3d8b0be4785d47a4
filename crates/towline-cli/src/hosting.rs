//! What every runtime of this program hosts, and the limits it keeps to: a server's and an embedded one's.

use towline::{
    agents::Confinement,
    runtime::{RuntimeBuilder, RuntimeOptions},
};

use crate::{agents, config::Config, failure::Outcome};

/// Registers the built-in agents, if they are wanted, those of the file, and where jobs get keys of their own.
pub(crate) fn host(
    builder: RuntimeBuilder,
    config: &Config,
    built_in: bool,
    confinement: &Confinement,
) -> Outcome<RuntimeBuilder> {
    let builder = if built_in {
        agents::built_in(builder, confinement)
    } else {
        builder
    };
    let builder = agents::configured(builder, config, built_in, confinement)?;
    Ok(match config.provisioner()? {
        Some(provisioner) => builder.credentials(provisioner),
        None => builder,
    })
}

/// What holds for an embedded runtime as well: retention and job limits.
pub(crate) fn limits(options: RuntimeOptions, config: &Config) -> RuntimeOptions {
    let mut admission = towline::runtime::AdmissionLimits::default();
    if let Some(jobs) = config.server.limits.jobs_per_principal {
        admission.per_principal = jobs as usize;
    }
    if let Some(jobs) = config.server.limits.jobs {
        admission.running = jobs as usize;
    }
    let mut retention = towline::store::RetentionPolicy::default();
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
    options.admission(admission).retention(retention)
}
