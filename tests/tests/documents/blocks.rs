//! Every Rust block of the documentation, compiled: a page and this file show the same lines (`shown` holds them together), and
//! what is around them here is what the page leaves to its reader. Nothing of it is run.

#![expect(
    dead_code,
    unused_imports,
    unused_variables,
    reason = "the lines are those of the pages"
)]

use std::{net::SocketAddr, path::Path, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use towline::{
    AgentError, Amount, Client, ClientOptions, JobContext, JobId, JobStatus, Lease,
    MemoryTransport, Runtime, RuntimeOptions, StdioTransport, WebSocketTransport,
    agents::{ExecAgent, IndexAgent, ProcessAgent},
    axum::{AxumStream, EndpointOptions},
    client::ResumeState,
    otel::TransportTracing as _,
    runtime::{
        UpstreamRefusal,
        auth::{JwtVerifier, StaticTokens},
    },
    store::{Durability, Principal, SqliteOptions, SqliteStore},
    transport::{ChildOptions, ChildProcess, WebSocketOptions, websocket::LibrarySocket},
};
use towline_transport::testing::Chaos;
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

type Done = Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[rustfmt::skip]
fn agents_0() {
    use towline::{
        Runtime,
        agents::{ExecAgent, IndexAgent, ProcessAgent},
    };

    let runtime = Runtime::builder()
        .agent("words", ProcessAgent::exec(["wc", "-w"]))
        .agent("review", ProcessAgent::arcp(["python3", "agent.py"]).current_dir("/opt/review").pass_env("HOME"))
        .agent("exec", ExecAgent::new())
        .agent("index", IndexAgent::new());
    drop(runtime);
}

#[rustfmt::skip]
fn authentication_0(alices_token: &str, first_token: &str, second_token: &str) -> Done {
    use towline::runtime::auth::StaticTokens;

    let tokens = StaticTokens::new([("alice", alices_token), ("ci", first_token), ("ci", second_token)])?;
    let tokens = StaticTokens::from_file("tokens")?;      // principal:token a line, # begins a remark
    drop(tokens);
    Ok(())
}

#[rustfmt::skip]
fn authentication_1() -> Done {
    use towline::runtime::auth::JwtVerifier;

    let jwt = JwtVerifier::jwks_url("https://id.example.com/.well-known/jwks.json")?
        .issuer("https://id.example.com")
        .audience("agents");
    drop(jwt);
    Ok(())
}

#[rustfmt::skip]
fn authentication_2(tokens: StaticTokens, jwt: JwtVerifier) {
    async fn look_up(_token: &str) -> Option<Principal> {
        None
    }
    use towline::runtime::auth::{AuthRefusal, Chain, Credentials, from_fn};

    let directory = from_fn(|credentials: Credentials| async move {
        let token = credentials.token()?;
        look_up(token).await.ok_or_else(|| AuthRefusal::new("the token is not known here"))
    });
    let all = Chain::new().or(tokens).or(jwt.principal_prefix("jwt:")).or(directory);
    drop(all);
}

#[rustfmt::skip]
fn authentication_3(ceiling: Lease, tokens: StaticTokens) -> Done {
    use towline::runtime::roles::{Reach, Role, Roles};

    let roles = Roles::new(Role::of_nobody().off_the_machine()?)      // who has no role
        .role(Role::named("dev").lease_ceiling(ceiling)?.jobs(4))
        .role(Role::named("ops").may_watch(Reach::All).may_cancel(Reach::All))
        .assign("olga", "ops")?;
    let builder = Runtime::builder()
        .authenticator(roles.authenticator(tokens))                   // a JWT's role is learned from its claim
        .roles(roles);
    drop(builder);
    Ok(())
}

#[rustfmt::skip]
async fn budgets_0(ctx: JobContext) -> Done {
    ctx.metric("cost.completion", "0.0184".parse::<Amount>()?, Some("USD")).await?;
    Ok(())
}

#[rustfmt::skip]
async fn budgets_1(ctx: JobContext, prompt: String) -> Result<(), AgentError> {
    struct Answer {
        status: u16,
        body: String,
    }
    async fn call_model(_model: &str, _prompt: &str) -> Result<Answer, AgentError> {
        Ok(Answer { status: 200, body: String::new() })
    }
    let permit = ctx.model("acme/small").await?;       // PERMISSION_DENIED, LEASE_EXPIRED or BUDGET_EXHAUSTED
    let answer = call_model(permit.model(), &prompt).await?;
    if let Some(refusal) = UpstreamRefusal::of_answer(answer.status, &answer.body) {
        return Err(permit.refused(refusal).await.into());
    }
    Ok(())
}

#[rustfmt::skip]
async fn budgets_2(master_key: &str) -> Done {
    use towline::runtime::credentials::{LiteLlmOptions, LiteLlmProvisioner};

    let options = LiteLlmOptions::new().models(["gpt-4o", "claude-sonnet"]);
    let keys = LiteLlmProvisioner::new("https://llm.example.com", master_key, options)?;
    let runtime = Runtime::builder()
        .store(SqliteStore::open("towline.db").await?)
        .credentials(keys)
        // …
        .build()
        .await?;
    drop(runtime);
    Ok(())
}

#[rustfmt::skip]
async fn client_0(token: String) -> Done {
    use towline::client::{Client, ClientOptions, Outcome};
    use towline::transport::WebSocketTransport;

    let transport = WebSocketTransport::connect("wss://runtime.example.com/arcp").await?;
    let client = Client::connect(transport, ClientOptions::bearer(token)).await?;

    let mut job = client
        .submit("index")                              // or "index@1.2.0"
        .input(json!({ "root": "/src" }))
        .lease(Lease::new().with("fs.read", "/src/**"))
        .idempotency_key("nightly-2026-01-31")
        .send()
        .await?;

    while let Some(event) = job.next_event().await? {
        println!("{} {}", event.kind(), event.raw());
    }
    match job.outcome().await? {
        Outcome::Success(success) => println!("{}", success.result.to_text()?),
        Outcome::Failure(failure) => eprintln!("{failure}"),
    }
    client.close("done").await?;
    Ok(())
}

#[rustfmt::skip]
async fn client_1(token: String) -> Done {
    let options = ClientOptions::bearer(token)
        .connector(|| WebSocketTransport::connect("wss://runtime.example.com/arcp"));
    let client = Client::dial(options).await?;
    drop(client);
    Ok(())
}

#[rustfmt::skip]
async fn client_2(client: Client, path: &Path, token: String, transport: StdioTransport, job_id: JobId) -> Done {
    if let Some(state) = client.resume_state().await? {           // None: this runtime cannot be resumed
        std::fs::write(path, state.to_json_exposing_secret())?;   // 0600, please: it holds the session's token
    }

    let state = ResumeState::from_json(&std::fs::read_to_string(path)?)?;
    let client = Client::connect(transport, ClientOptions::bearer(token).resume(state)).await?;
    let mut job = client.attach(&job_id)?;
    drop(job.next_event().await?);
    Ok(())
}

#[rustfmt::skip]
async fn client_3(client: Client, job_id: JobId) -> Done {
    let mut watch = client.subscribe(job_id).history(true).send().await?;     // or .from(job_seq)
    while let Some(event) = watch.next_event().await? {
        println!("{}", event.raw());
    }

    let running: Vec<_> = client.list_jobs().status(JobStatus::Running).stream().try_collect().await?;

    let mut children = client.unsolicited_jobs();
    while let Some(child) = children.next().await {
        println!("{}", child.id());
    }
    drop(running);
    Ok(())
}

#[rustfmt::skip]
async fn delegation_0(ctx: JobContext) -> Done {
    let child = ctx
        .delegate("search@1.2.0")
        .input(json!({"query": "…"}))
        .lease(Lease::new().with("net.fetch", "https://api.example.com/**").with("cost.budget", "USD:0.25"))
        .send()
        .await?;
    let outcome = child.outcome().await;
    drop(outcome);
    Ok(())
}

#[rustfmt::skip]
async fn durability_0() -> Done {
    let store = SqliteStore::open_with("towline.db", SqliteOptions::new().durability(Durability::Power)).await?;
    drop(store);
    Ok(())
}

#[rustfmt::skip]
async fn hosting_0(runtime: Runtime) -> Done {
    async fn home() -> &'static str {
        "at home"
    }
    use std::net::SocketAddr;
    use axum::{Router, routing::get, serve::ListenerExt as _};
    use towline::axum::{EndpointOptions, RouterExt, health_routes};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:7777").await?;
    let options = EndpointOptions::for_listener(listener.local_addr()?);
    let app = Router::new()
        .route("/", get(home))
        .route_arcp("/arcp", &runtime, options)
        .merge(health_routes(&runtime));

    let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

#[rustfmt::skip]
fn interop_0(token: String) {
    use towline::client::Dialect;

    let options = RuntimeOptions::default().dialect(Some(Dialect::Go));        // every client of this runtime
    let options = ClientOptions::bearer(token).dialect(Dialect::TypeScript);   // this runtime
    drop(options);
}

#[rustfmt::skip]
mod jobs_0 {
    use serde::{Deserialize, Serialize};
    use towline::{AgentError, JobContext};

    #[derive(Deserialize)]
    struct Input { words: Vec<String> }

    #[derive(Serialize)]
    struct Output { longest: Option<String> }

    async fn longest(ctx: JobContext, input: Input) -> Result<Output, AgentError> {
        let total = u32::try_from(input.words.len())?;
        let mut longest: Option<String> = None;
        for (at, word) in (1u32..).zip(input.words) {
            ctx.progress(at).of(total).units("words").await?;
            if longest.as_ref().is_none_or(|known| word.len() > known.len()) {
                longest = Some(word);
            }
        }
        Ok(Output { longest })
    }
}

#[rustfmt::skip]
mod results_0 {
    use towline::{AgentError, JobContext};

    async fn report(ctx: JobContext, _input: ()) -> Result<(), AgentError> {
        let mut out = ctx.stream_result()?;
        out.write_text("a line\n").await?;
        out.write_bytes(&[0, 1, 2]).await?;
        out.finish(Some("one line and three bytes")).await?;
        Ok(())
    }
}

#[rustfmt::skip]
async fn tracing_0(options: ClientOptions) -> Done {
    use towline::otel::{TracingOptions, TransportTracing};

    let transport = WebSocketTransport::connect("wss://runtime.example.com/arcp").await?.with_tracing();
    let client = Client::connect(transport, options).await?;
    drop(client);
    Ok(())
}

#[rustfmt::skip]
fn tracing_1() {
    let options = EndpointOptions::new().map_transport(|transport| Box::new(transport.with_tracing()));
    drop(options);
}

#[rustfmt::skip]
fn tracing_2(provider: SdkTracerProvider, token: String) {
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("my-service"));
    tracing_subscriber::registry().with(layer).init();

    let runtime = Runtime::builder().trace_link(towline::otel::OpenTelemetryLink);
    let options = ClientOptions::bearer(token).trace_source(towline::otel::current_ids);
    drop((runtime, options));
}

