//! Authority and money, asked for from outside through `access` and `spend` (chapter 9).

use serde_json::{Value, json};
use towline_tests::{peer::Peer, server::Serve};

/// Asks `access` for operations under a lease.
async fn access(peer: &mut Peer, lease: Value, ops: &[(&str, &str)]) -> Vec<Value> {
    let end = peer
        .run(json!({"agent": "access", "input": {"ops": ops}, "lease_request": lease}))
        .await;
    assert_eq!(end["final_status"], "success", "{end}");
    let answers = end["result"].as_array().unwrap().clone();
    for (answer, (op, value)) in answers.iter().zip(ops) {
        assert_eq!(
            (&answer["op"], &answer["value"]),
            (&json!(op), &json!(value)),
            "{answer}"
        );
    }
    answers
}

async fn check(peer: &mut Peer, lease: Value, allowed: &[(&str, &str)], denied: &[(&str, &str)]) {
    for answer in access(peer, lease.clone(), allowed).await {
        assert_eq!(
            (&answer["allowed"], &answer["code"]),
            (&json!(true), &Value::Null),
            "{lease}: {answer}"
        );
    }
    for answer in access(peer, lease.clone(), denied).await {
        assert_eq!(
            (&answer["allowed"], &answer["code"]),
            (&json!(false), &json!("PERMISSION_DENIED")),
            "{lease}: {answer}"
        );
    }
}

/// [ARCP 9.2-2, 9.2-3, 9.3-1] File patterns: anchored, normalised, nothing without a grant.
#[tokio::test]
async fn files_are_reached_as_the_lease_says() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let lease = json!({"fs.read": ["/work/**", "/etc/hosts", "/logs/*.log", "/v/?.txt", "/c/[a-c]x", "/n/[!0-9]", "/alt/{one,two}", "/m/**/z"]});
    let allowed = [
        ("fs.read", "/work"),
        ("fs.read", "/work/a/b/c"),
        ("fs.read", "/work/./a/../b"),
        ("fs.read", "/work//a"),
        ("fs.read", "/etc/hosts"),
        ("fs.read", "/logs/a.log"),
        ("fs.read", "/logs/.log"),
        ("fs.read", "/v/x.txt"),
        ("fs.read", "/c/bx"),
        ("fs.read", "/n/a"),
        ("fs.read", "/alt/two"),
        ("fs.read", "/m/z"),
        ("fs.read", "/m/a/b/z"),
    ];
    let denied = [
        ("fs.read", "/workspace"),
        ("fs.read", "/work/../etc/passwd"),
        ("fs.read", "/work/../../work/a"),
        ("fs.read", "work/a"),
        ("fs.read", ""),
        ("fs.read", "/"),
        ("fs.read", "/WORK/a"),
        ("fs.read", "/etc/hosts/x"),
        ("fs.read", "/logs/a/b.log"),
        ("fs.read", "/v/ab.txt"),
        ("fs.read", "/v//.txt"),
        ("fs.read", "/c/dx"),
        ("fs.read", "/n/5"),
        ("fs.read", "/alt/three"),
        ("fs.write", "/work/a"),
        ("tool.call", "/work/a"),
        ("x-vendor.acme.db", "/work/a"),
        ("no.such", "/work/a"),
    ];
    check(&mut peer, lease, &allowed, &denied).await;
    check(
        &mut peer,
        json!({}),
        &[],
        &[
            ("fs.read", "/a"),
            ("net.fetch", "https://a/"),
            ("tool.call", "a"),
            ("agent.delegate", "echo"),
            ("model.use", "m"),
        ],
    )
    .await;
}

