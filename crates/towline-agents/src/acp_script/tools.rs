//! How the scripted agent calls the tools that its session is told of: one request a connection.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

/// A server of tools over HTTP.
#[derive(Default)]
pub(super) struct Tools {
    url: String,
    authorization: String,
    asked: u64,
}

impl Tools {
    /// The first of the servers that a session is opened or loaded with.
    pub(super) fn of(servers: &Value) -> Self {
        let server = &servers[0];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            url: text(&server["url"]),
            authorization: text(&server["headers"][0]["value"]),
            asked: 0,
        }
    }

    /// The same without a key, or with another.
    fn with_key(&self, key: &str) -> Self {
        Self {
            url: self.url.clone(),
            authorization: key.to_owned(),
            asked: 0,
        }
    }

    /// Carries out a step of the script; gives what there is to say.
    pub(super) fn step(&mut self, name: &str, value: &Value) -> String {
        match name {
            "tools" => self.list(),
            "call" => self.call(&value[0], &value[1]),
            _ => {
                let mut tools = self.with_key(value[0].as_str().unwrap_or_default());
                tools.call(&value[1], &value[2])
            }
        }
    }

    /// The names of the tools there are.
    fn list(&mut self) -> String {
        match self.ask("tools/list", &json!({})) {
            Ok(result) => {
                let tools = result["tools"].as_array().map_or(&[][..], Vec::as_slice);
                let names: Vec<&str> = tools
                    .iter()
                    .filter_map(|tool| tool["name"].as_str())
                    .collect();
                names.join(" ")
            }
            Err(why) => format!("error: {why}"),
        }
    }

    /// The text that a call gives.
    fn call(&mut self, name: &Value, arguments: &Value) -> String {
        match self.ask("tools/call", &json!({"name": name, "arguments": arguments})) {
            Ok(result) => {
                let text = result["content"][0]["text"].as_str().unwrap_or_default();
                let failed = if result["isError"] == true {
                    "error: "
                } else {
                    ""
                };
                format!("{failed}{text}")
            }
            Err(why) => format!("error: {why}"),
        }
    }

    fn ask(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        self.asked += 1;
        let message =
            json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params});
        let answer = self.post(&message.to_string())?;
        // An answer is one message, or events of which the last is it.
        let lines = answer
            .lines()
            .map(|line| line.strip_prefix("data:").unwrap_or(line));
        let mut messages = lines.filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
        let answer = messages.find(|message| message["id"] == self.asked);
        let mut answer = answer.ok_or("it has no answer")?;
        match answer["error"]["message"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["result"].take()),
        }
    }

    fn post(&self, body: &str) -> Result<String, String> {
        let (address, path) = self
            .url
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or("there is no server")?;
        let failed = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(address).map_err(failed)?;
        write!(
            stream,
            "POST /{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.authorization,
            body.len(),
        )
        .map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("it is no answer")?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        if status == "200" {
            return Ok(whole(head, body));
        }
        Err(format!("status {status}"))
    }
}

/// A body that came in chunks, put together.
fn whole(head: &str, body: &str) -> String {
    let head = head.to_ascii_lowercase();
    if !head.contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = after.get(..size).filter(|_| size > 0) else {
            break;
        };
        whole.push_str(chunk);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    whole
}
