//! Servers of tools: programs, or services at an address, that speak the Model Context Protocol [ARCP 19-2].

use std::{ffi::OsString, fmt, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use rmcp::{
    Peer, RoleClient, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig,
        Implementation, JsonObject, PaginatedRequestParams, RequestMetaObject,
    },
    service::{ClientInitializeError, RunningService, ServiceError},
    transport::{
        StreamableHttpClientTransport, async_rw::AsyncRwTransport,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use towline_runtime::{JobContext, OpenTools, ToolInfo, ToolServer};
use towline_transport::tls::{TlsError, Trust};
use towline_wire::{RawJson, Secret};
use url::Url;

use super::lines::Bounded;
use crate::{
    agent::ProcessAgent,
    confined::Confinement,
    launcher::Launcher,
    pipe::{Allowance, Output},
    plain::{describe, log_lines},
    process::{Process, Streams},
};

/// A server of tools, for [`RuntimeBuilder::tool_server`](towline_runtime::RuntimeBuilder::tool_server). Each job that needs it has
/// one for itself, which ends with it.
///
/// ```
/// use towline_agents::McpTools;
/// use towline_runtime::Runtime;
///
/// # fn build() {
/// let builder = Runtime::builder().tool_server("mcp:files", McpTools::command(["mcp-server-filesystem", "/srv"]));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct McpTools {
    place: Place,
}

#[derive(Clone)]
enum Place {
    Command(Box<ProcessAgent>),
    Url {
        url: Url,
        token: Option<Secret>,
        client: reqwest::Client,
    },
}

/// A server of tools that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum McpToolsError {
    /// Its address is none.
    #[error("`{0}` is not an http or https URL without user and fragment")]
    Url(String),
    /// No client can be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The same.
    #[error("no HTTP client can be set up: {0}")]
    Client(String),
}

impl McpTools {
    /// A program that speaks the Model Context Protocol on its standard input and output. It is confined to the lease of the job,
    /// as agents' programs are, and its network is the job's.
    pub fn command<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> Self {
        Self {
            place: Place::Command(Box::new(ProcessAgent::exec(command))),
        }
    }

