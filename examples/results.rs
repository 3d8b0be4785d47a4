//! A result that is streamed while it is made, read piece by piece, and saved to a file that is whole or not there.
//!
//! ```sh
//! cargo run -p towline --example results
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use towline::{
    Client, ClientOptions, MemoryTransport, Runtime,
    runtime::{AgentError, JobContext, auth::StaticTokens},
};

const LINES: usize = 50_000;

/// Too much to return at once, and worth reading before it is complete.
async fn report(ctx: JobContext, _: Option<()>) -> Result<(), AgentError> {
    let mut out = ctx.stream_result()?;
    let lines: Vec<usize> = (1..=LINES).collect();
    for page in lines.chunks(1000) {
        let text: String = page
            .iter()
            .map(|line| format!("line {line} of a long report\n"))
            .collect();
        out.write_text(&text).await?;
    }
    out.finish(Some("a long report")).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .agent("report", report)
        .build()
        .await?;
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;

    // Piece by piece, holding none of it.
    let mut job = client.submit("report").send().await?;
    let (mut pieces, mut lines) = (0, 0);
    let mut stream = job.result_stream();
    while let Some(piece) = stream.next().await? {
        pieces += 1;
        lines += piece.iter().filter(|byte| **byte == b'\n').count();
    }
    println!("{lines} lines in {pieces} pieces");
    assert_eq!(lines, LINES);
    let summary = job.outcome().await?.into_success()?.summary;
    assert_eq!(summary.as_deref(), Some("a long report"));

    // To a file, which has its name only when it is whole.
    let path = std::env::temp_dir().join(format!("towline-report-{}.txt", std::process::id()));
    let mut job = client.submit("report").send().await?;
    let bytes = job.save_result(&path).await?;
    println!("{bytes} bytes in {}", path.display());
    assert_eq!(std::fs::metadata(&path)?.len(), bytes);
    std::fs::remove_file(&path)?;

    runtime.shutdown().await;
    Ok(())
}
