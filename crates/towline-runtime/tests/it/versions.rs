//! Agents by version (§7.5).

use serde_json::{Value, json};
use towline_proto::admission::AdmissionLimits;
use towline_runtime::{
    Agent, AgentError, AgentOptions, BuildError, JobContext, RuntimeOptions, agent_fn,
};

use crate::{
    agents::{Valve, echo, patient},
    peer::{ALICE, Peer, QUIET, runtime},
};

/// Says which one it is.
fn says(what: &'static str) -> impl Agent {
    agent_fn(move |ctx: JobContext, _input: Value| async move {
        Ok::<_, AgentError>(json!({"ran": what, "agent": ctx.agent().to_string()}))
    })
}

/// [ARCP 7.5-1] the grammar of names and versions.
#[tokio::test(start_paused = true)]
async fn the_grammar() {
    let runtime = runtime()
        .agent("a.b_c-1@1.0.0+Build-7_x", says("it"))
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for agent in ["a.b_c-1", "a.b_c-1@1.0.0+Build-7_x"] {
        let job = peer.submit(json!({"agent": agent})).await;
        let end = peer.until_end(&job).await.pop().unwrap();
        assert_eq!(end["payload"]["result"]["agent"], "a.b_c-1@1.0.0+Build-7_x");
    }
    for bad in [
        "", "A", "-a", ".a", "a b", "a@", "@1", "a@1@2", "a@1/2", "ä", "a@ü",
    ] {
        peer.refused("job.submit", json!({"agent": bad}), "INVALID_REQUEST")
            .await;
    }
}

/// [ARCP 7.5-2] a bare name is the default, else the highest; unknown names and versions are told apart.
#[tokio::test(start_paused = true)]
async fn resolution() {
    let built = runtime()
        .agent("pick@1.9.0", says("1.9"))
        .agent("pick@1.10.0", says("1.10"))
        .agent("pick@2.0.0-rc.1", says("rc"));
    let built = built
        .agent("fixed@1.0.0", says("1"))
        .agent("fixed@2.0.0", says("2"))
        .default_version("fixed@1.0.0");
    let runtime = built
        .agent("letters@alpha", says("alpha"))
        .agent("letters@beta", says("beta"))
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for (asked, resolved) in [
        ("pick", "pick@2.0.0-rc.1"),
        ("pick@1.9.0", "pick@1.9.0"),
        ("fixed", "fixed@1.0.0"),
        ("fixed@2.0.0", "fixed@2.0.0"),
        ("letters", "letters@beta"),
    ] {
        let accepted = peer.ask("job.submit", json!({"agent": asked})).await;
        assert_eq!(accepted["payload"]["agent"], resolved);
        let end = peer
            .until_end(accepted["job_id"].as_str().unwrap())
            .await
            .pop()
            .unwrap();
        assert_eq!(end["payload"]["result"]["agent"], resolved);
    }
    peer.refused(
        "job.submit",
        json!({"agent": "nobody"}),
        "AGENT_NOT_AVAILABLE",
    )
    .await;
    peer.refused(
        "job.submit",
        json!({"agent": "pick@3.0.0"}),
        "AGENT_VERSION_NOT_AVAILABLE",
    )
    .await;
}

/// [ARCP 7.5-3, 7.5-2] agents come and go; jobs that were accepted keep the agent they were resolved to, running or waiting.
#[tokio::test(start_paused = true)]
async fn agents_come_and_go() {
    let valve = Valve::new();
    let options = RuntimeOptions::default().admission(AdmissionLimits {
        per_principal: 1,
        ..Default::default()
    });
    let built = runtime()
        .options(options)
        .agent("valve", valve.agent())
        .agent("says", says("old"));
    let runtime = built.build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let running = peer.start(json!({"agent": "valve"})).await;
    let waiting = peer.submit(json!({"agent": "says"})).await;
    assert!(runtime.remove_agent("valve"));
    assert!(runtime.remove_agent("says"));
    assert!(!runtime.remove_agent("says"));
    runtime.add_agent("says", says("new")).unwrap();
    runtime.add_agent("late@1.0.0", echo()).unwrap();
    peer.refused(
        "job.submit",
        json!({"agent": "valve"}),
        "AGENT_NOT_AVAILABLE",
    )
    .await;
    let anew = peer.submit(json!({"agent": "says"})).await;
    let mut other = Peer::raw(&runtime);
    other.hello(crate::peer::BOB, crate::peer::ALL).await;
    let agents = other.welcomed().await["payload"]["capabilities"]["agents"].clone();
    assert_eq!(
        agents,
        json!([{"name": "late", "versions": ["1.0.0"], "default": "1.0.0"}, {"name": "says", "versions": []}])
    );
    valve.open(1);
    peer.expect_event("log").await;
    valve.shut();
    assert_eq!(
        peer.until_end(&running).await.pop().unwrap()["payload"]["result"],
        1
    );
    assert_eq!(
        peer.until_end(&waiting).await.pop().unwrap()["payload"]["result"]["ran"],
        "old"
    );
    assert_eq!(
        peer.until_end(&anew).await.pop().unwrap()["payload"]["result"]["ran"],
        "new"
    );
}

/// [ARCP 7.5-1] what cannot be registered is an error of the builder.
#[tokio::test(start_paused = true)]
async fn registering() {
    for (first, second) in [
        ("a", "A"),
        ("a", "a"),
        ("a@1", "a"),
        ("a", "a@1"),
        ("a@1", "a@1"),
    ] {
        let built = runtime()
            .agent(first, echo())
            .agent(second, patient())
            .build()
            .await;
        assert!(
            matches!(built, Err(BuildError::Agent(_))),
            "{first} {second}"
        );
    }
    let built = runtime()
        .agent("a@1", echo())
        .default_version("a@2")
        .build()
        .await;
    assert!(matches!(built, Err(BuildError::Agent(_))));
}

/// [ARCP 19-1] Agents say what they are for and what they take, by the type that they read; the welcome lists it as fields of
/// ours. What is no schema is not registered.
#[cfg(feature = "schemars")]
#[tokio::test(start_paused = true)]
async fn agents_describe_themselves() {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Input {
        /// Whom to greet.
        name: String,
    }

    async fn greet(_ctx: JobContext, input: Input) -> Result<String, AgentError> {
        Ok(format!("hello {}", input.name))
    }

    let options = AgentOptions::default().description("Greets");
    let runtime = runtime()
        .agent_with("greet", greet, options.clone().input::<Input>())
        .agent("plain", echo())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::raw(&runtime);
    peer.hello(ALICE, QUIET).await;
    let welcome = peer.welcomed().await;
    let agents = welcome["payload"]["capabilities"]["agents"].clone();
    assert_eq!(agents[0]["x-vendor.towline.description"], "Greets");
    let schema = &agents[0]["x-vendor.towline.input_schema"];
    assert_eq!(schema["properties"]["name"]["type"], "string", "{schema}");
    assert_eq!(schema["required"], json!(["name"]));
    assert_eq!(agents[1], json!({"name": "plain", "versions": []}));
    for schema in [json!([]), json!({"x": "x".repeat(64 * 1024)})] {
        let wrong = options.clone().input_schema(schema);
        let refused = runtime.add_agent_with("other", echo(), wrong);
        assert!(refused.unwrap_err().to_string().contains("`other`"));
    }
}