    /// A service that speaks it over HTTP; `token` is shown to it as a bearer token. It is called by this process, whatever the
    /// job may fetch.
    ///
    /// # Errors
    /// [`McpToolsError`].
    pub fn url(url: &str, token: Option<Secret>) -> Result<Self, McpToolsError> {
        let wrong = || McpToolsError::Url(url.to_owned());
        let url = Url::parse(url).map_err(|_| wrong())?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        if !is_plain {
            return Err(wrong());
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(Trust::system().config()?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(OPENING)
            .user_agent(concat!("towline/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| McpToolsError::Client(error.to_string()))?;
        Ok(Self {
            place: Place::Url { url, token, client },
        })
    }

    fn with(mut self, change: impl FnOnce(ProcessAgent) -> ProcessAgent) -> Self {
        if let Place::Command(process) = self.place {
            self.place = Place::Command(Box::new(change(*process)));
        }
        self
    }

    /// Where a program runs. Default: where this process does.
    #[must_use]
    pub fn current_dir(self, directory: impl Into<PathBuf>) -> Self {
        self.with(|process| process.current_dir(directory))
    }

    /// Sets a variable of a program's environment; see [`ProcessAgent::env`].
    #[must_use]
    pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|process| process.env(name, value))
    }

    /// Passes a variable of this process's environment on to a program; see [`ProcessAgent::pass_env`].
    #[must_use]
    pub fn pass_env(self, name: impl Into<String>) -> Self {
        self.with(|process| process.pass_env(name))
    }

    /// What starts a program; see [`ProcessAgent::launcher`].
    #[must_use]
    pub fn launcher(self, launcher: Launcher) -> Self {
        self.with(|process| process.launcher(launcher))
    }

    /// What confines a program. Default: the lease of the job.
    #[must_use]
    pub fn confinement(self, confinement: Confinement) -> Self {
        self.with(|process| process.confinement(confinement))
    }
}

impl ToolServer for McpTools {
    fn open(&self, ctx: JobContext) -> BoxFuture<'static, Result<Arc<dyn OpenTools>, String>> {
        let place = self.place.clone();
        async move {
            let open = match place {
                Place::Command(process) => open_command(&ctx, &process).await?,
                Place::Url { url, token, client } => open_url(url, token, client).await?,
            };
            Ok(Arc::new(open) as Arc<dyn OpenTools>)
        }
        .boxed()
    }
}

type Running = RunningService<RoleClient, ClientConfig>;

async fn open_command(ctx: &JobContext, process: &ProcessAgent) -> Result<Open, String> {
    let subject = "its process";
    let allowance = process.output().map(Allowance::new);
    let started = process.start_beside(ctx, subject).await;
    let (mut process, streams) = started.map_err(|error| error.message().to_owned())?;
    let Streams {
        stdin,
        stdout,
        stderr,
    } = streams;
    let gone = CancellationToken::new();
    let stdout = Output::new(stdout, &gone).within(allowance.as_ref());
    let mut stderr = Output::new(stderr, &gone).within(allowance.as_ref());
    let logging = ctx.clone();
    // Ends with the process; what a job that has ended would be told is told to nobody.
    drop(tokio::spawn(async move {
        drop(log_lines(&logging, &mut stderr, "debug", |_| {}).await);
    }));
    let bounds = Bounds {
        allowance,
        too_long: CancellationToken::new(),
    };
    let stdout = Bounded::new(stdout, LINE, &bounds.too_long);
    // Longer lines do not get there.
    let transport = AsyncRwTransport::new_client(stdout, stdin).with_max_line_length(2 * LINE);
    let running = tokio::select! {
        running = opened(us().serve(transport).boxed()) => running,
        how = ended(&mut process, &bounds) => return Err(how),
    };
    let running = match running {
        Ok(running) => running,
        Err(why) => {
            // How its process ended says more than that its pipe did.
            let how = timeout(LAST_WORDS, ended(&mut process, &bounds)).await;
            return Err(how.unwrap_or(why));
        }
    };
    let end = End::default();
    let open = Open::new(&running, &end);
    drop(tokio::spawn(attend(process, bounds, running, gone, end)));
    Ok(open)
}

/// Waits with a process for its end, or for that of whoever needs it.
async fn attend(
    mut process: Process,
    bounds: Bounds,
    mut running: Running,
    gone: CancellationToken,
    end: End,
) {
    let how = tokio::select! {
        how = ended(&mut process, &bounds) => how,
        () = end.wanted.cancelled() => "it was closed".to_owned(),
    };
    *end.how.lock() = Some(how);
    end.came.cancel();
    gone.cancel();
    // Its pipes are at their end, and so is whoever reads them.
    let _ = timeout(OPENING, running.close()).await;
}

/// How much a process may say.
struct Bounds {
    allowance: Option<Allowance>,
    /// It said too long a line.
    too_long: CancellationToken,
}

/// How a process ended, or why it has to.
async fn ended(process: &mut Process, bounds: &Bounds) -> String {
    let used_up = async {
        match &bounds.allowance {
            Some(allowance) => allowance.used_up().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = bounds.too_long.cancelled() => {
            format!("its process wrote a message of more than {LINE} bytes; ask for less of it")
        }
        status = process.ended() => {
            let how = status.map_or_else(|error| error.to_string(), describe);
            format!("its process ended with {how}")
        }
        () = used_up => "its process wrote more than its limit of output lets it".to_owned(),
    }
}

async fn open_url(
    url: Url,
    token: Option<Secret>,
    client: reqwest::Client,
) -> Result<Open, String> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .max_sse_event_size(LINE)
        .max_json_response_size(LINE);
    if let Some(token) = &token {
        config = config.auth_header(token.expose());
    }
    let transport = StreamableHttpClientTransport::with_client(client, config);
    let mut running = opened(us().serve(transport).boxed()).await?;
    let end = End::default();
    let open = Open::new(&running, &end);
    drop(tokio::spawn(async move {
        end.wanted.cancelled().await;
        end.came.cancel();
        // A service that does not hear the goodbye forgets by itself.
        let _ = timeout(OPENING, running.close()).await;
    }));
    Ok(open)
}

async fn opened(
    opening: BoxFuture<'_, Result<Running, ClientInitializeError>>,
) -> Result<Running, String> {
    match timeout(OPENING, opening).await {
        Ok(Ok(running)) => Ok(running),
        Ok(Err(error)) if error.is_authorization_required() => {
            Err("it does not open: it takes a token, and not what it was shown".to_owned())
        }
        Ok(Err(error)) => Err(format!("it does not open: {}", cause(&error))),
        Err(_) => Err(format!(
            "it does not open: there was no answer in {} seconds",
            OPENING.as_secs()
        )),
    }
}

/// What an error comes down to: those above it name types, and what was being sent.
fn cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map_or_else(String::new, ToString::to_string)
}

/// What servers are told of us: nothing that they may ask back for.
fn us() -> ClientConfig {
    let name = Implementation::new("towline", env!("CARGO_PKG_VERSION"));
    ClientConfig::new(ClientCapabilities::default(), name)
}