/// [ARCP 9.2-4] URLs are compared as URLs, and none of the usual tricks helps.
#[tokio::test]
async fn urls_are_compared_as_urls() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let lease = json!({"net.fetch": ["https://api.example.com/v1/**", "https://*.cdn.example/**"]});
    let allowed = [
        ("net.fetch", "https://api.example.com/v1/users"),
        ("net.fetch", "HTTPS://API.EXAMPLE.COM:443/v1/users"),
        ("net.fetch", "https://api.example.com/v1/a/../b"),
        ("net.fetch", "https://api.example.com/v1/%61"),
        ("net.fetch", "https://api.example.com/v1/a?q=../../x#frag"),
        ("net.fetch", "https://a.cdn.example/x"),
    ];
    let denied = [
        ("net.fetch", "http://api.example.com/v1/users"),
        ("net.fetch", "https://api.example.com:8443/v1/users"),
        ("net.fetch", "https://api.example.com/v1/../v2"),
        ("net.fetch", "https://api.example.com/v1/%2e%2e/v2"),
        ("net.fetch", "https://user@api.example.com/v1/users"),
        ("net.fetch", "https://api.example.com@evil.example/v1/users"),
        (
            "net.fetch",
            "https://evil.example/?https://api.example.com/v1/",
        ),
        (
            "net.fetch",
            "https://evil.example/#https://api.example.com/v1/",
        ),
        ("net.fetch", "https://evil.example\\@api.example.com/v1/"),
        ("net.fetch", "https://a.b.cdn.example/x"),
        ("net.fetch", "https://cdn.example/x"),
        ("net.fetch", "https://.cdn.example/x"),
        ("net.fetch", "https://api.example.com.evil.example/v1/x"),
        ("net.fetch", "/v1/users"),
    ];
    check(&mut peer, lease, &allowed, &denied).await;
}

/// [ARCP 9.2-2, 9.7-1] Tools, agents, models and vendors' namespaces follow the same grammar; `*` crosses dots.
#[tokio::test]
async fn names_follow_the_same_grammar() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let lease = json!({
        "tool.call": ["search.*", "exec:ls"], "agent.delegate": ["echo", "review@2.*"], "model.use": ["acme/*"],
        "x-vendor.acme.db": ["table:*"],
    });
    let allowed = [
        ("tool.call", "search.web"),
        ("tool.call", "search.web.deep"),
        ("tool.call", "exec:ls"),
        ("agent.delegate", "echo"),
        ("agent.delegate", "review@2.1"),
        ("model.use", "acme/small"),
        ("x-vendor.acme.db", "table:users"),
    ];
    let denied = [
        ("tool.call", "search"),
        ("tool.call", "search.a/b"),
        ("tool.call", "exec:lsx"),
        ("agent.delegate", "echoes"),
        ("agent.delegate", "review@1.0"),
        ("model.use", "acme/a/b"),
        ("model.use", "other/small"),
        ("x-vendor.acme.db", "users"),
        ("x-vendor.acme.other", "table:users"),
    ];
    check(&mut peer, lease, &allowed, &denied).await;
}

/// [ARCP 9.2-1, 9.2-5, 9.5-1, 9.6-1] What is malformed is refused at submit, and the message shows it.
#[tokio::test]
async fn malformed_leases_are_refused_at_submit() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    for lease in [
        json!({"fs.reed": ["/a"]}),
        json!({"vendor.acme": ["/a"]}),
        json!({"fs.read": ["relative/**"]}),
        json!({"fs.read": ["/a/../b"]}),
        json!({"fs.read": ["/a/[b"]}),
        json!({"fs.read": ["/a/{b"]}),
        json!({"fs.read": ["/a\\"]}),
        json!({"fs.read": [""]}),
        json!({"fs.read": "/a"}),
        json!({"fs.read": [7]}),
        json!({"net.fetch": ["example.com/**"]}),
        json!({"cost.budget": ["1.00"]}),
        json!({"cost.budget": ["USD"]}),
        json!({"cost.budget": ["USD:"]}),
        json!({"cost.budget": ["USD:-1"]}),
        json!({"cost.budget": ["USD:1e3"]}),
        json!({"cost.budget": ["USD:1."]}),
        json!({"cost.budget": ["USD:.5"]}),
        json!({"cost.budget": ["1USD:5"]}),
        json!({"cost.budget": ["USD: 5"]}),
        json!({"cost.budget": ["USD:12345678901234567890123456789"]}),
        json!({"fs.read": [format!("/{}", "a".repeat(100_000))]}),
        json!("all"),
        json!([]),
    ] {
        let error = peer
            .refused(
                "job.submit",
                json!({"agent": "echo", "lease_request": lease}),
                "INVALID_REQUEST",
            )
            .await;
        assert!(
            error["message"].as_str().unwrap().len() < 2000,
            "the message is for a person"
        );
    }
    for expires_at in [
        "2020-01-01T00:00:00Z",
        "2999-01-01T00:00:00+01:00",
        "2999-01-01T00:00:00",
        "tomorrow",
        "",
    ] {
        let constraints = json!({"expires_at": expires_at});
        peer.refused(
            "job.submit",
            json!({"agent": "echo", "lease_constraints": constraints}),
            "INVALID_REQUEST",
        )
        .await;
    }
    let far = json!({"expires_at": "9999-12-31T23:59:59Z"});
    let accepted = peer
        .ask(
            "job.submit",
            json!({"agent": "echo", "lease_constraints": far}),
        )
        .await;
    assert_eq!(accepted["type"], "job.accepted", "{accepted}");
    assert!(
        accepted["payload"]["lease_constraints"]["expires_at"]
            .as_str()
            .unwrap()
            .starts_with("9999-12-31T23:59:59")
    );
}

