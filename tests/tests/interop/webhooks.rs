//! Webhooks against a receiver that fails, hangs, redirects and dies, and a server that is killed; the signatures are checked by
//! the library of Standard Webhooks.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use towline_tests::{program::Place, server::Serve, soon};

use crate::python::webhooks_python;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// What a receiver does with a message.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Fails,
    Hangs,
    Redirects,
}

/// A message as it came.
#[derive(Debug, Clone)]
struct Message {
    path: String,
    headers: HeaderMap,
    body: String,
    /// Whether it was taken.
    taken: bool,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn body(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Clone, Default)]
struct Book(Arc<Mutex<(VecDeque<Answer>, Vec<Message>)>>);

impl Book {
    fn will(&self, answers: &[Answer]) {
        self.0.lock().unwrap().0.extend(answers);
    }

    fn messages(&self) -> Vec<Message> {
        self.0.lock().unwrap().1.clone()
    }

    fn taken(&self) -> Vec<Message> {
        let messages = self.messages().into_iter();
        messages.filter(|message| message.taken).collect()
    }

    /// Waits until so many were taken.
    async fn takes(&self, count: usize) -> Vec<Message> {
        let all = async {
            while self.taken().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("messages", all).await;
        self.taken()
    }

    /// Waits until so many tries were made.
    async fn tried(&self, count: usize) {
        let all = async {
            while self.messages().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("tries", all).await;
    }
}

async fn receive(State(book): State<Book>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let answer = {
        let mut book = book.0.lock().unwrap();
        let answer = book.0.pop_front();
        book.1.push(Message {
            path: uri.path().to_owned(),
            headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
            taken: answer.is_none(),
        });
        answer
    };
    match answer {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Answer::Fails) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Answer::Hangs) => std::future::pending().await,
        Some(Answer::Redirects) => (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, "/elsewhere")],
        )
            .into_response(),
    }
}

/// A receiver; it dies when the task is aborted.
async fn receiver(book: &Book, at: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(receive).with_state(book.clone());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, task)
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A server that may tell the receiver.
fn telling(address: SocketAddr) -> Serve {
    let place = Arc::new(Place::new());
    place.write("webhook.secret", format!("{SECRET}\n"));
    place.write(
        "towline.toml",
        format!(
            "[webhooks]\nallow = [\"http://{address}/**\"]\nsecret_file = \"webhook.secret\"\n"
        ),
    );
    Serve::demo().with(&["--config", "towline.toml"]).at(&place)
}

/// The messages of a job, as they were taken.
fn of<'m>(messages: &'m [Message], job: &str) -> Vec<&'m Message> {
    let is_of = |message: &&Message| message.body()["data"]["job_id"] == job;
    messages.iter().filter(is_of).collect()
}

/// [ARCP 16-6] a receiver that fails, redirects, hangs and dies, and a server that is killed between commit and delivery: each
/// event comes once, under one name over all tries, in order.
#[tokio::test]
async fn every_event_is_told_once_and_in_order() {
    let book = Book::default();
    let (address, listening) = receiver(&book, anywhere()).await;
    let url = format!("http://{address}/in");
    let server = telling(address).start().await;
    book.will(&[Answer::Fails, Answer::Redirects]);
    let run = ["run", "echo", "--input", "1", "--notify", &url];
    let of_both = [
        "--notify-of",
        "started",
        "--notify-of",
        "ended",
        "-o",
        "json",
    ];
    let flags = server.flags("alice");
    let args = || {
        run.iter()
            .chain(&of_both)
            .copied()
            .chain(flags.iter().map(String::as_str))
    };
    server.place().run(args()).await.status(0);
    let taken = book.takes(2).await;
    let kinds: Vec<_> = taken
        .iter()
        .map(|message| message.body()["type"].clone())
        .collect();
    assert_eq!(kinds, ["job.started", "job.ended"]);
    assert!(book.messages().iter().all(|message| message.path == "/in"));
    let first = book.messages();
    assert_eq!(first[0].header("webhook-id"), first[2].header("webhook-id"));
    // It hangs; then it dies. The server is killed meanwhile, and the receiver comes back.
    let before = book.messages().len();
    book.will(&[Answer::Hangs]);
    server.place().run(args()).await.status(0);
    book.tried(before + 1).await;
    listening.abort();
    let server = server.crash_and_restart().await;
    let (_, _listening) = receiver(&book, address).await;
    let taken = book.takes(4).await;
    let second = taken[2].body()["data"]["job_id"].clone();
    let second = of(&taken, second.as_str().unwrap());
    let kinds: Vec<_> = second
        .iter()
        .map(|message| message.body()["type"].clone())
        .collect();
    assert_eq!(kinds, ["job.started", "job.ended"]);
    let hung = book.messages()[before].clone();
    assert_eq!(hung.header("webhook-id"), second[0].header("webhook-id"));
    shown(&server, 4).await;
}

/// The program lists the messages, and has one delivered once more.
async fn shown(server: &towline_tests::server::Server, count: usize) {
    let flags = server.flags("alice");
    let flags = || flags.iter().map(String::as_str);
    let is_settled = async {
        loop {
            let args = ["webhooks", "-o", "json"].into_iter().chain(flags());
            let listed = server.place().run(args).await.status(0).json();
            let all = listed.as_array().unwrap().clone();
            if all.iter().all(|message| message["status"] == "delivered") {
                return all;
            }
        }
    };
    let all = soon("all to be delivered", is_settled).await;
    assert_eq!(all.len(), count);
    let id = all[0]["id"].as_str().unwrap();
    let args = ["webhooks", "redeliver", id, "-o", "json"]
        .into_iter()
        .chain(flags());
    let again = server.place().run(args).await.status(0).json();
    assert_eq!(
        (&again["id"], &again["status"]),
        (&json!(id), &json!("pending"))
    );
    let args = ["run", "echo", "--notify", "http://127.0.0.1:1/"]
        .into_iter()
        .chain(flags());
    let refused = server.place().run(args).await;
    refused.says(&["not covered by `[webhooks] allow`"]);
}

/// [ARCP 16-6] the library of Standard Webhooks takes the signatures, and no other body under them.
#[tokio::test]
async fn others_check_the_signatures() {
    let Some(python) = webhooks_python() else {
        return;
    };
    let book = Book::default();
    let (address, _listening) = receiver(&book, anywhere()).await;
    let url = format!("http://{address}/in");
    let server = telling(address).start().await;
    let flags = server.flags("alice");
    let run = [
        "run",
        "echo",
        "--input",
        "{\"text\":\"é\\u0000\"}",
        "--notify",
        &url,
        "--notify-of",
        "started",
    ];
    let more = ["--notify-of", "ended"].into_iter();
    let args = run
        .into_iter()
        .chain(more)
        .chain(flags.iter().map(String::as_str));
    server.place().run(args).await.status(0);
    let taken = book.takes(2).await;
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let lines = taken.iter().map(|message| {
        let headers: serde_json::Map<_, _> = names
            .iter()
            .map(|name| ((*name).to_owned(), json!(message.header(name))))
            .collect();
        format!("{}\n", json!({"headers": headers, "body": message.body}))
    });
    let path = server.place().write("messages", lines.collect::<String>());
    let mut command = python.script("webhooks/verify.py");
    command.arg(SECRET).arg(path);
    assert_eq!(python.holds(command).await.json(), 2);
}
