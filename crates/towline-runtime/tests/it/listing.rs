//! Tools of servers, listed.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext, OpenTools, ToolInfo, ToolServer};
use towline_wire::RawJson;

use crate::peer::{Peer, runtime};

/// A server that takes its time to open, and lists its tools or never does.
struct Slow {
    opening: Duration,
    lists: bool,
}

struct Opened {
    lists: bool,
}

impl ToolServer for Slow {
    fn open(&self, _: JobContext) -> BoxFuture<'static, Result<Arc<dyn OpenTools>, String>> {
        let (opening, lists) = (self.opening, self.lists);
        Box::pin(async move {
            tokio::time::sleep(opening).await;
            Ok(Arc::new(Opened { lists }) as Arc<dyn OpenTools>)
        })
    }
}

impl OpenTools for Opened {
    fn list(&self) -> BoxFuture<'_, Result<Vec<ToolInfo>, String>> {
        Box::pin(async move {
            if !self.lists {
                std::future::pending::<()>().await;
            }
            Ok(vec![ToolInfo::new("one")])
        })
    }

    fn call<'c>(
        &'c self,
        _: &'c str,
        args: RawJson,
        _: String,
    ) -> BoxFuture<'c, Result<RawJson, String>> {
        Box::pin(async move { Ok(args) })
    }

    fn is_open(&self) -> bool {
        true
    }

    fn close(&self) {}
}

/// [ARCP 19-2] Servers are asked side by side, each for a bounded time: one that never lists its tools is left out, and told of.
#[tokio::test(start_paused = true)]
async fn a_silent_server_costs_its_own_tools_only() {
    let list = |ctx: JobContext, _: Value| async move {
        let tools = ctx.tools().await?;
        let names = tools.into_iter().map(|tool| tool.name);
        Ok::<_, AgentError>(names.collect::<Vec<_>>())
    };
    let slow = |lists| Slow {
        opening: Duration::from_secs(20),
        lists,
    };
    let runtime = runtime()
        .agent("list", list)
        .tool_server("mcp:a", slow(true))
        .tool_server("mcp:b", slow(false))
        .tool_server("mcp:c", slow(true))
        .build()
        .await
        .unwrap();
    let mut alice = Peer::alice(&runtime).await;
    let begun = tokio::time::Instant::now();
    let lease = json!({"tool.call": ["mcp:**"]});
    let job = alice
        .submit(json!({"agent": "list", "lease_request": lease}))
        .await;
    let frames = alice.until_end(&job).await;
    assert_eq!(begun.elapsed().as_secs(), 50);
    let result = &frames.last().unwrap()["payload"]["result"];
    assert_eq!(*result, json!(["mcp:a/one", "mcp:c/one"]));
    let told = |frame: &Value| {
        let text = frame["payload"]["body"]["message"].as_str();
        text.is_some_and(|text| text.contains("`mcp:b`") && text.contains("30 seconds"))
    };
    assert!(frames.iter().any(told), "{frames:?}");
}