/// [ARCP 9.3-1] A denial inside a job is an error on the stream as well, with the reason's code.
#[tokio::test]
async fn denials_are_told_on_the_stream() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let job = peer.submit(json!({"agent": "access", "input": {"ops": [["fs.read", "/x"], ["fs.read", "/a"]]}, "lease_request": {"fs.read": ["/a"]}})).await;
    peer.end_of(&job).await;
    let results = peer.bodies(&job, "tool_result");
    assert_eq!(results.len(), 1, "{results:?}");
    assert_eq!(results[0]["error"]["code"], "PERMISSION_DENIED");
    assert_eq!(results[0]["error"]["retryable"], false);
    assert!(
        results[0]["call_id"].is_string() && results[0].get("result").is_none(),
        "{results:?}"
    );
}

/// [ARCP 9.6-1, 9.6-2, 9.6-3, 5-10] Money is exact, the call that crosses zero is paid, the next refused.
#[tokio::test]
async fn budgets_are_exact() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    // 0.1 three times is 0.3, not a hair more; EUR is not budgeted and costs nothing here.
    let cases = [
        (
            json!(["USD:0.3"]),
            "[[\"USD\",0.1],[\"USD\",0.1],[\"USD\",0.1],[\"USD\",0.1]]",
            3,
            Some("BUDGET_EXHAUSTED"),
        ),
        (
            json!(["USD:0.30000000000000000001"]),
            "[[\"USD\",0.1],[\"USD\",0.1],[\"USD\",0.1],[\"USD\",0.1],[\"USD\",0.1]]",
            4,
            Some("BUDGET_EXHAUSTED"),
        ),
        (
            json!(["USD:1.00"]),
            "[[\"USD\",0.4],[\"USD\",0.7],[\"USD\",0.1]]",
            2,
            Some("BUDGET_EXHAUSTED"),
        ),
        (
            json!(["USD:1.00"]),
            "[[\"EUR\",5],[\"EUR\",5],[\"usd\",5]]",
            3,
            None,
        ),
        (
            json!(["USD:0.5", "USD:0.5"]),
            "[[\"USD\",0.9],[\"USD\",0.1],[\"USD\",0.1]]",
            2,
            Some("BUDGET_EXHAUSTED"),
        ),
        (
            json!(["USD:1", "credits:10"]),
            "[[\"credits\",10],[\"USD\",0.1]]",
            1,
            Some("BUDGET_EXHAUSTED"),
        ),
        (
            json!(["USD:0"]),
            "[[\"USD\",0.1]]",
            0,
            Some("BUDGET_EXHAUSTED"),
        ),
        (
            json!(["USD:1"]),
            "[[\"USD\",-5],[\"USD\",1],[\"USD\",1]]",
            2,
            Some("BUDGET_EXHAUSTED"),
        ),
    ];
    for (budget, costs, calls, refused) in cases {
        let lease = json!({"tool.call": ["search.*"], "cost.budget": budget});
        peer.send_text(&format!(
            "{{\"id\":\"s\",\"type\":\"job.submit\",\"payload\":{{\"agent\":\"spend\",\"input\":{{\"costs\":{costs}}},\"lease_request\":{lease}}}}}"
        ))
        .await;
        let accepted = peer.reply("s").await;
        let job = accepted["job_id"]
            .as_str()
            .unwrap_or_else(|| panic!("{accepted}"))
            .to_owned();
        let end = peer.end_of(&job).await["payload"].clone();
        assert_eq!(
            end["result"],
            json!({"calls": calls, "refused": refused}),
            "{budget} {costs}: {end}"
        );
    }
    let end = peer.run(json!({"agent": "spend", "input": {"costs": [["USD", 1]]}, "lease_request": {"cost.budget": ["USD:5"]}})).await;
    assert_eq!(
        end["result"],
        json!({"calls": 0, "refused": "PERMISSION_DENIED"})
    );
}

