//! Who is let in, what is said no to and how, and the description of it all.

use serde_json::Value;
use towline_axum::{Door, DoorOptions, EndpointOptions};
use towline_runtime::{AdmissionLimits, RuntimeOptions};

use crate::client::{ALICE, BOB, JSON, Server};

/// [ARCP 16-3, 6.1-1] Nobody gets in without a good token, and the refusal says how to show one.
#[tokio::test]
async fn a_token_is_wanted() {
    let server = Server::start().await;
    let refused = async |path: &str, headers: &[&str]| {
        let answer = server.ask(&format!("GET {path}"), headers, "").await;
        answer.is_problem(401, "UNAUTHENTICATED");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    };
    for path in ["/v1/agents", "/v1/jobs/job_x/events", "/v1/nothing"] {
        refused(path, &[]).await;
    }
    for headers in [
        &["Authorization: Bearer wrong"][..],
        &["Authorization: Basic Z29vZA=="],
        &["Authorization: Bearer"],
        &[ALICE, BOB],
    ] {
        refused("/v1/jobs", headers).await;
    }
    let nothing = server.ask("GET /v1/jobs", &[], "").await.json();
    let detail = nothing["detail"].as_str().unwrap();
    assert!(detail.contains("Authorization: Bearer TOKEN"), "{nothing}");
    let answer = server
        .ask("GET /v1/jobs", &["Authorization: bearer good"], "")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// [ARCP 16-3] Each way to ask wrongly has its status.
#[tokio::test]
async fn wrong_requests_have_their_status() {
    let server = Server::with_options(EndpointOptions::new().max_message_size(1000)).await;
    let ask = async |line: &str, headers: &[&str], body: &str| {
        let mut all = vec![ALICE];
        all.extend(headers);
        server.ask(line, &all, body).await
    };
    let echo = r#"{"agent":"echo"}"#;
    let bad = "INVALID_REQUEST";
    ask("GET /v1/nothing", &[], "").await.is_problem(404, bad);
    ask("GET /v1", &[], "").await.is_problem(404, bad);
    let answer = ask("DELETE /v1/jobs", &[], "").await;
    answer.is_problem(405, bad);
    let allowed = answer.header("allow").unwrap();
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
    ask("POST /v1/agents", &[JSON], echo)
        .await
        .is_problem(405, bad);
    ask("GET /v1/jobs/job_x/cancel", &[], "")
        .await
        .is_problem(405, bad);
    ask("GET /v1/jobs", &["Accept: text/html"], "")
        .await
        .is_problem(406, bad);
    let long = format!(r#"{{"agent":"echo","input":"{}"}}"#, "x".repeat(1000));
    ask("POST /v1/jobs", &[JSON], &long)
        .await
        .is_problem(413, bad);
    for wrong in [
        &[][..],
        &["Content-Type: text/plain"],
        &["Content-Type: application/x-www-form-urlencoded"],
        &[JSON, "Content-Encoding: gzip"],
    ] {
        ask("POST /v1/jobs", wrong, echo).await.is_problem(415, bad);
    }
    let charset = ["Content-Type: application/json; charset=utf-8"];
    assert_eq!(ask("POST /v1/jobs", &charset, echo).await.status, 202);
    for body in [
        "",
        "{",
        "[]",
        "7",
        "\"x\"",
        "{}",
        r#"{"agent":7}"#,
        r#"{"agent":"No Name"}"#,
    ] {
        ask("POST /v1/jobs", &[JSON], body)
            .await
            .is_problem(400, bad);
    }
    ask("POST /v1/jobs?x=1", &[JSON], echo)
        .await
        .is_problem(400, bad);
    let unknown = r#"{"agent":"nobody"}"#;
    let answer = ask("POST /v1/jobs", &[JSON], unknown).await;
    let problem = answer.is_problem(404, "AGENT_NOT_AVAILABLE");
    assert_eq!(problem["retryable"], true);
    let version = r#"{"agent":"echo@9"}"#;
    let answer = ask("POST /v1/jobs", &[JSON], version).await;
    answer.is_problem(404, "AGENT_VERSION_NOT_AVAILABLE");
    let past = r#"{"agent":"echo","lease_constraints":{"expires_at":"2001-01-01T00:00:00Z"}}"#;
    let answer = ask("POST /v1/jobs", &[JSON], past).await;
    assert!([400, 422].contains(&answer.status), "{answer:?}");
    let cancel = "POST /v1/jobs/job_x/cancel";
    ask(cancel, &[JSON], r#"{"reason":7}"#)
        .await
        .is_problem(400, bad);
    ask(cancel, &[], "").await.is_problem(404, "JOB_NOT_FOUND");
    let name = "x".repeat(300);
    let answer = ask(&format!("GET /v1/jobs/{name}"), &[], "").await;
    answer.is_problem(404, "JOB_NOT_FOUND");
}

/// [ARCP 16-3, 14-6] What a principal has too much of is 429 with a time to come back after.
#[tokio::test]
async fn a_principals_own_bound_is_too_many_requests() {
    let admission = AdmissionLimits {
        per_principal: 1,
        waiting_per_principal: 1,
        ..AdmissionLimits::default()
    };
    let options = RuntimeOptions::default().admission(admission);
    let server = Server::with(|builder| builder.options(options), EndpointOptions::new()).await;
    let hang = r#"{"agent":"hang"}"#;
    server.submit(hang).await;
    server.submit(hang).await;
    let answer = server.post("/v1/jobs", hang).await;
    let problem = answer.is_problem(429, "INTERNAL_ERROR");
    assert_eq!(problem["retryable"], true);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// [ARCP 16-3] No difference shows whether a job of somebody else exists, whatever is asked of it, and whatever the runtime
/// tells sessions.
#[tokio::test]
async fn foreign_jobs_do_not_exist() {
    let options = RuntimeOptions::default().conceal_foreign_jobs(false);
    let server = Server::with(|builder| builder.options(options), EndpointOptions::new()).await;
    let job = server.submit(r#"{"agent":"hang"}"#).await;
    for (method, rest) in [
        ("GET", ""),
        ("GET", "/result"),
        ("GET", "/events"),
        ("POST", "/cancel"),
    ] {
        let told = async |job: &str| {
            let line = format!("{method} /v1/jobs/{job}{rest}");
            let answer = server.ask(&line, &[BOB], "").await;
            let problem = answer.is_problem(404, "JOB_NOT_FOUND");
            problem.to_string().replace(job, "JOB")
        };
        assert_eq!(
            told(&job).await,
            told("job_nobodys").await,
            "{method} {rest}"
        );
    }
}

/// [ARCP 16-4, 4-8] Host and Origin come first; pages of allowed origins may ask, with a preflight; those of the server itself
/// too; all others are refused.
#[tokio::test]
async fn hosts_and_origins_come_first() {
    let options = EndpointOptions::new()
        .allowed_hosts(["127.0.0.1"])
        .allowed_origins(["https://app.example"]);
    let server = Server::with_options(options).await;
    let host = "Host: evil.example";
    for path in ["/v1/jobs", "/openapi.json"] {
        let answer = server.ask(&format!("GET {path}"), &[host], "").await;
        answer.is_problem(403, "PERMISSION_DENIED");
    }
    let evil = "Origin: https://evil.example";
    let answer = server.ask("GET /v1/jobs", &[ALICE, evil], "").await;
    answer.is_problem(403, "PERMISSION_DENIED");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let preflight = "Access-Control-Request-Method: POST";
    let answer = server.ask("OPTIONS /v1/jobs", &[evil, preflight], "").await;
    answer.is_problem(403, "PERMISSION_DENIED");

    let app = "Origin: https://app.example";
    let answer = server.ask("OPTIONS /v1/jobs", &[app, preflight], "").await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let origin = "access-control-allow-origin";
    assert_eq!(answer.header(origin), Some("https://app.example"));
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("Authorization") && headers.contains("Last-Event-ID"));
    let methods = answer.header("access-control-allow-methods").unwrap();
    assert!(methods.contains("POST"), "{methods}");
    let answer = server.ask("GET /v1/jobs", &[ALICE, app], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header(origin), Some("https://app.example"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    // Also what is refused can be read by the page.
    let answer = server.ask("GET /v1/jobs", &[app], "").await;
    answer.is_problem(401, "UNAUTHENTICATED");
    assert_eq!(answer.header(origin), Some("https://app.example"));

    let own = format!("Origin: http://{}", server.address);
    let answer = server.ask("GET /v1/jobs", &[ALICE, &own], "").await;
    assert_eq!((answer.status, answer.header(origin)), (200, None));
}

/// [ARCP 16-4] Nothing is kept by caches or browsers, and nothing is a cookie.
#[tokio::test]
async fn answers_are_not_kept() {
    let server = Server::start().await;
    for path in ["/v1/jobs", "/v1/agents", "/v1/nothing"] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("set-cookie"), None);
    }
}

/// [ARCP 14-5, 16-2] Whoever shows a good token is a stranger no more. The time limits of plain requests hold for all that is
/// quick, and not for watching, or waiting for an end.
#[tokio::test]
async fn the_door_knows_who_came_and_who_stays() {
    let visit = || {
        let door = Door::new(DoorOptions::new());
        door.enter("127.0.0.1:9".parse::<std::net::SocketAddr>().unwrap())
            .unwrap()
    };
    let watched = visit();
    let server = Server::visited(&watched).await;
    server.ask("GET /v1/agents", &[], "").await;
    assert!(!watched.is_known());
    let job = server.submit(r#"{"agent":"echo"}"#).await;
    assert!(watched.is_known() && !watched.is_taken());
    let mut watch = server.watch(&format!("/v1/jobs/{job}/events"), &[]).await;
    assert!(watched.is_taken());
    while watch.next().await.is_some() {}
    let waiting = visit();
    let server = Server::visited(&waiting).await;
    server.done(r#"{"agent":"echo"}"#).await;
    assert!(waiting.is_taken());
}

/// [ARCP 16-5] The description needs no token. Each operation in it is there, and every member of a real answer is in its
/// schema.
#[tokio::test]
async fn the_description_holds() {
    let server = Server::start().await;
    let answer = server.ask("GET /openapi.json", &[], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let description = answer.json();
    let job = server.done(r#"{"agent":"echo","input":1}"#).await;
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let line = format!("{} {}", method.to_uppercase(), path.replace("{job}", &job));
            let answer = server.ask(&line, &[ALICE], "").await;
            let status = answer.status.to_string();
            assert!(
                operation["responses"].get(&status).is_some(),
                "{line}: {status}"
            );
        }
    }
    let schemas = &description["components"]["schemas"];
    let members_are_described = |value: &Value, schema: &str| {
        let schema = &schemas[schema];
        let known = schema["properties"].as_object().unwrap();
        for member in value.as_object().unwrap().keys() {
            assert!(known.contains_key(member), "{member} is not in {schema}");
        }
        for required in schema["required"].as_array().unwrap() {
            assert!(
                value.get(required.as_str().unwrap()).is_some(),
                "{required}"
            );
        }
    };
    let document = server.get(&format!("/v1/jobs/{job}")).await.json();
    members_are_described(&document, "Job");
    members_are_described(&server.get("/v1/jobs").await.json(), "Jobs");
    members_are_described(&server.get("/v1/agents").await.json(), "Agents");
    members_are_described(&server.get("/v1/jobs/job_x").await.json(), "Problem");
    let failed = server.done(r#"{"agent":"fail"}"#).await;
    let failed = server.get(&format!("/v1/jobs/{failed}")).await.json();
    members_are_described(&failed, "Job");
    members_are_described(&failed["error"], "JobFailure");
}
