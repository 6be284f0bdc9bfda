//! One connection to a server: the endpoint that was asked for, trust, the session, and what
//! becomes of it.
//!
//! The library's event loop connects again by itself and activates the session again, which keeps
//! what the server has queued for us. What it can't do is notice that a link is dead, and it tries
//! for ever what a person must mend; so its [`State`] is watched from here.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kit::config::{OpcUrl, Security};
use opcua::client::transport::{
    Connector, RequestRecv, SecureChannelState, StreamConnection, StreamConnector, StreamTransport,
    TransportConfiguration,
};
use opcua::client::{
    Client, ClientBuilder, ConnectionSource, IdentityToken, Password, Session, SessionActivity,
    SessionConnectMode, SessionEventLoop, SessionPollResult,
};
use opcua::core::comms::tcp_codec::TcpCodec;
use opcua::crypto::SecurityPolicy;
use opcua::types::{
    DecodingOptions, EndpointDescription, Error, MessageSecurityMode, StatusCode, UserTokenType,
};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::codec::FramedRead;
use tracing::Instrument;

use super::Settings;
use super::trust::{self, Own};
use crate::error::Fault;

/// To a socket and through the first exchange on it.
const CONNECT: Duration = Duration::from_secs(5);
/// For everything but Publish.
pub(crate) const REQUEST: Duration = Duration::from_secs(3);
/// How often the server's state is read, to notice a link that is dead.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long the server shall keep the session, and all it has queued, while we are away.
const SESSION_MILLIS: u32 = 60 * 60 * 1000;
/// How long the keys of a channel last.
const CHANNEL_MILLIS: u32 = 60 * 60 * 1000;

/// The library's limits close the connection on an array of more than 1000.
const MAX_ARRAY: usize = 1 << 20;
const MAX_MESSAGE_BYTES: usize = 64 << 20;
const MAX_CHUNKS: usize = 4096;

/// The best first. Older ones are broken or close to it.
const POLICIES: [SecurityPolicy; 3] = [
    SecurityPolicy::Aes256Sha256RsaPss,
    SecurityPolicy::Aes128Sha256RsaOaep,
    SecurityPolicy::Basic256Sha256,
];

pub(crate) struct Connection {
    pub(crate) session: Arc<Session>,
    pub(crate) states: watch::Receiver<State>,
    events: JoinHandle<()>,
}

/// What has become of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Counts the times that the session was activated.
    pub(crate) epoch: u64,
    pub(crate) connected: bool,
    /// The session is the one of before.
    pub(crate) reactivated: bool,
    /// Why the last attempt to connect failed.
    pub(crate) refused: Option<StatusCode>,
    /// Reads of the server's state in a row that were not answered.
    pub(crate) silent: u32,
    /// Nothing more will happen.
    pub(crate) ended: bool,
}

impl Connection {
    /// With a session that is activated.
    pub(crate) async fn open(settings: &Settings) -> Result<Connection, Fault> {
        let endpoint = endpoint(settings).await?;
        let (session, events) = session(settings, endpoint).await?;
        let (states, watched) = watch::channel(State::default());
        let events = tokio::spawn(watch(events, states).in_current_span());
        let mut connection = Connection {
            session,
            states: watched,
            events,
        };
        connection.wait_until_active(settings).await?;
        Ok(connection)
    }

    async fn wait_until_active(&mut self, settings: &Settings) -> Result<(), Fault> {
        let decided = self
            .states
            .wait_for(|state| state.connected || state.refused.is_some() || state.ended);
        let state = match timeout(2 * CONNECT + REQUEST, decided).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) | Err(_) => return Err(fault(settings, StatusCode::BadTimeout)),
        };
        match state.refused {
            _ if state.connected => Ok(()),
            Some(status) => Err(fault(settings, status)),
            None => Err(fault(settings, StatusCode::BadUnexpectedError)),
        }
    }

    /// Ends the transport and leaves the session to the server: the event loop connects again.
    pub(crate) async fn drop_transport(&self) {
        self.session.channel().close_channel().await;
    }

    /// Ends the session and all of its subscriptions.
    pub(crate) async fn close(self) {
        // The server ends what it does not hear of any more.
        let _ = timeout(REQUEST, self.session.disconnect()).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.events.abort();
    }
}

