//! Against a stand-in that answers as a LiteLLM proxy does.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
    routing::post,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use towline_store::Principal;
use towline_wire::{AgentRef, CredentialId, JobId};

use super::{super::CredentialConstraints, *};

const MASTER: &str = "sk-master-0123456789";

/// The proxy's keys by alias, what it was asked, and what it is going to answer instead.
#[derive(Clone, Default)]
struct StandIn(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    keys: BTreeMap<String, String>,
    asked: Vec<Value>,
    faults: VecDeque<Fault>,
}

#[derive(Clone, Copy)]
enum Fault {
    Status(u16),
    /// The request is carried out and the connection dies.
    Silence,
    /// An answer nobody expects.
    Garbage,
}

impl StandIn {
    async fn start(&self) -> SocketAddr {
        let router = Router::new()
            .route("/key/generate", post(serve))
            .route("/key/delete", post(serve))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn answer(&self, path: &str, headers: &HeaderMap, body: &Value) -> (u16, Value) {
        let error = |code: u16, message: &str| {
            let error = json!({"message": message, "type": "auth_error", "param": "None", "code": code.to_string()});
            (code, json!({ "error": error }))
        };
        let bearer = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        if bearer != Some(&format!("Bearer {MASTER}")) {
            return error(
                401,
                "Authentication Error, Invalid proxy server token passed",
            );
        }
        let mut inner = self.0.lock();
        inner.asked.push(body.clone());
        if path == "/key/generate" {
            let alias = body["key_alias"].as_str().unwrap().to_owned();
            if inner.keys.contains_key(&alias) {
                return error(
                    400,
                    &format!(
                        "Key with alias '{alias}' already exists. Unique key aliases are required."
                    ),
                );
            }
            let key = format!("sk-of-{alias}");
            inner.keys.insert(alias.clone(), key.clone());
            return (
                200,
                json!({"key": key, "key_alias": alias, "token": "hash", "expires": null, "max_budget": body["max_budget"]}),
            );
        }
        let aliases = body["key_aliases"].as_array().unwrap();
        let deleted: Vec<_> = aliases
            .iter()
            .filter_map(|alias| inner.keys.remove(alias.as_str().unwrap()))
            .collect();
        if deleted.is_empty() {
            error(404, "{'error': 'No keys found'}")
        } else {
            (200, json!({ "deleted_keys": deleted }))
        }
    }
}

async fn serve(
    State(stand_in): State<StandIn>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = stand_in.0.lock().faults.pop_front();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let (status, answer) = match fault {
        Some(Fault::Status(status)) => (
            status,
            json!({"error": {"message": format!("no, {MASTER}")}}),
        ),
        None | Some(Fault::Silence | Fault::Garbage) => {
            stand_in.answer(uri.path(), &headers, &body)
        }
    };
    match fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Garbage) => Response::new(Body::from("<html>sk-hidden</html>")),
        _ => {
            let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
            response.body(Body::from(answer.to_string())).unwrap()
        }
    }
}

async fn provisioner(stand_in: &StandIn, options: LiteLlmOptions) -> LiteLlmProvisioner {
    let url = format!("http://{}", stand_in.start().await);
    LiteLlmProvisioner::new(&url, MASTER, options).unwrap()
}

fn request(reference: &str, models: &[&str], budget: Option<&str>) -> IssueRequest {
    let cost_budget = budget.map(|amount| ("USD".to_owned(), amount.parse().unwrap()));
    IssueRequest {
        credential: CredentialId::parse("cred_1").unwrap(),
        reference: reference.to_owned(),
        job: JobId::parse("job_1").unwrap(),
        principal: Principal::new("alice"),
        agent: AgentRef::parse("writer@1.0.0").unwrap(),
        constraints: CredentialConstraints {
            cost_budget: cost_budget.into_iter().collect(),
            model_use: Some(models.iter().map(|model| (*model).to_owned()).collect()),
            expires_at: None,
            expires_in: Some(Duration::from_millis(90_500)),
        },
    }
}

fn lost(reference: &str) -> UpstreamValue {
    UpstreamValue {
        reference: reference.to_owned(),
        upstream_ref: None,
        value: None,
    }
}

/// [ARCP 9.8-4] the lease's bounds are baked into the key, the budget to the last digit.
#[tokio::test]
async fn a_key_is_bounded_as_the_lease_is() {
    let stand_in = StandIn::default();
    let options = LiteLlmOptions::new()
        .models(["acme/large", "acme/small"])
        .lifetime(Duration::from_secs(3600));
    let upstream = provisioner(&stand_in, options.endpoint("https://llm.example/v1")).await;
    let issued = upstream
        .issue(&request("cred_1.0", &["acme/s*"], Some("1.10")))
        .await
        .unwrap();
    assert_eq!(issued.value.expose(), "sk-of-towline.cred_1.0");
    assert_eq!(
        (issued.scheme.as_str(), issued.endpoint.as_str()),
        ("bearer", "https://llm.example/v1")
    );
    let asked = stand_in.0.lock().asked[0].clone();
    let metadata = json!({"towline_job": "job_1", "towline_credential": "cred_1", "towline_principal": "alice"});
    assert_eq!(
        asked.to_string(),
        format!(
            r#"{{"key_alias":"towline.cred_1.0","models":["acme/small"],"max_budget":1.10,"duration":"90s","metadata":{metadata}}}"#
        )
    );
}

