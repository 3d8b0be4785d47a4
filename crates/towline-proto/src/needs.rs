//! Which feature a request asks for [ARCP 6.2-3]: one table, read by the client before it sends and by the runtime when it
//! reads.

use towline_wire::{
    Feature, FeatureSet, Lease, MessageType, namespace,
    payload::{ListJobs, Submit},
};

/// A feature that something in a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} needs the feature `{feature}`, which this session did not negotiate")]
pub struct Need {
    /// The feature.
    pub feature: Feature,
    /// What needs it: a message type, or a field of it.
    pub what: &'static str,
}

/// Refuses a message whose type needs a feature that is not in effect.
///
/// # Errors
/// [`Need`] says which.
pub fn check_type(kind: &MessageType, features: FeatureSet) -> Result<(), Need> {
    TYPES
        .iter()
        .filter(|need| need.what == kind.as_str())
        .try_for_each(|need| need.check(features))
}

/// Refuses a submit that uses a feature which is not in effect. A lease uses a feature by naming its namespace, if only
/// with an empty list: `"model.use":[]` says "no model", which only a peer that knows the feature understands.
///
/// # Errors
/// [`Need`] says what uses which; the first one in the table's order.
pub fn check_submit(submit: &Submit, features: FeatureSet) -> Result<(), Need> {
    SUBMIT
        .iter()
        .filter(|used| (used.is_there)(submit))
        .try_for_each(|used| used.need.check(features))
}

/// Refuses a listing that uses a feature which is not in effect.
///
/// # Errors
/// [`Need`] says what uses which.
pub fn check_list(list: &ListJobs, features: FeatureSet) -> Result<(), Need> {
    let need = |what| Need {
        feature: Feature::List,
        what,
    };
    if list.order.is_some() {
        need("`order`").check(features)?;
    }
    if list.follow.is_some() {
        need("`follow`").check(features)?;
    }
    Ok(())
}

impl Need {
    fn check(self, features: FeatureSet) -> Result<(), Self> {
        if features.has(self.feature) {
            Ok(())
        } else {
            Err(self)
        }
    }
}

/// What needs a feature as a whole.
const TYPES: [Need; 8] = [
    Need {
        feature: Feature::Heartbeat,
        what: "session.ping",
    },
    Need {
        feature: Feature::Ack,
        what: "session.ack",
    },
    Need {
        feature: Feature::ListJobs,
        what: "session.list_jobs",
    },
    Need {
        feature: Feature::Subscribe,
        what: "job.subscribe",
    },
    Need {
        feature: Feature::Subscribe,
        what: "job.unsubscribe",
    },
    Need {
        feature: Feature::Input,
        what: "x-vendor.towline.answer",
    },
    Need {
        feature: Feature::Input,
        what: "x-vendor.towline.message",
    },
    Need {
        feature: Feature::Input,
        what: "x-vendor.towline.inbox",
    },
];

/// Something in a submit that needs a feature, and how to see that it is there.
struct Use {
    is_there: fn(&Submit) -> bool,
    need: Need,
}

const SUBMIT: [Use; 4] = [
    Use {
        is_there: |submit| submit.agent.contains('@'),
        need: Need {
            feature: Feature::AgentVersions,
            what: "`agent` with a version",
        },
    },
    Use {
        is_there: |submit| bounds(submit).is_some_and(|bounds| bounds.expires_at.is_some()),
        need: Need {
            feature: Feature::LeaseExpiresAt,
            what: "`lease_constraints.expires_at`",
        },
    },
    Use {
        is_there: |submit| names(submit, namespace::COST_BUDGET),
        need: Need {
            feature: Feature::CostBudget,
            what: "`lease_request.cost.budget`",
        },
    },
    Use {
        is_there: |submit| names(submit, namespace::MODEL_USE),
        need: Need {
            feature: Feature::ModelUse,
            what: "`lease_request.model.use`",
        },
    },
];

fn bounds(submit: &Submit) -> Option<&towline_wire::LeaseConstraints> {
    submit.lease_constraints.as_ref()
}

fn names(submit: &Submit, namespace: &str) -> bool {
    let lease: Option<&Lease> = submit.lease_request.as_ref();
    lease.is_some_and(|lease| lease.grants(namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 6.2-3] the table's types exist: a typing error in one would let its message through.
    #[test]
    fn the_table_names_types_that_exist() {
        for need in TYPES {
            assert!(MessageType::new(need.what).is_known(), "{}", need.what);
            let without = FeatureSet::ALL.without(need.feature);
            assert_eq!(check_type(&MessageType::new(need.what), without), Err(need));
        }
        assert_eq!(
            check_type(&MessageType::JOB_SUBMIT, FeatureSet::NONE),
            Ok(())
        );
    }

    /// [ARCP 6.2-3] naming a namespace uses its feature, whatever the list holds.
    #[test]
    fn an_empty_list_uses_its_feature() {
        for (name, feature) in [
            (namespace::COST_BUDGET, Feature::CostBudget),
            (namespace::MODEL_USE, Feature::ModelUse),
        ] {
            let json = format!(r#"{{"agent":"a","lease_request":{{"{name}":[]}}}}"#);
            let submit: Submit = serde_json::from_str(&json).unwrap();
            let missing = check_submit(&submit, FeatureSet::ALL.without(feature)).unwrap_err();
            assert_eq!(missing.feature, feature);
            assert_eq!(check_submit(&submit, FeatureSet::ALL), Ok(()));
        }
    }
}