/// Runs the event loop and tells what it does.
async fn watch(events: SessionEventLoop<Direct>, states: watch::Sender<State>) {
    let mut events = std::pin::pin!(events.enter());
    while let Some(Ok(event)) = events.next().await {
        states.send_if_modified(|state| apply(state, &event));
    }
    states.send_modify(|state| state.ended = true);
}

/// Whether it was news.
fn apply(state: &mut State, event: &SessionPollResult) -> bool {
    match event {
        SessionPollResult::Reconnected(mode) => {
            *state = State {
                epoch: state.epoch + 1,
                connected: true,
                reactivated: matches!(mode, SessionConnectMode::ReactivatedSession(_)),
                ..State::default()
            };
        }
        SessionPollResult::ConnectionLost(_) => state.connected = false,
        SessionPollResult::ReconnectFailed(status) => state.refused = Some(*status),
        SessionPollResult::SessionActivity(SessionActivity::KeepAliveSucceeded) => {
            return std::mem::take(&mut state.silent) > 0;
        }
        SessionPollResult::SessionActivity(SessionActivity::KeepAliveFailed(status))
            if *status == StatusCode::BadTimeout =>
        {
            state.silent += 1;
        }
        _ => return false,
    }
    true
}

/// What a status says about a connection that was not had.
pub(crate) fn fault(settings: &Settings, status: StatusCode) -> Fault {
    let address = settings.endpoint.to_string();
    match status {
        StatusCode::BadIdentityTokenInvalid
        | StatusCode::BadIdentityTokenRejected
        | StatusCode::BadUserAccessDenied
        | StatusCode::BadUserSignatureInvalid => Fault::Identity {
            address,
            who: match &settings.user {
                Some((user, _)) => format!("the user {user:?}"),
                None => "anonymous users".into(),
            },
            status: status.to_string(),
            remedy: match &settings.user {
                Some(_) => "check user and password",
                None => "set user and password",
            },
        },
        StatusCode::BadSecurityChecksFailed
        | StatusCode::BadCertificateUntrusted
        | StatusCode::BadCertificateInvalid
        | StatusCode::BadCertificateUriInvalid
        | StatusCode::BadCertificateUseNotAllowed => Fault::Identity {
            address,
            who: format!(
                "our certificate {}",
                Own::of(&settings.pki).certificate.display()
            ),
            status: status.to_string(),
            remedy: "trust it on the server",
        },
        status => Fault::Connection {
            address,
            reason: describe_status(status),
        },
    }
}

/// The name of a status and what it means.
pub(crate) fn describe_status(status: StatusCode) -> String {
    let meaning = status.sub_code().description().trim_end_matches('.');
    format!("{status}: {meaning}")
}

/// Whether the same attempt may succeed later: nobody has decided anything.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadCommunicationError
            | StatusCode::BadConnectionClosed
            | StatusCode::BadConnectionRejected
            | StatusCode::BadTimeout
            | StatusCode::BadServerHalted
            | StatusCode::BadTcpServerTooBusy
            | StatusCode::BadTcpNotEnoughResources
    )
}

/// Whether a request can have failed because connection or session are lost.
pub(crate) fn is_lost(status: StatusCode) -> bool {
    is_transient(status)
        || matches!(
            status,
            StatusCode::BadNotConnected
                | StatusCode::BadSessionIdInvalid
                | StatusCode::BadSessionClosed
                | StatusCode::BadSessionNotActivated
                | StatusCode::BadSecureChannelIdInvalid
                | StatusCode::BadSecureChannelClosed
                | StatusCode::BadSecureChannelTokenUnknown
        )
}

