//! Programs in containers, over a WebSocket.
use futures_util::SinkExt as _;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use super::*;

type Socket = WebSocketStream<tokio::io::DuplexStream>;

/// Opens a WebSocket at the path, over a connection of its own.
async fn open(app: &App, target: &str, protocol: &str) -> Result<(Socket, http::Response<Option<Vec<u8>>>), Error> {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let service = hyper_util::service::TowerToHyperService::new(app.router.clone());
    tokio::spawn(async move {
        let io = hyper_util::rt::TokioIo::new(theirs);
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
        drop(connection.with_upgrades().await);
    });
    let mut request = format!("ws://localhost{target}").into_client_request().unwrap();
    let protocol = protocol.parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    client_async(request, ours).await
}

/// A Task that runs, by its own word.
async fn running(app: &App, name: &str) {
    app.task(name, "x").await;
    let status = json!({ "phase": "Running", "containerID": "c", "node": "n" });
    app.status(name, status).await;
}

async fn heard(socket: &mut Socket) -> Vec<u8> {
    match socket.next().await {
        Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_program_is_spoken_with_as_kubernetes_does() {
    let app = App::new().await;
    running(&app, "t").await;
    let target =
        "/apis/cube/v1/namespaces/default/tasks/t/exec?command=a%20b&command=&command=c&stdin=true&stdout=true";
    let (mut socket, answer) = open(&app, target, "v5.channel.k8s.io").await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    assert_eq!(
        heard(&mut socket).await,
        b"\x02a b  c",
        "the words are whole, the empty one too"
    );
    for (said, answered) in [
        (&b"\0hello"[..], &b"\x01hello"[..]),
        (b"\x04{\"Width\":80,\"Height\":24}", b"\x0180x24"),
    ] {
        socket.send(Message::binary(said.to_vec())).await.unwrap();
        assert_eq!(heard(&mut socket).await, answered);
    }
    socket.send(Message::binary(b"\xff\0".to_vec())).await.unwrap();
    let ended = heard(&mut socket).await;
    let status: Value = serde_json::from_slice(&ended[1..]).unwrap();
    assert_eq!((ended[0], &status["reason"]), (3, &json!("NonZeroExitCode")));
    assert_eq!(status["details"]["causes"][0]["message"], "7");
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_anything_is_opened() {
    let app = App::new().await;
    running(&app, "t").await;
    running(&app, "gone").await;
    app.task("pending", "x").await;
    for (path, code, words) in [
        ("t/exec", 400, "which program"),
        ("t/exec?command=sh&command=a%00b", 400, "NUL"),
        ("gone/exec?command=x", 404, "gone"),
        ("nobody/exec?command=x", 404, "nobody"),
        ("pending/exec?command=x", 400, "no node has it yet"),
    ] {
        match open(&app, &format!("{TASKS}/{path}"), "v5.channel.k8s.io").await {
            Err(Error::Http(answer)) => {
                let text = String::from_utf8(answer.body().clone().unwrap_or_default()).unwrap();
                assert_eq!(answer.status().as_u16(), code, "{path}: {text}");
                assert!(text.contains(words), "{path}: {text}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    let plain = app.get(&format!("{TASKS}/t/exec?command=x")).await;
    assert_eq!(plain.code, 400);
    assert!(plain.text.contains("cube exec"), "{}", plain.text);
}

#[tokio::test]
async fn a_program_ends_with_the_server() {
    let app = App::new().await;
    running(&app, "t").await;
    let target = "/apis/cube/v1/namespaces/default/tasks/t/exec?command=x&stdin=1";
    let (mut socket, _) = open(&app, target, "v4.channel.k8s.io").await.unwrap();
    assert_eq!(heard(&mut socket).await, b"\x02x");
    app.ending.cancel();
    assert!(!matches!(socket.next().await, Some(Ok(Message::Binary(_)))));
}
