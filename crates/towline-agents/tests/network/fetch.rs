//! What a program with `net.fetch` reaches.

use serde_json::{Value, json};
use towline_agents::Confinement;

use crate::support::{Server, Stage, World, http, soon};

/// A public address that is nobody's in a test.
const PUBLIC: &str = "93.184.216.34";

fn names() -> Vec<(&'static str, &'static str)> {
    vec![
        ("a.test", PUBLIC),
        ("p.test", PUBLIC),
        ("b.test", PUBLIC),
        ("own.test", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("both.test", "93.184.216.34 10.0.0.1"),
        ("mapped.test", "::ffff:10.0.0.1"),
        ("link.test", "169.254.169.254"),
    ]
}

async fn tried(
    server: &Server,
    script: &str,
    lease: &[(&str, &str)],
) -> (Value, Vec<String>, Vec<(String, Value)>) {
    let world = World::new(server.address, &names());
    let confinement = Confinement::new().outside(world.clone());
    let stage = Stage::new(script, confinement).await;
    let ran = stage.run(lease).await;
    assert_eq!(ran.failure, None, "{:?}", ran.events);
    let reached = world.reached.lock().unwrap();
    let reached = reached.iter().map(ToString::to_string).collect();
    (ran.gave, reached, ran.events)
}

/// [ARCP 18-2] With `net.fetch=https://a.test/**` a program reaches a.test through the proxy, and nothing else: no other host or
/// port, no private address by number in any notation or by name, nothing without the proxy, no name by itself.
#[tokio::test]
async fn one_host_and_nothing_else() {
    let script = r"
def direct(what):
    try: what(); return 'reached'
    except OSError: return 'refused'
udp = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('93.184.216.34', 53))
give({
    'a': tunnel('a.test:443').split('\r\n\r\n')[1],
    'A': tunnel('A.TEST:443').split('\r\n\r\n')[1],
    'refused': [tunnel(to).split('\r\n')[0] for to in [
        'b.test:443', 'a.test:444', 'a.test:80', 'x.a.test:443', 'a.test.evil.test:443', 'u:p@a.test:443',
        '127.0.0.1:443', '10.0.0.1:443', '169.254.169.254:443', '[::1]:443', '[::ffff:127.0.0.1]:443', '2130706433:443',
        '0x7f.1:443', 'own.test:443', 'localhost:443', '93.184.216.34:443', env['HTTP_PROXY'][7:]]],
    'plain': [get(url).split('\r\n')[0] for url in ['http://a.test/', 'http://b.test/', 'http://127.0.0.1/', 'https://a.test/']],
    'itself': get('http://%s/v1/models' % env['HTTP_PROXY'][7:]).split('\r\n')[0],
    'direct': [direct(what) for what in [
        lambda: socket.create_connection(('93.184.216.34', 443), 2), lambda: socket.create_connection(('10.0.0.1', 80), 2),
        lambda: socket.create_connection(('::ffff:93.184.216.34', 443), 2), lambda: socket.getaddrinfo('a.test', 443), udp]],
    'same': len({env[name] for name in ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy']}),
    'none': [env['NO_PROXY'], env['no_proxy']],
})";
    let server = Server::new(vec!["welcome".to_owned()]).await;
    let lease = [("net.fetch", "https://a.test/**")];
    let (gave, reached, events) = tried(&server, script, &lease).await;
    assert_eq!(
        (&gave["a"], &gave["A"]),
        (&json!("welcome"), &json!("welcome"))
    );
    for line in gave["refused"].as_array().unwrap() {
        let line = line.as_str().unwrap();
        assert!(line.starts_with("HTTP/1.1 403"), "{gave:#}");
    }
    let plain = gave["plain"].as_array().unwrap();
    let status = |line: &Value| line.as_str().unwrap()[9..12].to_owned();
    let statuses: Vec<_> = plain.iter().map(status).collect();
    assert_eq!(statuses, ["403", "403", "403", "400"]);
    assert_eq!(status(&gave["itself"]), "404");
    assert!(
        gave["direct"]
            .as_array()
            .unwrap()
            .iter()
            .all(|went| went == "refused"),
        "{gave:#}"
    );
    assert_eq!(
        (&gave["same"], &gave["none"]),
        (&json!(1), &json!(["", ""]))
    );
    assert_eq!(reached, [format!("{PUBLIC}:443"), format!("{PUBLIC}:443")]);
    // Each decision stands in the job's log, the call first.
    let calls: Vec<_> = events
        .iter()
        .filter(|(kind, _)| kind == "tool_call")
        .collect();
    let results: Vec<_> = events
        .iter()
        .filter(|(kind, _)| kind == "tool_result")
        .collect();
    assert_eq!((calls.len(), results.len()), (22, 22));
    assert_eq!(calls[0].1["tool"], "net.fetch");
    assert_eq!(
        calls[0].1["args"],
        json!({"method": "CONNECT", "url": "https://a.test/**"})
    );
    assert_eq!(results[0].1["result"], json!({"address": PUBLIC}));
    assert_eq!(results[2].1["error"]["code"], "PERMISSION_DENIED");
    assert_eq!(results[2].1["call_id"], calls[2].1["call_id"]);
}

/// [ARCP 18-2] Of plain HTTP the path is decided as well, and each hop of a redirect; the host that was allowed is the one that
/// is asked for, whatever the request's own headers say, and nothing that is for the proxy goes on.
#[tokio::test]
async fn plain_requests_are_decided_by_path_and_hop() {
    let redirect = "HTTP/1.1 302 Found\r\nlocation: http://b.test/open/x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let server = Server::new(vec![
        http("200 OK", "text/plain", "here"),
        redirect.to_owned(),
    ])
    .await;
    let script = r"
def first(text): return text.split('\r\n')[0]
got = get('http://p.test/open/a?key=secret')
hop = get('http://p.test/open/hop')
to = [line[10:] for line in hop.split('\r\n') if line.lower().startswith('location: ')][0]
give([got, first(hop), first(get(to)), first(get('http://p.test/closed')), first(get('http://p.test/open/../closed')),
      first(get('http://p.test/open/%2e%2e/closed')), first(get('http://own.test/open/a')), first(get('http://both.test/open/a')),
      first(get('http://mapped.test/open/a')), first(get('http://link.test/open/a'))])";
    let lease = [
        ("net.fetch", "http://p.test/open/**"),
        ("net.fetch", "http://{own,both,mapped,link}.test/open/**"),
    ];
    let (gave, reached, events) = tried(&server, script, &lease).await;
    assert!(gave[0].as_str().unwrap().ends_with("here"), "{gave:#}");
    assert!(gave[1].as_str().unwrap().starts_with("HTTP/1.1 302"));
    for refused in &gave.as_array().unwrap()[2..] {
        assert!(
            refused.as_str().unwrap().starts_with("HTTP/1.1 403"),
            "{gave:#}"
        );
    }
    assert_eq!(reached, [format!("{PUBLIC}:80"), format!("{PUBLIC}:80")]);
    let head = &server.got()[0].head;
    assert!(
        head.starts_with("GET /open/a?key=secret HTTP/1.1"),
        "{head}"
    );
    assert!(
        head.contains("host: p.test") && !head.contains("wrong.test"),
        "{head}"
    );
    assert!(!format!("{events:?}").contains("secret"));
}