/// The endpoint with the protection that was asked for, and no other.
async fn endpoint(settings: &Settings) -> Result<EndpointDescription, Fault> {
    let client = client(settings, None, 0)?;
    let connector = Direct::new(settings);
    let offered = timeout(
        CONNECT + 2 * REQUEST,
        client.get_endpoints(connector, &[], &[]),
    )
    .await
    .map_err(|_| fault(settings, StatusCode::BadTimeout))?
    .map_err(|error| Fault::Connection {
        address: settings.endpoint.to_string(),
        reason: format!("asking for its endpoints: {error}"),
    })?;
    let chosen = choose(settings, &offered).cloned();
    let mut endpoint = chosen.ok_or_else(|| Fault::Security {
        address: settings.endpoint.to_string(),
        asked: settings.security.to_string(),
        offered: describe(&offered),
    })?;
    if !accepts(&endpoint, settings) {
        return Err(fault(settings, StatusCode::BadIdentityTokenRejected));
    }
    if endpoint.security_mode != MessageSecurityMode::None {
        trust::check(settings, endpoint.server_certificate.as_ref())?;
    }
    // Servers name themselves by what others may not resolve, or not reach.
    endpoint.endpoint_url = settings.endpoint.as_str().into();
    Ok(endpoint)
}

fn choose<'a>(
    settings: &Settings,
    offered: &'a [EndpointDescription],
) -> Option<&'a EndpointDescription> {
    let mode = match settings.security {
        Security::None => MessageSecurityMode::None,
        Security::Sign => MessageSecurityMode::Sign,
        Security::SignAndEncrypt => MessageSecurityMode::SignAndEncrypt,
    };
    let policies: &[SecurityPolicy] = match mode {
        MessageSecurityMode::None => &[SecurityPolicy::None],
        _ => &POLICIES,
    };
    policies.iter().find_map(|policy| {
        offered.iter().find(|endpoint| {
            endpoint.security_mode == mode
                && SecurityPolicy::from_uri(endpoint.security_policy_uri.as_ref()) == *policy
        })
    })
}

/// Whether the endpoint takes the kind of user that we are; one that does not say takes anybody.
fn accepts(endpoint: &EndpointDescription, settings: &Settings) -> bool {
    let kind = match settings.user {
        Some(_) => UserTokenType::UserName,
        None => UserTokenType::Anonymous,
    };
    let tokens = endpoint
        .user_identity_tokens
        .as_ref()
        .filter(|tokens| !tokens.is_empty());
    tokens.is_none_or(|tokens| tokens.iter().any(|token| token.token_type == kind))
}

fn describe(offered: &[EndpointDescription]) -> String {
    let each = offered.iter().map(|endpoint| {
        let policy = endpoint.security_policy_uri.as_ref();
        let policy = policy.rsplit_once('#').map_or(policy, |(_, name)| name);
        format!("{} with {policy}", endpoint.security_mode)
    });
    let mut each: Vec<_> = each.collect();
    each.dedup();
    match each.is_empty() {
        true => "none".into(),
        false => each.join(", "),
    }
}

async fn session(
    settings: &Settings,
    endpoint: EndpointDescription,
) -> Result<(Arc<Session>, SessionEventLoop<Direct>), Fault> {
    let own = match endpoint.security_mode {
        MessageSecurityMode::None => None,
        _ => {
            let settings = settings.clone();
            let made = tokio::task::spawn_blocking(move || Own::ensure(&settings)).await;
            Some(made.map_err(|error| Fault::Pki {
                directory: "own".into(),
                reason: error.to_string(),
            })??)
        }
    };
    let client = client(settings, own, -1)?;
    let token = settings
        .user
        .as_ref()
        .map_or(IdentityToken::Anonymous, |(user, password)| {
            IdentityToken::UserName(user.clone(), Password::new(password.expose()))
        });
    client
        .session_builder()
        .with_connector(Direct::new(settings))
        .user_identity_token(token)
        .connect_to_endpoint_directly(endpoint)
        .and_then(|builder| builder.build(client.certificate_store().clone()))
        .map_err(|error| fault(settings, error.status()))
}