#[rustfmt::skip]
async fn transports_0() -> Done {
    let transport = WebSocketTransport::connect("wss://runtime.example.com/arcp").await?;
    drop(transport);
    Ok(())
}

#[rustfmt::skip]
async fn transports_1(url: &str) -> Done {
    let options = WebSocketOptions::client()
        .root_certificates_pem(std::fs::read("company-ca.pem")?)   // instead of the system's
        .header("Origin", "https://app.example.com");
    let transport = WebSocketTransport::connect_with(url, &options).await?;
    drop(transport);
    Ok(())
}

#[rustfmt::skip]
async fn transports_2(runtime: Runtime, listener: TcpListener) -> Done {
    let (stream, _) = listener.accept().await?;
    let transport = WebSocketTransport::accept(stream, &WebSocketOptions::server()).await?;
    runtime.accept(transport);
    Ok(())
}

#[rustfmt::skip]
fn transports_3(stream: WebSocketStream<TcpStream>, socket: axum::extract::ws::WebSocket, peer: SocketAddr, options: WebSocketOptions) {
    // tungstenite: connect_async, client_async, accept_async, …
    let transport = WebSocketTransport::over(LibrarySocket::new(stream), Some(peer), &options);
    // axum's extractor, with the feature `axum-ws`
    let transport = WebSocketTransport::over(AxumStream::socket(socket), Some(peer), &options);
    drop(transport);
}