/// [ARCP 18-2] A tunnel takes every path of the host: a narrower pattern refuses it, and says so.
#[tokio::test]
async fn a_tunnel_takes_every_path() {
    let server = Server::new(vec!["welcome".to_owned()]).await;
    let script = "give([tunnel('a.test:443'), tunnel('p.test:443').split('\\r\\n\\r\\n')[1]])";
    let lease = [
        ("net.fetch", "https://a.test/"),
        ("net.fetch", "https://a.test/api/**"),
        ("net.fetch", "https://p.test/*"),
        ("net.fetch", "https://p.test/**"),
    ];
    let (gave, ..) = tried(&server, script, &lease).await;
    let refused = gave[0].as_str().unwrap();
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("every path"),
        "{refused}"
    );
    assert_eq!(gave[1], "welcome");
}

/// [ARCP 18-2] A private address is reached where the lease names that address itself, and not by a name that leads to it.
#[tokio::test]
async fn a_private_address_has_to_be_named() {
    let server = Server::new(vec![http("200 OK", "text/plain", "here")]).await;
    let script = "give([get(url).split('\\r\\n')[0][9:12] for url in ['http://10.0.0.1/x', 'http://10.0.0.2/x', 'http://own.test/x', 'http://[::ffff:10.0.0.1]/x']])";
    let lease = [
        ("net.fetch", "http://10.0.0.1/**"),
        ("net.fetch", "http://10.0.0.*/**"),
        ("net.fetch", "http://own.test/**"),
    ];
    let (gave, reached, _) = tried(&server, script, &lease).await;
    assert_eq!(gave, json!(["200", "403", "403", "403"]));
    assert_eq!(reached, ["10.0.0.1:80"]);
}

/// [ARCP 15-6, 18-2] A host that an ask pattern covers is reached when a person lets it be: the whole of it, for what goes through
/// a tunnel is not seen; and for the rest of the job where that was to be remembered.
#[tokio::test]
async fn a_person_opens_a_host() {
    let server = Server::new(vec!["welcome".to_owned(), "again".to_owned()]).await;
    let script = "give([tunnel('a.test:443').split('\\r\\n\\r\\n')[1], tunnel('a.test:443').split('\\r\\n\\r\\n')[1], tunnel('p.test:443').split('\\r\\n')[0], tunnel('b.test:443').split('\\r\\n')[0]])";
    let world = World::new(server.address, &names());
    let stage = Stage::new(script, Confinement::new().outside(world.clone())).await;
    let lease = [
        ("x-vendor.towline.ask", "net.fetch=https://a.test/**"),
        ("x-vendor.towline.ask", "net.fetch=https://p.test/**"),
    ];
    let mut job = stage.submit(&lease).await;
    let mut asked = Vec::new();
    while let Some(event) = soon(job.next_event()).await.unwrap() {
        let payload = event.payload().unwrap();
        if payload.kind.as_str() != "x-vendor.towline.input_request" {
            continue;
        }
        let body: Value = payload.body.read().unwrap();
        let value = body["operation"]["value"].as_str().unwrap().to_owned();
        let yes = value.contains("a.test");
        let question = body["question_id"].as_str().unwrap().parse().unwrap();
        let answer = job.answer(question, json!(yes)).remember(yes);
        answer.send().await.unwrap();
        asked.push(value);
    }
    let gave: Value = soon(job.result_json()).await.unwrap();
    assert_eq!(asked, ["https://a.test/**", "https://p.test/**"]);
    assert_eq!(gave[0], "welcome");
    assert_eq!(gave[1], "again");
    for refused in [&gave[2], &gave[3]] {
        assert!(refused.as_str().unwrap().contains(" 403 "), "{gave}");
    }
}