/// Its store trusts everything, because [`trust::check`] has looked at the certificate before, and
/// the library refuses to go on with any other.
fn client(settings: &Settings, own: Option<Own>, attempts: i32) -> Result<Client, Fault> {
    let fault = |reason: String| Fault::Pki {
        directory: settings.pki.clone(),
        reason,
    };
    let pki = std::path::absolute(&settings.pki).map_err(|error| fault(error.to_string()))?;
    let mut builder = ClientBuilder::new()
        .application_name("Updraft collector")
        .application_uri(&settings.application_uri)
        .product_uri("urn:updraft")
        .session_name(&settings.application_uri)
        .pki_dir(pki.join("session"))
        .trust_server_certs(true)
        .verify_server_certs(false)
        .session_retry_limit(attempts)
        .session_retry_initial(Duration::from_millis(100))
        .session_retry_max(Duration::from_secs(5))
        .session_timeout(SESSION_MILLIS)
        .channel_lifetime(CHANNEL_MILLIS)
        .keep_alive_interval(KEEP_ALIVE)
        .max_failed_keep_alive_count(0)
        .request_timeout(REQUEST)
        .recreate_subscriptions(false)
        .max_array_length(MAX_ARRAY)
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_chunk_count(MAX_CHUNKS)
        .max_string_length(MAX_MESSAGE_BYTES)
        .max_byte_string_length(MAX_MESSAGE_BYTES);
    if let Some(own) = own {
        let absolute = |path| std::path::absolute(path).map_err(|error| fault(error.to_string()));
        builder = builder
            .certificate_path(absolute(&own.certificate)?)
            .private_key_path(absolute(&own.key)?);
    }
    builder.client().map_err(|errors| fault(errors.join(", ")))
}

/// Connects to the address of the file, whatever the server calls itself, and gives up in time.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    endpoint: OpcUrl,
}

type Stream = StreamConnection<OwnedReadHalf, OwnedWriteHalf>;

impl Direct {
    fn new(settings: &Settings) -> Direct {
        Direct {
            endpoint: settings.endpoint.clone(),
        }
    }
}

async fn connect(endpoint: OpcUrl, options: DecodingOptions) -> Result<Stream, Error> {
    let failed =
        |error: std::io::Error| Error::new(StatusCode::BadCommunicationError, error.to_string());
    let address = (endpoint.host(), endpoint.address().port());
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // Requests are small and wait for their answers.
    stream.set_nodelay(true).map_err(failed)?;
    let (read, write) = stream.into_split();
    let read = FramedRead::new(read, TcpCodec::new(options));
    Ok(StreamConnection::new(read, write, endpoint.to_string()))
}

impl Connector for Direct {
    type Transport = StreamTransport<OwnedReadHalf, OwnedWriteHalf>;

    async fn connect(
        &self,
        channel: Arc<SecureChannelState>,
        outgoing: RequestRecv,
        config: TransportConfiguration,
    ) -> Result<Self::Transport, Error> {
        let open = |_, options| connect(self.endpoint.clone(), options);
        let connector = StreamConnector::new(open, self.endpoint.to_string());
        let connecting = timeout(CONNECT, connector.connect(channel, outgoing, config));
        connecting.await.unwrap_or_else(|_| {
            let why = "no connection within the time-out";
            Err(Error::new(StatusCode::BadTimeout, why))
        })
    }

    fn default_endpoint(&self) -> EndpointDescription {
        EndpointDescription::from(self.endpoint.as_str())
    }
}

impl ConnectionSource for Direct {
    type Builder = Direct;

    fn get_connector(&self, _: &EndpointDescription) -> Result<Direct, Error> {
        Ok(self.clone())
    }
}
