//! What there is to say of a Task's probes: what is asked how often, and what was answered last.
use cube_api::{
    probe::{self, PortReference, Probe, ProbeKind, ProbeResult, Scheme},
    task::Task,
};
use jiff::Timestamp;

use crate::cli::output::{Cell, Style, Table, words};

/// The table; none where nothing is asked.
pub(super) fn table(task: &Task, now: Timestamp) -> Option<Table> {
    let mut table = Table::new(["PROBE", "ASKS", "RESULT", "SINCE", "ANSWER"]);
    let asked = probe::of(&task.spec);
    let known = &task.status.probes;
    let kinds = asked.keys().copied();
    let of_image = known.iter().map(|known| known.probe);
    let mut kinds: Vec<ProbeKind> = kinds
        .chain(of_image.filter(|kind| *kind == ProbeKind::Healthcheck))
        .collect();
    kinds.dedup();
    for kind in &kinds {
        let known = known.iter().find(|known| known.probe == *kind);
        let result = known.map(|known| known.result).unwrap_or_default();
        let style = match result {
            ProbeResult::Success => Style::Good,
            ProbeResult::Failure => Style::Bad,
            ProbeResult::Unknown => Style::Plain,
        };
        let since = known.and_then(|known| known.since);
        let answer = known.map(|known| known.message.as_str()).unwrap_or_default();
        table.row(vec![
            format!("{kind:?}").into(),
            asked.get(kind).map_or_else(of_its_image, |probe| asks(probe)).into(),
            Cell::new(format!("{result:?}"), style),
            since.map(|at| words::age(now, at)).unwrap_or_default().into(),
            answer.into(),
        ]);
    }
    (!kinds.is_empty()).then_some(table)
}

fn of_its_image() -> String {
    "the image's HEALTHCHECK".to_owned()
}

/// `GET :web/healthz every 10 s`
fn asks(probe: &Probe) -> String {
    let port = |port: &PortReference| match port {
        PortReference::Number(number) => number.to_string(),
        PortReference::Name(name) => name.clone(),
    };
    let host = |host: &Option<String>| host.clone().unwrap_or_default();
    let what = match (&probe.http_get, &probe.tcp_socket, &probe.exec) {
        (Some(http), ..) => {
            let secure = if http.scheme == Scheme::Https { "https " } else { "" };
            let path = http.path.as_deref().unwrap_or("/");
            format!("GET {secure}{}:{}{path}", host(&http.host), port(&http.port))
        }
        (_, Some(tcp), _) => format!("connect {}:{}", host(&tcp.host), port(&tcp.port)),
        (.., Some(exec)) => format!("run {}", exec.command.join(" ")),
        (None, None, None) => "nothing".to_owned(),
    };
    format!("{what} every {} s", probe.period_seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_is_told_in_few_words() {
        for (probe, words) in [
            (
                json!({ "httpGet": { "port": "web", "path": "/ok" } }),
                "GET :web/ok every 10 s",
            ),
            (
                json!({ "httpGet": { "port": 443, "scheme": "HTTPS", "host": "a.b" }, "periodSeconds": 5 }),
                "GET https a.b:443/ every 5 s",
            ),
            (json!({ "tcpSocket": { "port": 5432 } }), "connect :5432 every 10 s"),
            (
                json!({ "exec": { "command": ["pg_isready", "-q"] } }),
                "run pg_isready -q every 10 s",
            ),
        ] {
            let probe: Probe = serde_json::from_value(probe).unwrap();
            assert_eq!(asks(&probe), words);
        }
    }
}
