//! A server with people of several kinds, and the ways in.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{Place, Ran, Server};

/// How long a test waits for what has to come: it only bounds failure.
const PATIENCE: Duration = Duration::from_secs(120);

const FILE: &str = r#"
[server]
listen = "127.0.0.1:0"
demo = true
[store]
memory = true
[webhooks]
allow = ["http://127.0.0.1:9/**"]
secret_file = "webhook.secret"
[roles.watches]
may_watch = "all"
[roles.answers]
may_answer = "all"
[roles.cancels]
may_cancel = "all"
[roles.administers]
admin = true
[roles.bounded]
agents = ["sleep", "access"]
lease_ceiling = { "fs.read" = ["/srv/**"] }
budget_per_job = "USD:2.00"
jobs = 1
[schedules.hers]
cron = "0 0 29 2 *"
agent = "echo"
principal = "ann"
"#;

/// Who there is, and the role.
const PEOPLE: [(&str, Option<&str>); 7] = [
    ("ann", None),
    ("bob", None),
    ("wendy", Some("watches")),
    ("hank", Some("answers")),
    ("carl", Some("cancels")),
    ("olga", Some("administers")),
    ("dan", Some("bounded")),
];

/// A server, and a job of ann's that has ended.
pub(super) struct Scene {
    _place: Place,
    server: Server,
    pub(super) done: String,
}

impl Scene {
    /// With more in the file than everybody needs.
    pub(super) fn with(more: &str) -> Self {
        let place = Place::new();
        let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        place.write("webhook.secret", secret);
        let mut file = FILE.to_owned() + more;
        for (name, role) in PEOPLE {
            let role = role.map_or_else(String::new, |role| format!("role = \"{role}\"\n"));
            file += &format!(
                "[[auth.tokens]]\nprincipal = \"{name}\"\ntoken = \"{name}-token\"\n{role}"
            );
        }
        let file = place.write("people.toml", file);
        let server = Server::start(place.command(["serve", "--config", file.to_str().unwrap()]));
        let mut scene = Self {
            _place: place,
            server,
            done: String::new(),
        };
        let job = json!({"agent": "echo", "input": {"was": "given"}, "notify": {"url": "http://127.0.0.1:9/hook"}});
        let (status, done) = scene.ask("ann", "POST", "/v1/jobs", &["Prefer: wait=60"], Some(job));
        assert_eq!(
            (status, &done["status"]),
            (200, &json!("success")),
            "{done}"
        );
        scene.done = text(&done["job_id"]);
        scene
    }

    /// The program, as somebody.
    pub(super) fn program(&self, who: &str, args: &[&str]) -> Ran {
        let token = format!("{who}-token");
        // A place of its own: nobody takes up what another one left.
        let flags = ["--url", &self.server.url, "--token", &token];
        Place::new().run(args.iter().chain(&flags))
    }

    /// A request over HTTP; the status, and the body as JSON or as a text.
    pub(super) fn http(
        &self,
        who: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        self.ask(who, method, path, &[], body)
    }

    fn ask(
        &self,
        who: &str,
        method: &str,
        path: &str,
        headers: &[&str],
        body: Option<Value>,
    ) -> (u16, Value) {
        let body = body.map_or_else(String::new, |body| body.to_string());
        let headers: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
        let mut socket = TcpStream::connect(self.server.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {who}-token\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| body.into());
        (head[9..12].parse().unwrap(), body)
    }

    /// A call of a tool by a client of the Model Context Protocol; what it was answered.
    pub(super) fn tool(&self, who: &str, tool: &str, arguments: Value) -> Value {
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }},
        });
        let named = format!("Mcp-Name: {tool}");
        let headers = [
            "Accept: application/json, text/event-stream",
            "MCP-Protocol-Version: 2026-07-28",
            "Mcp-Method: tools/call",
            &named,
        ];
        let (_, answer) = self.ask(who, "POST", "/mcp", &headers, Some(call));
        let Value::String(events) = &answer else {
            return answer["result"].clone();
        };
        let data = events
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        let mut found = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let last = found
            .next_back()
            .unwrap_or_else(|| panic!("no message in {events}"));
        last["result"].clone()
    }

    /// A job of ann's that goes on.
    pub(super) fn begins(&self, agent: &str, input: Value) -> String {
        let job = json!({"agent": agent, "input": input});
        let (status, job) = self.http("ann", "POST", "/v1/jobs", Some(job));
        assert_eq!(status, 202, "{job}");
        text(&job["job_id"])
    }

    /// A job of ann's that asks for a text, and the question.
    pub(super) fn asks(&self) -> (String, String) {
        let job = self.begins("ask", json!({"kind": "text"}));
        loop {
            let (_, inbox) = self.http("ann", "GET", "/v1/inbox", None);
            let open = inbox["questions"].as_array().unwrap();
            if let Some(question) = open.iter().find(|question| question["job_id"] == job) {
                return (job, text(&question["question_id"]));
            }
        }
    }

    /// The message about the job that has ended, of those a principal is shown.
    pub(super) fn webhook(&self, who: &str) -> Option<String> {
        let (_, listed) = self.http(who, "GET", "/v1/webhooks", None);
        let messages = listed["webhooks"].as_array().unwrap();
        messages.first().map(|message| text(&message["id"]))
    }
}

pub(super) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}