#[rustfmt::skip]
async fn transports_4(runtime: Runtime) {
    runtime.accept(StdioTransport::from_process()).closed().await;
}

#[rustfmt::skip]
async fn transports_5(client_options: ClientOptions) -> Done {
    let options = ChildOptions::new("python3").args(["agent.py"]).env("LOG", "debug");
    let (mut child, transport) = ChildProcess::spawn(&options)?;
    let client = Client::connect(transport, client_options).await?;
    // …
    let status = child.terminate(Duration::from_secs(5)).await?;
    drop((client, status));
    Ok(())
}

#[rustfmt::skip]
async fn transports_6(runtime: Runtime, options: ChildOptions, client_options: ClientOptions) -> Done {
    let (mut child, transport) = ChildProcess::spawn(&options)?;
    runtime.accept(transport).closed().await;                       // in the parent
    let client = Client::connect(StdioTransport::from_process(), client_options).await?;   // in the child
    drop((child.try_status(), client));
    Ok(())
}

#[rustfmt::skip]
fn transports_7() {
    let (near, far) = MemoryTransport::pair();
    drop((near, far));
}

#[rustfmt::skip]
mod transports_8 {
    use std::cell::RefCell;

    use towline_transport::{MemoryTransport, testing::suite::Pair};

    thread_local! {
        static FAR: RefCell<Option<MemoryTransport>> = const { RefCell::new(None) };
    }

