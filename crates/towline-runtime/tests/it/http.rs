//! The web through the lease.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, Uri},
    response::Response,
    routing::any,
};
use serde_json::{Value, json};
use towline_runtime::{AgentError, HttpError, HttpOptions, JobContext};

use crate::peer::{Peer, runtime};

/// A web server that tells what it was asked, redirects where it is told to, and sends as much as it is told to.
async fn server() -> SocketAddr {
    let router = Router::new().fallback(any(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn answer(uri: Uri, request: Request) -> Response {
    let (path, query) = (
        uri.path().to_owned(),
        uri.query().unwrap_or_default().to_owned(),
    );
    if let Some(status) = path.strip_prefix("/to/") {
        let status = StatusCode::from_bytes(status.as_bytes()).unwrap();
        return Response::builder()
            .status(status)
            .header("location", query)
            .body(Body::empty())
            .unwrap();
    }
    if let Some(bytes) = path.strip_prefix("/bytes/") {
        return Response::new(Body::from(vec![b'x'; bytes.parse().unwrap()]));
    }
    if path == "/never" {
        std::future::pending::<()>().await;
    }
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let body = axum::body::to_bytes(body, 1024).await.unwrap();
    let seen = json!({
        "method": parts.method.as_str(),
        "path": path,
        "authorization": header("authorization"),
        "x-pat": header("x-pat"),
        "accept": header("accept"),
        "type": header("content-type"),
        "body": String::from_utf8_lossy(&body),
    });
    Response::new(Body::from(seen.to_string()))
}

/// Runs `agent` as a job that may fetch what the patterns cover; gives every frame of it.
async fn run<F, Fut>(patterns: &[String], options: HttpOptions, agent: F) -> Vec<Value>
where
    F: Fn(JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, AgentError>> + Send + 'static,
{
    let runtime = runtime()
        .http(options)
        .agent("web", move |ctx: JobContext, _input: Value| agent(ctx))
        .build()
        .await
        .unwrap();
    let mut alice = Peer::alice(&runtime).await;
    let job = alice
        .submit(json!({"agent": "web", "lease_request": {"net.fetch": patterns}}))
        .await;
    let frames = alice.until_end(&job).await;
    runtime.shutdown().await;
    frames
}

fn denials(frames: &[Value]) -> Vec<String> {
    let bodies = frames.iter().map(|frame| &frame["payload"]);
    let results = bodies.filter(|payload| payload["kind"] == "tool_result");
    results
        .map(|payload| {
            assert_eq!(payload["body"]["error"]["code"], "PERMISSION_DENIED");
            payload["body"]["error"]["message"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

fn succeeded(frames: &[Value]) {
    assert_eq!(
        frames.last().unwrap()["payload"]["final_status"],
        "success",
        "{frames:?}"
    );
}

/// [ARCP 9.3-2] what the lease covers is fetched, anything else is denied before a connection is made.
#[tokio::test]
async fn requests_stay_within_the_lease() {
    let at = server().await;
    let frames = run(
        &[format!("http://127.0.0.1:{}/open/**", at.port())],
        HttpOptions::new(),
        move |ctx| async move {
            let http = ctx.http();
            let answer = http
                .get(format!("http://{at}/open/./a?q=1#f"))
                .header("accept", "text/x")
                // As good as none.
                .timeout(std::time::Duration::MAX)
                .send()
                .await?;
            assert_eq!(
                (answer.status().as_u16(), answer.url()),
                (200, &*format!("http://{at}/open/a?q=1"))
            );
            let seen: Value = answer.json().await?;
            assert_eq!(
                (&seen["method"], &seen["path"], &seen["accept"]),
                (&json!("GET"), &json!("/open/a"), &json!("text/x"))
            );
            let posted = http
                .post(format!("http://{at}/open/b"))
                .json(&json!({"a": 1}))
                .send()
                .await?;
            let seen: Value = posted.json().await?;
            assert_eq!(
                (&seen["body"], &seen["type"]),
                (&json!("{\"a\":1}"), &json!("application/json"))
            );
            for closed in ["/closed", "/open/../closed", "/open/%2e%2e/closed"] {
                let refused = http
                    .get(format!("http://{at}{closed}?token=hidden"))
                    .send()
                    .await;
                assert!(matches!(refused, Err(HttpError::Denied(_))), "{closed}");
            }
            assert!(matches!(
                http.get("http://user@127.0.0.1/open/a").send().await,
                Err(HttpError::Denied(_))
            ));
            let host = http
                .get(format!("http://{at}/open/a"))
                .header("Host", "other")
                .send()
                .await;
            assert!(matches!(host, Err(HttpError::Invalid(_))));
            Ok(Value::Null)
        },
    )
    .await;
    succeeded(&frames);
    let denials = denials(&frames);
    assert_eq!(denials.len(), 4);
    assert!(
        !denials
            .iter()
            .any(|denial| denial.contains("hidden") || denial.contains("user@")),
        "{denials:?}"
    );
}

/// [ARCP 9.2-4] every hop of a redirect is authorised on its own.
#[tokio::test]
async fn redirects_are_authorised_hop_by_hop() {
    let at = server().await;
    let patterns = [format!("http://{at}/to/**"), format!("http://{at}/open/**")];
    let frames = run(
        &patterns,
        HttpOptions::new().max_redirects(2),
        move |ctx| async move {
            let http = ctx.http();
            let answer = http
                .get(format!("http://{at}/to/302?/open/a"))
                .send()
                .await?;
            assert_eq!(answer.url(), format!("http://{at}/open/a"));
            let answer = http
                .get(format!("http://{at}/to/301?/to/307?/open/b"))
                .send()
                .await?;
            assert_eq!(answer.url(), format!("http://{at}/open/b"));
            for out in [
                "/closed",
                "//localhost:1/open/a",
                "http://example.com/open/a",
                "/open/../closed",
            ] {
                let refused = http.get(format!("http://{at}/to/302?{out}")).send().await;
                assert!(matches!(refused, Err(HttpError::Denied(_))), "{out}");
            }
            let circle = http
                .get(format!(
                    "http://{at}/to/302?/to/302?/to/302?/to/302?/open/a"
                ))
                .send()
                .await;
            assert!(
                matches!(circle, Err(HttpError::TooManyRedirects { limit: 2, .. })),
                "{circle:?}"
            );
            Ok(Value::Null)
        },
    )
    .await;
    succeeded(&frames);
    assert_eq!(denials(&frames).len(), 4);
}

/// A redirect changes the request as browsers do, and takes no keys to another origin.
#[tokio::test]
async fn redirects_keep_keys_at_home() {
    let (here, there) = (server().await, server().await);
    let patterns = [format!("http://{here}/**"), format!("http://{there}/**")];
    let frames = run(&patterns, HttpOptions::new(), move |ctx| async move {
        let http = ctx.http();
        let ask = |url: String| {
            let request = http.post(url).header("authorization", "Bearer k").header("x-pat", "k");
            let request = request.header("accept", "text/x").header("content-type", "text/y").body("b");
            async move { request.send().await?.json::<Value>().await }
        };
        let home = ask(format!("http://{here}/to/307?/a")).await?;
        assert_eq!(home, json!({
            "method": "POST", "path": "/a", "authorization": "Bearer k", "x-pat": "k", "accept": "text/x",
            "type": "text/y", "body": "b",
        }));
        let away = ask(format!("http://{here}/to/303?http://{there}/a")).await?;
        assert_eq!(away, json!({
            "method": "GET", "path": "/a", "authorization": null, "x-pat": null, "accept": "text/x", "type": null,
            "body": "",
        }));
        Ok(Value::Null)
    })
    .await;
    succeeded(&frames);
}

/// [ARCP 9.3-2] a lease with wildcards for hosts does not open the runtime's own network, neither by address nor by name.
#[tokio::test]
async fn private_addresses_have_to_be_named() {
    let at = server().await;
    let agent = move |ctx: JobContext| async move {
        let mut answers = Vec::new();
        for host in [
            "127.0.0.1",
            "localhost",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0x7f.1",
        ] {
            let answer = ctx
                .http()
                .get(format!("http://{host}:{}/a", at.port()))
                .send()
                .await;
            answers.push(match answer {
                Ok(answer) => json!(answer.status().as_u16()),
                Err(HttpError::Denied(denied)) => json!(denied.code()),
                Err(_) => json!("failed"),
            });
        }
        Ok(json!(answers))
    };
    let result = |frames: &[Value]| frames.last().unwrap()["payload"]["result"].clone();

    let open = ["http://**:*/**".to_owned()];
    let frames = run(&open, HttpOptions::new(), agent).await;
    assert_eq!(result(&frames), json!(vec!["PERMISSION_DENIED"; 5]));
    assert!(
        denials(&frames)
            .iter()
            .all(|denial| denial.contains("private address")),
        "{frames:?}"
    );

    let named = [
        "http://**:*/**".to_owned(),
        "http://127.0.0.1:*/**".to_owned(),
    ];
    let frames = run(&named, HttpOptions::new(), agent).await;
    assert_eq!(
        result(&frames),
        json!([200, "PERMISSION_DENIED", "PERMISSION_DENIED", 200, 200])
    );

    let frames = run(
        &open,
        HttpOptions::new().dangerously_allow_private_addresses(true),
        agent,
    )
    .await;
    assert_eq!(result(&frames)[0], json!(200));
}

/// Bodies and waits are bounded, and an error text holds no query.
#[tokio::test]
async fn requests_are_bounded() {
    let at = server().await;
    let frames = run(
        &[format!("http://{at}/**")],
        HttpOptions::new().body_limit(1000),
        move |ctx| async move {
            let http = ctx.http();
            assert_eq!(
                http.get(format!("http://{at}/bytes/1000"))
                    .send()
                    .await?
                    .bytes()
                    .await?
                    .len(),
                1000
            );
            let large = http
                .get(format!("http://{at}/bytes/1001?key=hidden"))
                .send()
                .await?
                .bytes()
                .await
                .unwrap_err();
            assert!(
                matches!(large, HttpError::TooLarge { limit: 1000, .. }),
                "{large}"
            );
            let late = http
                .get(format!("http://{at}/never?key=hidden"))
                .timeout(std::time::Duration::from_millis(50));
            let late = late.send().await.unwrap_err();
            assert!(matches!(late, HttpError::Timeout { .. }), "{late}");
            assert!(!format!("{large} {late}").contains("hidden"));
            let text = http
                .get(format!("http://{at}/a"))
                .send()
                .await?
                .json::<Vec<u8>>()
                .await;
            assert!(matches!(text, Err(HttpError::Unreadable { .. })));
            Ok(Value::Null)
        },
    )
    .await;
    succeeded(&frames);
}

/// Nobody listens: a failure, not a denial.
#[tokio::test]
async fn a_host_that_is_not_there_is_a_failure() {
    let at = server().await;
    let frames = run(
        &["http://127.0.0.1:1/**".to_owned()],
        HttpOptions::new(),
        move |ctx| async move {
            let gone = ctx
                .http()
                .get("http://127.0.0.1:1/a?key=hidden")
                .send()
                .await
                .unwrap_err();
            assert!(
                matches!(gone, HttpError::Failed { .. }) && !gone.to_string().contains("hidden"),
                "{gone} {at}"
            );
            Ok(Value::Null)
        },
    )
    .await;
    succeeded(&frames);
    assert!(denials(&frames).is_empty());
}
