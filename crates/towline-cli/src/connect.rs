//! From the command line to a session: with a server, with a saved session's server, or with a runtime in this program.

use std::{path::Path, sync::Arc, time::Duration};

use towline::{
    ErrorCode, JobId,
    client::{Client, ClientOptions, ResumeState},
    env::{Clock as _, SystemClock},
    transport::{MemoryTransport, StdioTransport, WebSocketOptions},
    wire::Secret,
};

use crate::{
    args::ConnectArgs,
    config,
    context::Context,
    embedded::{Embedded, Purpose, Stay},
    exit,
    failure::{Failure, Outcome, chain},
    guard, job_name, output,
    sessions::{SavedSession, Sessions},
    store_choice::StoreChoice,
    target::{Target, absolute},
    telemetry::traced,
    values::{without_mark, without_user},
};

pub(crate) use crate::refused::failed;

/// A session, and whose the runtime behind it is.
pub(crate) struct Connection {
    pub(crate) client: Client,
    behind: Behind,
}

/// Whose a runtime is.
enum Behind {
    /// A server's.
    Server,
    /// Another process's on this data directory; it ends with that.
    Beside,
    /// This program's.
    Embedded(Embedded),
}

impl Connection {
    /// Opens a session with the server that was named, or with a runtime in this program.
    pub(crate) async fn open(
        context: &Context,
        args: &ConnectArgs,
        purpose: Purpose,
    ) -> Outcome<Self> {
        match &args.url {
            Some(url) => Ok(Self {
                client: to_server(context, url, args, Opening::default()).await?,
                behind: Behind::Server,
            }),
            None => Self::embed(context, purpose).await,
        }
    }

    /// Opens a session with the server that has this data directory; nothing when there is none.
    pub(crate) async fn to_server_here(context: &Context) -> Option<Self> {
        let client = look_beside(context, Stay::Stays).await?;
        Some(Self {
            client,
            behind: Behind::Beside,
        })
    }

    /// Opens a session with a server that is to be left to somebody else: nothing is acknowledged, for nobody here sees the
    /// events, and a runtime may free what was.
    pub(crate) async fn open_for_others(
        url: &str,
        context: &Context,
        args: &ConnectArgs,
    ) -> Outcome<Self> {
        let opening = Opening {
            for_others: true,
            ..Opening::default()
        };
        Ok(Self {
            client: to_server(context, url, args, opening).await?,
            behind: Behind::Server,
        })
    }

    /// Opens a session to look at a job: one of its own, so that whoever follows the job elsewhere goes on. Also says which
    /// job is meant; its name may be a beginning.
    ///
    /// The saved session of `run --detach` knows the server and the token, if one was asked for. It is taken up itself only
    /// where the server lets nobody in beside it.
    pub(crate) async fn to_look_at(
        context: &Context,
        args: &ConnectArgs,
        job: &str,
    ) -> Outcome<(Self, JobId)> {
        let connection = match saved(context, args, job)? {
            None => Self::open(context, args, Purpose::Look).await?,
            Some(saved) => match own_session(context, args, &saved).await? {
                Some(connection) => connection,
                None => Self::of_saved(context, args, saved, Purpose::Look).await?,
            },
        };
        connection.resolved(job).await
    }

    /// Opens a session that may do what only the submitter may: the one that submitted the job, when it was left behind here
    /// and can still be taken up.
    pub(crate) async fn to_act_on(
        context: &Context,
        args: &ConnectArgs,
        job: &str,
    ) -> Outcome<(Self, JobId)> {
        let connection = match saved(context, args, job)? {
            None => Self::open(context, args, Purpose::Cancel).await?,
            Some(saved) => Self::of_saved(context, args, saved, Purpose::Cancel).await?,
        };
        connection.resolved(job).await
    }

    async fn resolved(self, job: &str) -> Outcome<(Self, JobId)> {
        match job_name::resolve(&self.client, job).await {
            Ok(job) => Ok((self, job)),
            Err(failure) => {
                self.close().await;
                Err(failure)
            }
        }
    }