/// [ARCP 9.3-1, 9.6-3] When the money is gone every operation is refused for that, before any pattern is looked at.
#[tokio::test]
async fn an_empty_budget_refuses_everything() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let lease = json!({"fs.read": ["/a"], "model.use": ["m"], "tool.call": ["*"], "cost.budget": ["USD:0", "EUR:5"]});
    let ops = [
        ("fs.read", "/a"),
        ("fs.read", "/not-covered"),
        ("model.use", "m"),
        ("tool.call", "x"),
        ("agent.delegate", "echo"),
    ];
    for answer in access(&mut peer, lease, &ops).await {
        assert_eq!(
            (&answer["allowed"], &answer["code"]),
            (&json!(false), &json!("BUDGET_EXHAUSTED")),
            "{answer}"
        );
    }
}

/// [ARCP 9.6-2, 9.6-4] Reports of what is left come with material decrements, exact to the last digit.
#[tokio::test]
async fn what_is_left_is_reported() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let lease = json!({"tool.call": ["search.*"], "cost.budget": ["USD:1.00"]});
    let costs = "[[\"USD\",0.01],[\"USD\",0.03],[\"USD\",0.01],[\"USD\",1.00],[\"USD\",1]]";
    peer.send_text(&format!("{{\"id\":\"s\",\"type\":\"job.submit\",\"payload\":{{\"agent\":\"spend\",\"input\":{{\"costs\":{costs}}},\"lease_request\":{lease}}}}}")).await;
    let job = peer.reply("s").await["job_id"].as_str().unwrap().to_owned();
    peer.end_of(&job).await;
    let metrics = peer.bodies(&job, "metric");
    let left: Vec<String> = metrics
        .iter()
        .filter(|m| m["name"] == "cost.budget.remaining")
        .map(|m| m["value"].to_string())
        .collect();
    assert_eq!(
        left,
        ["0.95", "-0.05"],
        "after five cents, and after crossing zero"
    );
    assert!(metrics.iter().all(|m| m["unit"] == "USD"), "{metrics:?}");
    assert_eq!(
        metrics
            .iter()
            .filter(|m| m["name"] == "cost.search")
            .count(),
        4
    );
    let calls = peer.bodies(&job, "tool_call");
    let results = peer.bodies(&job, "tool_result");
    assert_eq!((calls.len(), results.len()), (5, 5));
    for (call, result) in calls.iter().zip(&results) {
        assert_eq!(
            (&call["tool"], &call["call_id"]),
            (&json!("search.web"), &result["call_id"])
        );
    }
    assert_eq!(results[4]["error"]["code"], "BUDGET_EXHAUSTED");
}

/// [ARCP 9.5-2, 7.3-3] A lease ends the job's authority and, soon after, the job.
#[tokio::test]
async fn a_lease_expires() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let soon = peer.in_seconds(1).await;
    let end = peer.run(json!({"agent": "sleep", "input": {"ms": 60000}, "lease_constraints": {"expires_at": soon}})).await;
    assert_eq!(
        (&end["final_status"], &end["code"], &end["retryable"]),
        (&json!("error"), &json!("LEASE_EXPIRED"), &json!(false)),
        "{end}"
    );
}
