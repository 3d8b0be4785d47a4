//! `towline lease explain`

use std::path::Path;

use towline::{Lease, lease::LeaseSet, store::Principal, wire::namespace};

use crate::{
    config::Config,
    exit,
    failure::{Failure, Outcome},
    output,
    serve::roles,
    values::{Budget, Grant},
};

/// The status when something asked for is not allowed.
const DENIED: u8 = 1;

/// What a server with this configuration grants a principal of a lease, and what that allows [ARCP 20-2].
pub(super) fn explain_as(
    file: Option<&Path>,
    principal: &str,
    asked: &Lease,
    operations: &[Grant],
) -> Outcome {
    let config = Config::load(file)?;
    let roles = roles::roles(&config, false)?;
    let role = roles.of(&Principal::new(principal));
    output::line(&shown(&roles::in_words(&role, &[principal])))?;
    match role.bound(asked) {
        Ok(granted) => explain(&granted, operations),
        Err(refusal) => {
            output::line(&shown(&format!("refused: {refusal}")))?;
            Ok(DENIED)
        }
    }
}

fn shown(text: &str) -> String {
    output::clean_lines(text).trim_end().to_owned()
}

pub(super) fn explain(lease: &Lease, operations: &[Grant]) -> Outcome {
    let set = LeaseSet::compile(lease).map_err(Failure::usage)?;
    let mut all_allowed = true;
    for operation in operations {
        let (namespace, value) = (operation.namespace.as_str(), operation.pattern.as_str());
        let explanation = set.explain(namespace, value).ok_or_else(|| {
            Failure::usage(format!("--op `{namespace}={value}`: {namespace} holds no patterns"))
                .help("ask for fs.read, fs.write, net.fetch, tool.call, agent.delegate, model.use or x-vendor.*")
        })?;
        all_allowed &= explanation.is_allowed();
        output::line(output::clean_lines(explanation.to_string()).trim_end())?;
    }
    Ok(if all_allowed { exit::SUCCESS } else { DENIED })
}

/// The lease that flags ask for.
pub(crate) fn lease_of(grants: &[Grant], budgets: &[Budget]) -> Lease {
    let mut lease = Lease::new();
    grants
        .iter()
        .for_each(|grant| lease.add(&grant.namespace, &grant.pattern));
    budgets
        .iter()
        .for_each(|budget| lease.add(namespace::COST_BUDGET, &budget.0));
    lease
}