    async fn of_saved(
        context: &Context,
        args: &ConnectArgs,
        saved: SavedSession,
        purpose: Purpose,
    ) -> Outcome<Self> {
        match resume(context, &saved, args).await {
            Ok(client) => Ok(Self {
                client,
                behind: Behind::Server,
            }),
            Err(failure) if is_gone(&failure) => {
                context.sessions().forget(&saved.job_id);
                let args = if is_over(&saved) {
                    ConnectArgs {
                        url: Some(saved.url),
                        ..args.clone()
                    }
                } else {
                    with_saved(args, &saved)
                };
                match Self::open(context, &args, purpose).await {
                    Err(refused) if is_unknown(&refused) && token(&args)?.is_none() => {
                        Err(failure.help(
                            "the session is too old to be taken up again; give --token to open another",
                        ))
                    }
                    opened => opened,
                }
            }
            Err(failure) => Err(failure),
        }
    }

    async fn embed(context: &Context, purpose: Purpose) -> Outcome<Self> {
        let wanted = match purpose {
            // A job would end with the command that it is run in.
            Purpose::Work => Stay::Stays,
            Purpose::Look | Purpose::Cancel => Stay::Ends,
        };
        let through = |client| Self {
            client,
            behind: Behind::Beside,
        };
        // Before the store is tried, which would be told to be in use.
        if let Some(client) = look_beside(context, wanted).await {
            return Ok(through(client));
        }
        let embedded = tokio::select! {
            biased;
            // Another process may have the store, and be about to let others use its runtime.
            client = beside(context, wanted) => return Ok(through(client)),
            embedded = Embedded::start(&context.config, &context.data, purpose) => embedded?,
        };
        let (near, far) = MemoryTransport::pair();
        let near = traced(Box::new(near), context.traced);
        embedded.runtime().accept(far);
        let options = named(ClientOptions::bearer(embedded.token()));
        let client = Client::connect(near, options).await.map_err(failed)?;
        Ok(Self {
            client,
            behind: Behind::Embedded(embedded),
        })
    }

    /// Lets the session go without a word: some runtimes forget a session that is closed.
    pub(crate) async fn leave(self) {
        drop(self.client.leave().await);
    }

    /// Closes the session, and ends the runtime if it is ours. What goes wrong here changes nothing for the command.
    pub(crate) async fn close(self) {
        drop(tokio::time::timeout(CLOSING, self.client.close("done")).await);
        if let Behind::Embedded(embedded) = self.behind {
            embedded.stop().await;
        }
    }

    /// Whether the runtime is this program's own, with the agents of this configuration.
    pub(crate) fn is_of_this_program(&self) -> bool {
        matches!(self.behind, Behind::Embedded(_))
    }

    /// Whether nobody runs the jobs that are there: what has not ended was left by a command that was killed, and waits for
    /// one that runs jobs.
    pub(crate) fn nobody_runs_jobs(&self) -> bool {
        matches!(&self.behind, Behind::Embedded(embedded) if !embedded.runs_jobs())
    }

    /// Whether what was wanted failed because the command ended whose runtime it was asked of.
    pub(crate) fn went_away<T>(&self, outcome: &Outcome<T>) -> bool {
        let is_lost = |failure: &Failure| failure.status() == exit::CONNECTION;
        matches!(self.behind, Behind::Beside) && outcome.as_ref().is_err_and(is_lost)
    }

    /// Closes the session. Says whether somebody who looks has to look again, and why: the command ended whose runtime it was
    /// asked of, or another terminal took the session over, which is waited for a moment.
    pub(crate) async fn close_after<T>(self, outcome: &Outcome<T>) -> Option<&'static str> {
        let went_away = self.went_away(outcome);
        let taken_over = outcome.as_ref().is_err_and(Failure::is_taken_over);
        self.close().await;
        if taken_over {
            tokio::time::sleep(TAKEN_OVER).await;
            return Some("another terminal took the session over; looking again");
        }
        went_away.then_some("the command that ran jobs here has ended")
    }
}