/// [ARCP 9.8-3] a rotation makes another key under another alias, and the one before stays until it is deleted.
#[tokio::test]
async fn keys_are_rotated_and_deleted_by_their_alias() {
    let stand_in = StandIn::default();
    let upstream = provisioner(&stand_in, LiteLlmOptions::new()).await;
    let first = upstream
        .issue(&request("cred_1.0", &["m"], None))
        .await
        .unwrap();
    let first = UpstreamValue {
        reference: "cred_1.0".to_owned(),
        upstream_ref: first.upstream_ref,
        value: Some(first.value),
    };
    let second = upstream
        .rotate(&request("cred_1.1", &["m"], None), &first)
        .await
        .unwrap();
    assert_ne!(
        second.value.expose(),
        first.value.as_ref().unwrap().expose()
    );
    assert_eq!(stand_in.0.lock().keys.len(), 2);
    assert_eq!(upstream.revoke(&first).await, Ok(Revocation::Revoked));
    assert_eq!(upstream.revoke(&first).await, Ok(Revocation::NotFound));
    assert_eq!(
        upstream.revoke(&lost("cred_1.1")).await,
        Ok(Revocation::Revoked)
    );
    assert!(stand_in.0.lock().keys.is_empty());
}

/// [ARCP 9.8-2] a key whose making was never answered can be deleted; what is refused made none.
#[tokio::test]
async fn failures_say_whether_a_key_may_have_been_made() {
    let stand_in = StandIn::default();
    let upstream = provisioner(
        &stand_in,
        LiteLlmOptions::new().timeout(Duration::from_millis(200)),
    )
    .await;
    let issue = |fault: Option<Fault>, reference: &'static str| {
        stand_in.0.lock().faults.extend(fault);
        let upstream = &upstream;
        async move {
            upstream
                .issue(&request(reference, &["m"], None))
                .await
                .unwrap_err()
        }
    };
    assert!(!issue(Some(Fault::Silence), "cred_1.0").await.is_refusal());
    assert!(!issue(Some(Fault::Garbage), "cred_1.1").await.is_refusal());
    assert!(
        !issue(Some(Fault::Status(500)), "cred_1.2")
            .await
            .is_refusal()
    );
    assert!(
        issue(Some(Fault::Status(400)), "cred_1.3")
            .await
            .is_refusal()
    );
    // The same request a second time: somebody on the way repeated it.
    assert!(!issue(None, "cred_1.0").await.is_refusal());
    assert_eq!(
        upstream.revoke(&lost("cred_1.0")).await,
        Ok(Revocation::Revoked)
    );
    assert_eq!(
        upstream.revoke(&lost("cred_1.1")).await,
        Ok(Revocation::Revoked)
    );
    assert_eq!(
        upstream.revoke(&lost("cred_1.2")).await,
        Ok(Revocation::NotFound)
    );
    // Only the proxy's own words tell that a key is not there.
    stand_in.0.lock().faults.push_back(Fault::Status(404));
    assert!(upstream.revoke(&lost("cred_1.2")).await.is_err());
    assert!(
        upstream
            .issue(&request("cred_1.4", &["m*"], None))
            .await
            .unwrap_err()
            .is_refusal()
    );
}

/// [ARCP 9.8-5] neither the master key nor an answer stands in an error or in `Debug`.
#[tokio::test]
async fn errors_hold_no_secrets() {
    let stand_in = StandIn::default();
    let upstream = provisioner(&stand_in, LiteLlmOptions::new()).await;
    stand_in
        .0
        .lock()
        .faults
        .extend([Fault::Garbage, Fault::Status(500)]);
    let mut texts = format!("{upstream:?}");
    for reference in ["cred_1.0", "cred_1.1"] {
        texts += &upstream
            .issue(&request(reference, &["m"], None))
            .await
            .unwrap_err()
            .to_string();
    }
    let gone =
        LiteLlmProvisioner::new("http://127.0.0.1:1", MASTER, LiteLlmOptions::new()).unwrap();
    texts += &gone
        .revoke(&lost("cred_1.0"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        !texts.contains("sk-master") && !texts.contains("sk-hidden"),
        "{texts}"
    );
}

#[test]
fn keys_go_over_https_or_loopback_only() {
    let made = |url: &str| LiteLlmProvisioner::new(url, MASTER, LiteLlmOptions::new()).is_ok();
    assert!(
        made("https://llm.example")
            && made("https://llm.example/proxy/")
            && made("http://localhost:4000")
    );
    assert!(
        !made("http://llm.example")
            && !made("ftp://llm.example")
            && !made("https://u:p@llm.example")
            && !made("llm")
    );
}
