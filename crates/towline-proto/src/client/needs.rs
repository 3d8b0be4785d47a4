//! What a client refuses to send, because no runtime would take it [ARCP 6.2-3].

use towline_wire::{FeatureSet, MessageType};

use super::{Request, RequestError};
use crate::{
    limits::{self, LimitError},
    needs::{self, Need},
};

/// Refuses what the session's features do not cover, and what is wrong whoever reads it.
pub(super) fn check(request: &Request, features: FeatureSet) -> Result<(), RequestError> {
    needs::check_type(&type_of(request), features)?;
    match request {
        Request::Submit { submit, .. } => {
            needs::check_submit(submit, features)?;
            limits::check_submit(submit)?;
        }
        Request::List(list) => {
            list.limit
                .map(|limit| limits::page_jobs(Some(limit)))
                .transpose()?;
        }
        Request::Cancel { .. }
        | Request::Subscribe { .. }
        | Request::Unsubscribe { .. }
        | Request::Answer(_)
        | Request::Speak { .. }
        | Request::Inbox { .. }
        | Request::Ping => {}
    }
    Ok(())
}

/// What a request is sent as, in the draft's own words; a dialect that says it otherwise needs the same features.
const fn type_of(request: &Request) -> MessageType {
    match request {
        Request::Submit { .. } => MessageType::JOB_SUBMIT,
        Request::Cancel { .. } => MessageType::JOB_CANCEL,
        Request::Subscribe { .. } => MessageType::JOB_SUBSCRIBE,
        Request::Unsubscribe { .. } => MessageType::JOB_UNSUBSCRIBE,
        Request::List(_) => MessageType::SESSION_LIST_JOBS,
        Request::Answer(_) => MessageType::ANSWER,
        Request::Speak { .. } => MessageType::MESSAGE,
        Request::Inbox { .. } => MessageType::INBOX,
        Request::Ping => MessageType::SESSION_PING,
    }
}

impl From<Need> for RequestError {
    fn from(need: Need) -> Self {
        Self::FeatureMissing(need.feature)
    }
}

impl From<LimitError> for RequestError {
    fn from(error: LimitError) -> Self {
        Self::Invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use towline_wire::Feature;

    use super::*;
    use crate::server::{Effect, ServerSession};

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
            input: false,
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
            (Request::Inbox { job: None }, Feature::Input),
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

    /// [ARCP 6.2-3, 7.2-3, 7.3-3] what a client sends a runtime takes, and what it refuses a runtime refuses: both read
    /// the same tables, also at their edges.
    #[test]
    fn client_and_runtime_agree() {
        let key = |bytes: usize| {
            format!(
                r#"{{"agent":"a","idempotency_key":"{}"}}"#,
                "k".repeat(bytes)
            )
        };
        let submits = [
            r#"{"agent":"a"}"#.to_owned(),
            r#"{"agent":"a@1"}"#.to_owned(),
            r#"{"agent":"a","lease_request":{"model.use":[]}}"#.to_owned(),
            r#"{"agent":"a","lease_request":{"model.use":["m"]}}"#.to_owned(),
            r#"{"agent":"a","lease_request":{"cost.budget":[]}}"#.to_owned(),
            r#"{"agent":"a","lease_constraints":{}}"#.to_owned(),
            r#"{"agent":"a","lease_constraints":{"expires_at":"2030-01-01T00:00:00Z"}}"#.to_owned(),
            r#"{"agent":"a","max_runtime_sec":0}"#.to_owned(),
            r#"{"agent":"a","max_runtime_sec":0.5}"#.to_owned(),
            key(0),
            key(1),
            key(256),
            key(257),
        ];
        let features = [
            FeatureSet::ALL,
            FeatureSet::NONE,
            FeatureSet::ALL.without(Feature::ModelUse),
            FeatureSet::ALL.without(Feature::CostBudget),
        ];
        for features in features {
            for json in &submits {
                let taken = runtime_takes("job.submit", json, features);
                assert_eq!(check(&submit(json), features).is_ok(), taken, "{json}");
            }
            for limit in [0, 1, 1000, 1001] {
                let list = Request::List(towline_wire::payload::ListJobs {
                    limit: Some(limit),
                    ..Default::default()
                });
                let json = format!(r#"{{"limit":{limit}}}"#);
                let taken = runtime_takes("session.list_jobs", &json, features);
                assert_eq!(check(&list, features).is_ok(), taken, "{json}");
            }
        }
    }

    fn runtime_takes(kind: &str, payload: &str, features: FeatureSet) -> bool {
        let text = |kind: &str, payload: &str| {
            let json = format!(r#"{{"arcp":"1.1","id":"m","type":"{kind}","payload":{payload}}}"#);
            towline_wire::Envelope::decode_text(json).unwrap()
        };
        let mut session = ServerSession::new(FeatureSet::ALL);
        session.on_frame(text("session.hello", r#"{"auth":{"token":"t"}}"#));
        session.on_principal();
        session.on_attached(towline_wire::SessionId::parse("s").unwrap(), features);
        match session.on_frame(text(kind, payload)) {
            Effect::Request(_) => true,
            Effect::Refuse { .. } => false,
            other => panic!("{other:?}"),
        }
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
