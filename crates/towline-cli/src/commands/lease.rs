//! `towline lease explain`

use towline::{Lease, lease::LeaseSet, wire::namespace};

use crate::{
    exit,
    failure::{Failure, Outcome},
    output,
    values::{Budget, Grant},
};

/// The status when something asked for is not allowed.
const DENIED: u8 = 1;

pub(super) fn explain(grants: &[Grant], budgets: &[Budget], operations: &[Grant]) -> Outcome {
    let lease = lease_of(grants, budgets);
    let set = LeaseSet::compile(&lease).map_err(Failure::usage)?;
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
