//! Every tag once, without a subscription.

use opcua::types::{DataValue, StatusCode};
use proto::{Nanos, Quality};

use super::connection::{self, Connection};
use super::{Settings, services, value};
use crate::error::Fault;
use crate::protocol::Reading;
use crate::sample::{Sample, quality};

pub(crate) async fn once(settings: &Settings) -> Result<Vec<Reading>, Fault> {
    let connection = Connection::open(settings).await?;
    let readings = read(settings, &connection).await;
    connection.close().await;
    readings.map_err(|status| connection::fault(settings, status))
}

async fn read(settings: &Settings, connection: &Connection) -> Result<Vec<Reading>, StatusCode> {
    let session = &connection.session;
    let about = services::about(session).await?;
    let nodes: Vec<_> = settings
        .tags
        .iter()
        .map(|tag| tag.node(&about.namespaces))
        .collect();
    let known: Vec<_> = nodes.iter().flatten().cloned().collect();
    let mut values = services::read(session, &known, about.limits.read)
        .await?
        .into_iter();
    let context = session.encoding_context().read();
    let reading = |(tag, node): (usize, Option<_>)| match node.and_then(|_| values.next()) {
        Some(data) => Reading {
            sample: value::sample(tag, &data, Nanos::now(), &context.context()),
            kind: data.value.as_ref().map(value::kind).unwrap_or_default(),
            problem: problem(&data),
        },
        None => Reading {
            sample: Sample::bad(tag, quality::NODE_UNKNOWN, Nanos::now()),
            kind: String::new(),
            problem: Some("the server does not know the namespace".into()),
        },
    };
    Ok(nodes.into_iter().enumerate().map(reading).collect())
}

fn problem(data: &DataValue) -> Option<String> {
    let Quality(code) = value::quality(data);
    let status = StatusCode::from(code);
    status.is_bad().then(|| connection::describe_status(status))
}