/// A session with the runtime that another process has on this data directory; waits for one for ever.
pub(crate) async fn beside(context: &Context, wanted: Stay) -> Client {
    loop {
        if let Some(client) = look_beside(context, wanted).await {
            return client;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A session with the runtime that another process has on this data directory; nothing when there is none just now.
#[cfg(unix)]
pub(crate) async fn look_beside(context: &Context, wanted: Stay) -> Option<Client> {
    let store = StoreChoice::of_commands(&context.config, &context.data).ok()?;
    let options = |token| named(ClientOptions::bearer(token));
    crate::beside::client(&context.data, &store, wanted, options).await
}

/// A way to the runtime that another process has on this data directory, as soon as there is one, and the token that lets one in.
pub(crate) async fn transport_beside(context: &Context) -> (StdioTransport, Secret) {
    loop {
        if let Some(beside) = look_transport(context, Stay::Ends).await {
            return beside;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The same, nothing when there is none just now.
#[cfg(unix)]
pub(crate) async fn look_transport(
    context: &Context,
    wanted: Stay,
) -> Option<(StdioTransport, Secret)> {
    let store = StoreChoice::of_commands(&context.config, &context.data).ok()?;
    crate::beside::transport(&context.data, &store, wanted).await
}

#[cfg(not(unix))]
pub(crate) async fn look_transport(_: &Context, _: Stay) -> Option<(StdioTransport, Secret)> {
    None
}

#[cfg(not(unix))]
pub(crate) async fn look_beside(_: &Context, _: Stay) -> Option<Client> {
    None
}

/// How long a runtime may take to be told that a session is over.
const CLOSING: Duration = Duration::from_secs(2);

/// How long whoever took a session over has for what they want of it.
const TAKEN_OVER: Duration = Duration::from_secs(1);

/// How often it is looked whether another process lets others in.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The session that was left behind for a job, with the server that was named.
fn saved(context: &Context, args: &ConnectArgs, job: &str) -> Outcome<Option<SavedSession>> {
    let saved = context.sessions().find_beginning(job)?;
    Ok(saved.filter(|saved| {
        args.url
            .as_ref()
            .is_none_or(|url| absolute(url) == saved.url)
    }))
}

/// Whether a saved session is over: what was left behind is left for as long as the session itself, and no longer.
fn is_over(saved: &SavedSession) -> bool {
    saved.until.is_some_and(|until| until <= SystemClock.now())
}

/// The flags, with what a saved session knows beside them.
fn with_saved(args: &ConnectArgs, saved: &SavedSession) -> ConnectArgs {
    let mut args = args.clone();
    args.url = Some(saved.url.clone());
    if let (Ok(None), Some(token)) = (token(&args), &saved.token) {
        args.token = Some(Secret::from(token.as_str()));
    }
    args
}

/// A session beside a saved one; nothing where the server lets nobody in with what is known here.
async fn own_session(
    context: &Context,
    args: &ConnectArgs,
    saved: &SavedSession,
) -> Outcome<Option<Connection>> {
    let given = token(args)?.is_some();
    let args = with_saved(args, saved);
    if is_over(saved) && !given && saved.token.is_some() {
        return Ok(None);
    }
    match Connection::open(context, &args, Purpose::Look).await {
        Ok(connection) => Ok(Some(connection)),
        Err(failure) if is_unknown(&failure) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Whether a server did not know who this is.
fn is_unknown(failure: &Failure) -> bool {
    failure.code() == Some(&ErrorCode::UNAUTHENTICATED)
}

/// Whether a session is not there any more, or not as far as this side had it: what it waits for has to be looked up anew.
fn is_gone(failure: &Failure) -> bool {
    [ErrorCode::RESUME_WINDOW_EXPIRED, ErrorCode::INVALID_REQUEST]
        .iter()
        .any(|code| failure.code() == Some(code))
}

/// What a session is opened for.
#[derive(Default)]
struct Opening {
    /// To take this one up.
    resume: Option<ResumeState>,
    /// To be left to somebody who comes later.
    for_others: bool,
}

/// A session with a server; it reconnects and resumes by itself.
async fn to_server(
    context: &Context,
    url: &str,
    args: &ConnectArgs,
    opening: Opening,
) -> Outcome<Client> {
    let target = target(url)?;
    let options = match token(args)? {
        Some(token) => ClientOptions::bearer(token),
        None => ClientOptions::default(),
    };
    let mut options = named(options);
    if let Some(resume) = opening.resume {
        options = options.resume(resume);
    }
    if opening.for_others {
        options = options.acknowledge(None);
    }
    let timeout = timeout(args);
    options = options.reply_timeout(timeout).handshake_timeout(timeout);
    let socket = socket_options(args)?;
    let wanted = context.traced;
    let dialled = if target.is_child() {
        // A second program would be a second runtime, which knows nothing of the session.
        let transport = target.connect(&socket).await;
        let transport = transport.map_err(|error| Failure::connection(chain(&error)))?;
        Client::connect(traced(transport, wanted), options).await
    } else {
        let target = Arc::new((target, socket));
        let connector = move || {
            let target = Arc::clone(&target);
            async move {
                let transport = target.0.connect(&target.1).await?;
                Ok(traced(transport, wanted))
            }
        };
        Client::dial(options.connector(connector)).await
    };
    dialled.map_err(|error| failed(error).without(url, &without_user(url)))
}

/// What `--url` names.
pub(crate) fn target(url: &str) -> Outcome<Target> {
    Target::parse(url).map_err(Failure::usage)
}

/// How long to wait for a connection and for each answer.
pub(crate) fn timeout(args: &ConnectArgs) -> Duration {
    args.timeout.map_or(Duration::from_secs(30), |span| span.0)
}

/// How a WebSocket is opened.
pub(crate) fn socket_options(args: &ConnectArgs) -> Outcome<WebSocketOptions> {
    let socket = WebSocketOptions::client().handshake_timeout(timeout(args));
    let Some(file) = &args.ca_cert else {
        return Ok(socket);
    };
    let pem = std::fs::read(file).map_err(|error| {
        Failure::usage(format!(
            "cannot read the certificate `{}`: {error}",
            file.display()
        ))
    })?;
    Ok(socket.root_certificates_pem(without_mark(pem)))
}

/// Takes a saved session up again, and saves it anew at once: the token was good for this one time.
async fn resume(context: &Context, saved: &SavedSession, args: &ConnectArgs) -> Outcome<Client> {
    let state = ResumeState::from_json(&saved.resume.to_string());
    let state = state.map_err(|error| {
        Failure::local(format!(
            "the saved session of `{}` is damaged: {error}",
            saved.job_id
        ))
    })?;
    let opening = Opening {
        resume: Some(state),
        ..Opening::default()
    };
    let client = to_server(context, &saved.url, args, opening).await?;
    save(&client, saved.clone(), &context.sessions()).await?;
    Ok(client)
}

/// The server that a job left behind here runs at.
pub(crate) fn url_of(context: &Context, job: &str) -> Outcome<Option<String>> {
    let saved = context.sessions().find_beginning(job)?;
    Ok(saved.map(|saved| saved.url))
}

/// Saves a session as it stands now.
pub(crate) async fn save(client: &Client, saved: SavedSession, sessions: &Sessions) -> Outcome<()> {
    let Some(state) = client.resume_state().await.map_err(failed)? else {
        output::note("the runtime gives no resume token: this session cannot be taken up again");
        return Ok(());
    };
    let resume = serde_json::from_str(&state.to_json_exposing_secret())
        .map_err(|error| Failure::local(format!("cannot save the session: {error}")))?;
    let window = client.session().and_then(|session| session.resume_window());
    sessions.save(&SavedSession {
        session_id: state.session_id().to_string(),
        until: window.map(|window| SystemClock.now().plus(window)),
        resume,
        ..saved
    })
}

/// The token of the flags, or of the file they name; else that of the environment, or of the file it names. (Not clap's own
/// reading of the environment: a flag for the one has to beat a variable for the other.)
pub(crate) fn token(args: &ConnectArgs) -> Outcome<Option<Secret>> {
    if let Some(token) = &args.token {
        return Ok(Some(token.clone()));
    }
    if let Some(file) = &args.token_file {
        return token_of(file).map(Some);
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(token) = variable("TOWLINE_TOKEN") {
        let text = token
            .into_string()
            .map_err(|_| Failure::usage("TOWLINE_TOKEN is not UTF-8"))?;
        return Ok(Some(Secret::from(text)));
    }
    variable("TOWLINE_TOKEN_FILE")
        .map(|file| token_of(Path::new(&file)))
        .transpose()
}

fn token_of(file: &Path) -> Outcome<Secret> {
    guard::given_secret(file)?;
    let read = config::first_line(file).map(Secret::from);
    read.map_err(|error| {
        Failure::usage(format!(
            "the token file `{}` cannot be used: {error}",
            file.display()
        ))
    })
}

fn named(options: ClientOptions) -> ClientOptions {
    options
        .name("towline", env!("CARGO_PKG_VERSION"))
        .trace_source(towline::otel::current_ids)
}