/// The end of a server, wanted and come.
#[derive(Clone, Default)]
struct End {
    wanted: CancellationToken,
    came: CancellationToken,
    how: Arc<Mutex<Option<String>>>,
}

/// One that is open.
struct Open {
    peer: Peer<RoleClient>,
    end: End,
}

impl Open {
    fn new(running: &Running, end: &End) -> Self {
        Self {
            peer: running.peer().clone(),
            end: end.clone(),
        }
    }

    /// An answer of the server's, unless it ends before.
    async fn ask<T>(
        &self,
        asking: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, String> {
        let answer = tokio::select! {
            biased;
            answer = asking => answer,
            () = self.end.came.cancelled() => return Err(self.how_it_ended()),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(ServiceError::McpError(error)) => Err(beginning(&error.message)),
            Err(error) => {
                // How its process ended says more than that its pipe did.
                let came = timeout(LAST_WORDS, self.end.came.cancelled()).await;
                Err(came.map_or_else(|_| cause(&error), |()| self.how_it_ended()))
            }
        }
    }

    fn how_it_ended(&self) -> String {
        let how = self.end.how.lock().clone();
        how.unwrap_or_else(|| "it was closed".to_owned())
    }

    async fn all(&self) -> Result<Vec<ToolInfo>, String> {
        let (mut all, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES {
            let page = PaginatedRequestParams::default().with_cursor(cursor.take());
            let listed = self.ask(self.peer.list_tools(Some(page))).await?;
            for tool in listed.tools {
                let schema = RawJson::from(serde_json::Value::Object((*tool.input_schema).clone()));
                let mut told = ToolInfo::new(tool.name).input_schema(schema);
                told.description = tool.description.map(String::from);
                all.push(told);
            }
            cursor = listed.next_cursor;
            if cursor.is_none() || all.len() >= TOOLS {
                break;
            }
        }
        all.truncate(TOOLS);
        Ok(all)
    }

    async fn carry_out(
        &self,
        tool: &str,
        args: RawJson,
        traceparent: String,
    ) -> Result<RawJson, String> {
        let arguments: Option<JsonObject> = args
            .read()
            .map_err(|_| "its arguments have to be an object".to_owned())?;
        let mut call = CallToolRequestParams::new(tool.to_owned());
        call.arguments = arguments;
        let mut meta = RequestMetaObject::new();
        meta.0
            .0
            .insert("traceparent".to_owned(), json!(traceparent));
        call.meta = Some(meta);
        let result = match self.ask(self.peer.call_tool_once(call)).await? {
            CallToolResponse::Complete(result) => result,
            _ => return Err("it asks for what nobody can give it here".to_owned()),
        };
        if result.is_error == Some(true) {
            return Err(said(&result));
        }
        let result = RawJson::of(&result).map_err(|error| error.to_string())?;
        let size = result.as_str().len();
        if size > RESULT {
            return Err(format!(
                "its result has {size} bytes, more than {RESULT}; ask for less of it"
            ));
        }
        Ok(result)
    }
}

/// What a failed call says.
fn said(result: &CallToolResult) -> String {
    let texts = result.content.iter().filter_map(|item| item.as_text());
    let text = texts.map(|text| text.text.as_str()).collect::<Vec<_>>();
    let text = beginning(&text.join("\n"));
    if text.is_empty() {
        return "it does not say why".to_owned();
    }
    text
}

/// As much of an error as is told.
fn beginning(text: &str) -> String {
    text.chars().take(MESSAGE).collect()
}

impl OpenTools for Open {
    fn list(&self) -> BoxFuture<'_, Result<Vec<ToolInfo>, String>> {
        self.all().boxed()
    }

    fn call<'c>(
        &'c self,
        tool: &'c str,
        args: RawJson,
        traceparent: String,
    ) -> BoxFuture<'c, Result<RawJson, String>> {
        self.carry_out(tool, args, traceparent).boxed()
    }

    fn is_open(&self) -> bool {
        !self.end.came.is_cancelled() && !self.peer.is_transport_closed()
    }

    fn close(&self) {
        self.end.wanted.cancel();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end.wanted.cancel();
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(process) => process.fmt(f),
            Self::Url { url, .. } => write!(f, "{:?}", url.as_str()),
        }
    }
}

/// How long a server may take to open.
const OPENING: Duration = Duration::from_secs(30);

/// How long after its pipe a process may take to end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The longest message of a server.
const LINE: usize = 8 << 20;

/// The largest result of a call.
const RESULT: usize = 1 << 20;

/// So much of an error is told.
const MESSAGE: usize = 4096;

/// So many tools of a server are known, on so many pages.
const TOOLS: usize = 1000;
const PAGES: usize = 64;
