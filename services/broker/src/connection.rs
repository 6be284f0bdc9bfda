//! One connection from its first byte to its last: CONNECT, the session while it lasts
//! ([`driver`]), and what has to happen when it is over.

mod driver;
mod socket;
mod steps;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proto::Nanos;
use raft_log::client::AppendError;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::codec::{self, Codec};
use crate::connect::{self, Refusal};
use crate::hub::{Hub, fresh_client_id};
use crate::message;
use crate::packet::{ConnAck, Connect, Outgoing, Version, Will};
use crate::reason::{End, Reason};
use crate::registry::Seat;
use crate::session::{Limits, Session};
use driver::Driver;

/// How long a client may take for its CONNECT \[MQTT-3.1.0\].
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A CONNECT may be this large: whoever sends it is not known yet.
const MAX_CONNECT_BYTES: usize = 1 << 20;

/// A client that was let in.
struct Client {
    stream: TcpStream,
    codec: Codec,
    /// What was read behind the CONNECT.
    input: BytesMut,
    connect: Connect,
    session: Session,
    seat: Seat,
}

/// Serves a client until either side ends it. Nothing that a client does reaches beyond this.
pub(crate) async fn serve(
    hub: Arc<Hub>,
    mut stream: TcpStream,
    peer: SocketAddr,
    shutdown: CancellationToken,
) {
    // Small packets are the rule, and each of them is waited for.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "can't disable Nagle's algorithm");
    }
    let mut input = BytesMut::new();
    let max = hub.options.max_packet_bytes.min(MAX_CONNECT_BYTES);
    let first = tokio::select! {
        first = tokio::time::timeout(CONNECT_TIMEOUT, first_packet(&mut stream, &mut input, max)) => first,
        () = shutdown.cancelled() => return,
    };
    let connect = match first {
        Ok(Ok(connect)) => connect,
        Ok(Err(FirstPacket::Lost)) => return debug!(%peer, "closed before CONNECT"),
        Ok(Err(FirstPacket::Invalid(error))) => {
            info!(%peer, reason = %error, "refused a first packet");
            if let Some(version) = error.version {
                let refusal = Refusal::new(error.error.reason(), error.to_string());
                refuse(stream, version, refusal).await;
            }
            return;
        }
        Err(_) => return debug!(%peer, "no CONNECT in time"),
    };
    let version = connect.version;
    let client_id = connect.client_id.clone();
    match admit(&hub, connect, stream, input, &shutdown).await {
        Ok(client) => Box::pin(attend(hub, client, peer, shutdown)).await,
        Err((refusal, stream)) => {
            info!(%peer, client_id, reason = %refusal, "refused a connection");
            refuse(stream, version, refusal).await;
        }
    }
}

enum FirstPacket {
    Lost,
    Invalid(codec::FirstPacketError),
}

async fn first_packet(
    stream: &mut TcpStream,
    input: &mut BytesMut,
    max: usize,
) -> Result<Connect, FirstPacket> {
    loop {
        match codec::decode_first(input, max) {
            Ok(Some(connect)) => return Ok(connect),
            Ok(None) => {}
            Err(error) => return Err(FirstPacket::Invalid(error)),
        }
        match socket::read(stream, input).await {
            Ok(0) | Err(_) => return Err(FirstPacket::Lost),
            Ok(_) => {}
        }
    }
}

/// Takes the client's place on this node, and has its session committed before CONNACK tells of
/// it.
async fn admit(
    hub: &Hub,
    mut connect: Connect,
    stream: TcpStream,
    input: BytesMut,
    shutdown: &CancellationToken,
) -> Result<Client, (Refusal, TcpStream)> {
    let assigned = match connect::admit(&mut connect, fresh_client_id) {
        Ok(assigned) => assigned,
        Err(refusal) => return Err((refusal, stream)),
    };
    let seat = hub.registry.take(connect.client_id.as_str().into()).await;
    let opened = tokio::select! {
        opened = hub.open(&connect, assigned) => opened,
        () = seat.replaced.cancelled() => {
            Err(Refusal::new(Reason::ServerUnavailable, "a newer connection took over"))
        }
        () = shutdown.cancelled() => {
            Err(Refusal::new(Reason::ServerShuttingDown, "the broker is shutting down"))
        }
    };
    let (start, present) = match opened {
        Ok(opened) => opened,
        Err(refusal) => return Err((refusal, stream)),
    };
    let limits = Limits {
        version: connect.version,
        receive_maximum: connect.receive_maximum,
        max_in_flight: hub.options.max_in_flight,
    };
    let session = Session::new(seat.client_id.clone(), &limits, start);
    let codec = Codec {
        version: connect.version,
        max_packet_bytes: hub.options.max_packet_bytes,
    };
    let mut client = Client {
        stream,
        codec,
        input,
        connect,
        session,
        seat,
    };
    let welcome = connect::welcome(
        &client.connect,
        assigned,
        present,
        hub.options.max_in_flight,
        hub.options.max_packet_bytes,
    );
    match socket::send(&mut client.stream, codec, connack(welcome)).await {
        Ok(()) => Ok(client),
        Err(error) => {
            let refusal = Refusal::new(Reason::Unspecified, error.to_string());
            Err((refusal, client.stream))
        }
    }
}