    fn near() -> MemoryTransport {
        let (near, far) = MemoryTransport::pair();
        FAR.replace(Some(far));
        near
    }

    fn far() -> MemoryTransport {
        FAR.take().unwrap()
    }

    towline_transport::transport_suite!(on_my_transport, Pair::new(near(), far()));
}

#[rustfmt::skip]
fn transports_9(transport: MemoryTransport) {
    let (transport, control) = Chaos::seeded(7).cut_within(10..100).wrap(transport);
    drop((transport, control));
}

#[rustfmt::skip]
fn network_0(key: &str) -> Done {
    use towline::agents::{Confinement, Model, Price, ProcessAgent, Style};

    let price = Price::new("USD", "2.50".parse()?, "10".parse()?).cached_input("1.25".parse()?);
    let model = Model::new(Style::OpenAi, "https://api.openai.com/v1", key)?.price("gpt-4o*", price)?;
    let agent = ProcessAgent::exec(["python3", "coder.py"]).confinement(Confinement::new().model(model));
    drop(agent);
    Ok(())
}

#[rustfmt::skip]
mod http_0 {
    use std::net::SocketAddr;
    use towline::{
        axum::{EndpointOptions, RouterExt},
        runtime::Runtime,
    };

    async fn serve(runtime: Runtime) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:7777").await?;
        let options = EndpointOptions::for_listener(listener.local_addr()?);
        let app = axum::Router::new()
            .route_arcp("/arcp", &runtime, options.clone())
            .route_http(&runtime, options);
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
    }
}

#[rustfmt::skip]
mod agents_1 {
    fn main() -> std::process::ExitCode {
        if let Some(status) = towline::agents::launcher::run_if_asked() {
            return status;
        }
        // Only now threads, a tokio runtime, and the rest.
        std::process::ExitCode::SUCCESS
    }
}

#[rustfmt::skip]
mod tools_0 {
    use super::*;

    async fn look(ctx: JobContext) -> Result<(), AgentError> {
        for tool in ctx.tools().await? {
            ctx.log("info", format!("{}: {}", tool.name, tool.input_schema)).await?;
        }
        let read = ctx.call_tool("mcp:files/read_file", json!({"path": "/srv/docs/a.md"})).await?;
        Ok(())
    }
}

#[rustfmt::skip]
mod questions_0 {
    use std::time::Duration;
    use towline::runtime::{AgentError, JobContext, Question};

    async fn release(ctx: JobContext, version: String) -> Result<String, AgentError> {
        let question = Question::choice("Which branch?", [("main", "main"), ("dev", "development")])
            .expires_in(Duration::from_secs(600))
            .default_answer("main");
        let branch: String = ctx.ask("branch", question).await?.read()?;
        let go = ctx.ask("go", Question::approval(format!("Release {version} from {branch}?"))).await?;
        Ok(if go.is_yes() { "released" } else { "left alone" }.to_owned())
    }
}

#[rustfmt::skip]
fn questions_1() {
    use towline::runtime::{AgentError, AgentOptions, JobContext, Runtime};

    async fn steered(ctx: JobContext, _input: ()) -> Result<(), AgentError> {
        let mut messages = ctx.messages();
        while let Some(message) = messages.next().await? {
            ctx.log("info", format!("told {}", message.body)).await?;
        }
        Ok(())
    }

    let builder = Runtime::builder().agent_with("steered", steered, AgentOptions::default().listens(true));
    drop(builder);
}

#[rustfmt::skip]
async fn questions_2(client: Client) -> Done {
    use towline::Event;

    let mut job = client.submit("release").input("1.2").send().await?;
    while let Some(event) = job.next_event().await? {
        if let Event::InputRequest(request) = event.event()? {
            job.answer(request.question_id, true).note("by the robot").await?;
        }
    }
    for open in client.inbox().await? {
        println!("{} asks {}", open.job_id, open.request.title);
    }
    Ok(())
}
