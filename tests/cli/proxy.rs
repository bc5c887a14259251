//! `cube proxy`: the API on a port of this machine, for this machine alone.
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::Child,
};

use cube_api::kinds::Kind;
use serde_json::{Value, json};

use crate::environment::{Environment, running, task};

struct Proxy(Child, String);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Proxy {
    fn start(environment: &Environment) -> Self {
        let mut child = environment.command("proxy --port 0").spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().to_owned();
        Self(child, address)
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.1).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn requests_go_through_if_they_are_for_this_machine() {
    let environment = Environment::with_server();
    let proxy = Proxy::start(&environment);
    let get = |more: &str| {
        proxy.ask(&format!(
            "GET /apis/cube/v1/namespaces HTTP/1.1\r\nConnection: close\r\n{more}\r\n"
        ))
    };
    let answer = get("Host: localhost\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("NamespaceList"),
        "{answer}"
    );
    for more in [
        "Host: evil.example\r\n",
        "Host: evil.example:80\r\n",
        "Host: localhost\r\nOrigin: http://evil.example\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        let answer = get(more);
        assert!(answer.starts_with("HTTP/1.1 403"), "{more}: {answer}");
        assert!(answer.contains("\"reason\":\"Forbidden\""), "{answer}");
    }
    let body = json!({ "metadata": { "name": "rooms" } }).to_string();
    let length = body.len();
    let made = proxy.ask(&format!(
        "POST /apis/cube/v1/namespaces HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}",
        proxy.1
    ));
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    // What any page's form can send makes nothing, and no page is told that it may ask.
    for form in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
    ] {
        let refused = proxy.ask(&format!(
            "POST /apis/cube/v1/namespaces HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{form}Content-Length: \
             {length}\r\n\r\n{body}"
        ));
        assert!(refused.starts_with("HTTP/1.1 415"), "{form}: {refused}");
    }
    for origin in ["http://evil.example", "http://localhost:3000"] {
        let asked = proxy.ask(&format!(
            "OPTIONS /apis/cube/v1/namespaces HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: DELETE\r\n\r\n"
        ));
        assert!(!asked.starts_with("HTTP/1.1 2"), "{asked}");
        assert!(!asked.to_lowercase().contains("access-control-"), "{asked}");
    }
    // Cube's own command line through it.
    let run = environment.run(&format!("get ns -o name --server http://{}", proxy.1));
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "namespace/default\nnamespace/rooms\n"),
        "{run}"
    );
}

#[test]
fn watches_stream_through() {
    let environment = Environment::with_server();
    environment.write("a.yaml", task("a", ""));
    let proxy = Proxy::start(&environment);
    let mut stream = TcpStream::connect(&proxy.1).unwrap();
    stream
        .write_all(b"GET /apis/cube/v1/tasks?watch=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(environment.run("apply -f a.yaml").code, 0);
    let mut event =
        || -> Value { serde_json::from_str(&lines.by_ref().find(|line| line.starts_with('{')).unwrap()).unwrap() };
    assert_eq!(event()["type"], "ADDED");
    environment.server().set_status(Kind::Task, "a", &running(1));
    // Bound first, then running.
    assert_eq!(event()["object"]["status"]["phase"], "Scheduled");
    assert_eq!(event()["object"]["status"]["phase"], "Running");
}
