//! One agent, spoken to over stdin and stdout: the smallest runtime there is.
//!
//! It needs neither the web nor a database, so it leaves them out:
//!
//! ```toml
//! towline = { version = "0.1", default-features = false, features = ["runtime", "stdio"] }
//! ```
//!
//! ```sh
//! cargo run -p towline --no-default-features --features runtime,stdio --example stdio_agent
//! ```

use towline::{JobContext, Runtime, StdioTransport, runtime::auth::Anonymous};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        // Whoever started this process may use it.
        .authenticator(Anonymous::dangerously_allow_anonymous("parent"))
        .agent("shout", |_ctx: JobContext, text: String| async move {
            Ok(text.to_uppercase())
        })
        .build()
        .await?;
    // Ends with the stream, which ends with the parent.
    runtime
        .accept(StdioTransport::from_process())
        .closed()
        .await;
    runtime.shutdown().await;
    // Reading stdin holds a thread that only ends with the process.
    std::process::exit(0);
}