fn connack(ack: ConnAck) -> Outgoing {
    Outgoing::ConnAck(Box::new(ack))
}

async fn refuse(mut stream: TcpStream, version: Version, refusal: Refusal) {
    let codec = Codec {
        version,
        max_packet_bytes: 0,
    };
    let sent = socket::send(&mut stream, codec, connack(refusal.connack())).await;
    if sent.is_ok() {
        socket::linger(stream).await;
    }
}

/// Runs the session and ends it.
async fn attend(hub: Arc<Hub>, client: Client, peer: SocketAddr, shutdown: CancellationToken) {
    let Client {
        stream,
        codec,
        input,
        mut connect,
        session,
        seat,
    } = client;
    let client_id = seat.client_id.clone();
    let persistent = session.stamp().is_some();
    debug!(%peer, client_id = &*client_id, version = ?codec.version, persistent, "connected");
    hub.metrics.connected();
    let driver = Driver::new(hub.clone(), stream, codec, input, session, &connect);
    let (end, driver) = driver.run(&seat.replaced, &shutdown).await;
    hub.metrics.disconnected();
    log_end(&end, peer, &client_id);
    let session = driver.close(&end);
    end_session(&hub, &session, &end, &connect, &seat).await;
    if let Some(will) = connect.will.take().filter(|_| end.publishes_will()) {
        publish_will(&hub, will, connect.session_expiry, &seat, &shutdown).await;
    }
}

fn log_end(end: &End, peer: SocketAddr, client_id: &str) {
    match end {
        End::Disconnected { .. } | End::ShuttingDown => debug!(%peer, client_id, "disconnected"),
        End::Lost { detail } => debug!(%peer, client_id, detail, "connection lost"),
        End::Refused { reason, detail } => {
            info!(%peer, client_id, ?reason, detail, "closed a connection");
        }
        End::Unavailable { detail } => info!(%peer, client_id, detail, "closed a connection"),
        End::TakenOver => info!(%peer, client_id, "taken over by a newer connection"),
        End::KeepAliveTimeout => info!(%peer, client_id, "keep-alive time is over"),
    }
}

/// Stores how far the session got, before the client's next connection asks for it.
async fn end_session(hub: &Hub, session: &Session, end: &End, connect: &Connect, seat: &Seat) {
    let expiry = match end {
        End::Disconnected {
            expiry: Some(expiry),
            ..
        } => *expiry,
        _ => connect.session_expiry,
    };
    let Some(mut update) = session.closing(expiry == 0) else {
        return;
    };
    if expiry > 0 && expiry != connect.session_expiry {
        // [MQTT-3.14.2.2.2]: opened once more, for that is what carries an expiry.
        let epoch = update.session_epoch;
        match hub.open_again(&seat.client_id, epoch, expiry).await {
            Ok(epoch) => update.session_epoch = epoch,
            Err(error) => debug!(client_id = &*seat.client_id, %error, "the expiry stays"),
        }
    }
    let round = hub.updates.report(&seat.client_id, update);
    hub.updates.committed(round).await;
}

/// Publishes the will, after its delay unless the client comes back \[MQTT-3.1.3-9\]. A node that
/// dies in between takes the will with it.
async fn publish_will(
    hub: &Hub,
    will: Will,
    session_expiry: u32,
    seat: &Seat,
    shutdown: &CancellationToken,
) {
    let delay = Duration::from_secs(will.delay_seconds.min(session_expiry).into());
    if !delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = seat.replaced.cancelled() => return,
            () = shutdown.cancelled() => return,
        }
    }
    let record = message::record(will.publish, Nanos::now());
    let topic = record.topic.clone();
    let append = async { hub.producer.append(record, None).await?.await };
    let appended = tokio::select! {
        appended = append => appended,
        () = shutdown.cancelled() => Err(AppendError::Closed),
    };
    if let Err(error) = appended {
        info!(client_id = &*seat.client_id, topic, %error, "the will was not published");
    }
}
