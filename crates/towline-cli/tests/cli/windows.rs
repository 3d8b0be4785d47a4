//! Several programs on one data directory.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use serde_json::{Value, json};

use crate::support::Place;

/// A host's program: `towline mcp`, after the handshake. Killed when the test ends.
struct Window {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Window {
    fn open(place: &Place) -> Self {
        let mut command = place.command(["mcp"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut window = Self {
            child,
            stdin,
            lines,
        };
        window.send(json!({"id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
        }}));
        window.reply(0);
        window.send(json!({"method": "notifications/initialized"}));
        window
    }

    fn send(&mut self, mut message: Value) {
        message["jsonrpc"] = json!("2.0");
        writeln!(self.stdin, "{message}").unwrap();
    }

    fn call(&mut self, id: u64, tool: &str, arguments: Value) {
        let params = json!({"name": tool, "arguments": arguments});
        self.send(json!({"id": id, "method": "tools/call", "params": params}));
    }

    fn reply(&mut self, id: u64) -> Value {
        loop {
            let line = self.lines.next().unwrap().unwrap();
            let mut message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                return message["result"].take();
            }
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// [ARCP 19-1] A call goes on when the window is closed whose runtime it used: the next one has the job, and the call its end.
#[test]
fn a_call_outlives_the_window_it_ran_in() {
    let place = Place::new();
    let first = Window::open(&place);
    let mut second = Window::open(&place);
    second.call(1, "listen", json!({"n": 1}));
    let job = (2..2000).find_map(|id| {
        second.call(id, "jobs", json!({"status": "running"}));
        let jobs = second.reply(id);
        let job = jobs["structuredContent"]["jobs"][0]["job_id"].as_str();
        job.map(str::to_owned)
    });
    let job = job.expect("the job runs");
    drop(first);
    // Once the second has the store, and the job runs again.
    let told = (0..200).any(|_| place.run(["say", &job, "hello"]).status == 0);
    assert!(told, "the job hears nothing");
    let result = second.reply(1);
    assert_eq!(result["isError"], false, "{result}");
    assert_eq!(result["structuredContent"]["status"], "success", "{result}");
    assert_eq!(result["structuredContent"]["job_id"], *job, "{result}");
}
