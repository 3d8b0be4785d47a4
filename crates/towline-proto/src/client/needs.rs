//! Which features a request needs [ARCP 6.2-3].

use towline_wire::{Feature, FeatureSet, namespace, payload::Submit};

use super::{Request, RequestError};

/// Refuses what the session's features do not cover, and what is wrong whoever reads it.
pub(super) fn check(request: &Request, features: FeatureSet) -> Result<(), RequestError> {
    match request {
        Request::Submit { submit, .. } => check_submit(submit, features),
        Request::Subscribe { .. } | Request::Unsubscribe { .. } => {
            need(features, Feature::Subscribe)
        }
        Request::List(list) => {
            need(features, Feature::ListJobs)?;
            match list.limit {
                Some(limit) if !(1..=1000).contains(&limit) => Err(RequestError::Invalid(format!(
                    "`limit` is {limit}, a page has 1 to 1000 jobs"
                ))),
                _ => Ok(()),
            }
        }
        Request::Ping => need(features, Feature::Heartbeat),
        Request::Cancel { .. } => Ok(()),
    }
}

fn check_submit(submit: &Submit, features: FeatureSet) -> Result<(), RequestError> {
    let lease = submit.lease_request.as_ref();
    let asks = |namespace| lease.is_some_and(|lease| !lease.patterns(namespace).is_empty());
    let expires = submit
        .lease_constraints
        .as_ref()
        .is_some_and(|bounds| bounds.expires_at.is_some());
    let needs = [
        (submit.agent.contains('@'), Feature::AgentVersions),
        (asks(namespace::COST_BUDGET), Feature::CostBudget),
        (asks(namespace::MODEL_USE), Feature::ModelUse),
        (expires, Feature::LeaseExpiresAt),
    ];
    needs
        .into_iter()
        .filter(|(asked, _)| *asked)
        .try_for_each(|(_, feature)| need(features, feature))?;
    if let Some(key) = submit
        .idempotency_key
        .as_ref()
        .filter(|key| key.len() > MAX_KEY_BYTES)
    {
        let length = key.len();
        return Err(RequestError::Invalid(format!(
            "the idempotency key has {length} bytes, at most {MAX_KEY_BYTES} are allowed"
        )));
    }
    match submit.max_runtime_sec {
        Some(seconds) if !(seconds.is_finite() && seconds > 0.0) => Err(RequestError::Invalid(
            format!("`max_runtime_sec` is {seconds}, it has to be a positive number"),
        )),
        _ => Ok(()),
    }
}

fn need(features: FeatureSet, feature: Feature) -> Result<(), RequestError> {
    if features.has(feature) {
        Ok(())
    } else {
        Err(RequestError::FeatureMissing(feature))
    }
}

/// [ARCP 7.2-3]
const MAX_KEY_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn submit(json: &str) -> Request {
        Request::Submit {
            submit: serde_json::from_str(json).unwrap(),
            trace: None,
            span: None,
        }
    }

    /// [ARCP 6.2-3] what needs a missing feature fails from here, naming the feature.
    #[test]
    fn each_request_names_the_feature_it_lacks() {
        let subscribe = Request::Subscribe {
            job: towline_wire::JobId::parse("j").unwrap(),
            from: None,
            history: false,
        };
        let table = [
            (submit(r#"{"agent":"a@1.0.0"}"#), Feature::AgentVersions),
            (
                submit(r#"{"agent":"a","lease_request":{"cost.budget":["USD:1"]}}"#),
                Feature::CostBudget,
            ),
            (
                submit(r#"{"agent":"a","lease_request":{"model.use":["m"]}}"#),
                Feature::ModelUse,
            ),
            (
                submit(
                    r#"{"agent":"a","lease_constraints":{"expires_at":"2030-01-01T00:00:00Z"}}"#,
                ),
                Feature::LeaseExpiresAt,
            ),
            (subscribe, Feature::Subscribe),
            (Request::List(Default::default()), Feature::ListJobs),
            (Request::Ping, Feature::Heartbeat),
        ];
        for (request, feature) in table {
            let without = FeatureSet::ALL.without(feature);
            assert_eq!(
                check(&request, without),
                Err(RequestError::FeatureMissing(feature)),
                "{request:?}"
            );
            assert_eq!(check(&request, FeatureSet::ALL), Ok(()), "{request:?}");
        }
        assert_eq!(
            check(
                &submit(r#"{"agent":"a","lease_request":{"fs.read":["/a"]}}"#),
                FeatureSet::NONE
            ),
            Ok(())
        );
    }

    #[test]
    fn what_no_runtime_takes_is_refused_here() {
        let long = format!(r#"{{"agent":"a","idempotency_key":"{}"}}"#, "k".repeat(257));
        let bad = [
            submit(&long),
            submit(r#"{"agent":"a","max_runtime_sec":0}"#),
            submit(r#"{"agent":"a","max_runtime_sec":-1}"#),
        ];
        for request in bad {
            assert!(matches!(
                check(&request, FeatureSet::ALL),
                Err(RequestError::Invalid(_))
            ));
        }
        let list = Request::List(towline_wire::payload::ListJobs {
            limit: Some(1001),
            ..Default::default()
        });
        assert!(matches!(
            check(&list, FeatureSet::ALL),
            Err(RequestError::Invalid(_))
        ));
    }
}
