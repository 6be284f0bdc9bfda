//! A hub of one log node and its console within the test's process, and a browser of sorts.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use console::Console;
use console::lab::Lab;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kit::service::Context;
use proto::{Nanos, Record};
use raft_log::client::{ClientConfig, LogClient, ProducerOptions};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const GRACE: Duration = Duration::from_secs(30);
pub(crate) const PASSWORD: &str = "correct horse";

/// One hash for all users: making one is meant to be slow.
fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| console::hash_password(PASSWORD).unwrap())
}

/// The section with one user of each role, named after it.
pub(crate) fn users() -> String {
    let user = |role: &str| format!("{{ name: {role}, role: {role}, password: \"{}\" }}", hash());
    let users = ["viewer", "operator", "admin"].map(user).join(", ");
    format!("console: {{ listen: \"127.0.0.1:0\", users: [{users}] }}\n")
}

pub(crate) struct Hub {
    _directory: tempfile::TempDir,
    port: u16,
    pub(crate) console: SocketAddr,
    log: Option<Service<log_service::Error>>,
    running: Service<console::Error>,
}

pub(crate) struct Service<E> {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), E>>,
}

impl<E: std::fmt::Debug + Send + 'static> Service<E> {
    fn start(
        shutdown: CancellationToken,
        service: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Service<E> {
        Service {
            shutdown,
            task: tokio::spawn(service),
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        let ended = timeout(GRACE, self.task).await;
        ended
            .expect("it did not end after the shutdown")
            .unwrap()
            .unwrap();
    }
}

impl Hub {
    pub(crate) async fn start() -> Hub {
        Hub::with(&users(), None).await
    }

    pub(crate) async fn with(console: &str, lab: Option<Lab>) -> Hub {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "hub: {{ path: acme.press }}\ndata_dir: {}\nlog:\n  listen: 127.0.0.1:{port}\n  \
             heartbeat: 50ms\n  election_timeout: 250ms\n{console}",
            directory.path().display()
        );
        let shutdown = CancellationToken::new();
        let log = context(&text, &shutdown);
        let service = log_service::build(log.clone()).await.unwrap();
        let service = Service::start(shutdown, service);
        timeout(GRACE, log.readiness.wait())
            .await
            .expect("the log was never ready");
        let shutdown = CancellationToken::new();
        let built = console::build(context(&text, &shutdown)).await.unwrap();
        let built = match lab {
            Some(lab) => built.with_lab(lab),
            None => built,
        };
        Hub {
            _directory: directory,
            port,
            console: built.address(),
            log: Some(service),
            running: Service::start(shutdown, Console::run(built)),
        }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser {
            address: self.console,
            tls: None,
            cookie: None,
        }
    }

    pub(crate) async fn signed_in(&self, name: &str) -> Browser {
        let mut browser = self.browser();
        let answer = browser.sign_in(name, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        browser
    }

    /// Appends so many records, one batch each.
    pub(crate) async fn append(&self, records: u64) {
        let endpoints = vec![format!("127.0.0.1:{}", self.port)];
        let log = LogClient::new(ClientConfig {
            endpoints,
            group: 0,
            tls: None,
        });
        let producer = log.unwrap().producer(ProducerOptions {
            name: "test".into(),
            ..ProducerOptions::default()
        });
        for number in 0..records {
            let payload = format!(r#"{{"timestamp_ms": {number}, "value": {number}}}"#);
            let record = Record::message("umh/v1/acme/press/_raw/force", payload, Nanos::now());
            producer.append(record, None).await.unwrap().await.unwrap();
        }
    }

    pub(crate) fn log(&self) -> LogClient {
        let config = ClientConfig {
            endpoints: vec![format!("127.0.0.1:{}", self.port)],
            group: 0,
            tls: None,
        };
        LogClient::new(config).unwrap()
    }

    /// Appends these in their order.
    pub(crate) async fn publish(&self, records: Vec<Record>) {
        let producer = self.log().producer(ProducerOptions {
            name: "test".into(),
            ..ProducerOptions::default()
        });
        let mut pending = Vec::new();
        for record in records {
            pending.push(producer.append(record, None).await.unwrap());
        }
        for appended in pending {
            appended.await.unwrap();
        }
    }

    pub(crate) async fn stop_log(&mut self) {
        self.log.take().unwrap().stop().await;
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
        if let Some(log) = self.log {
            log.stop().await;
        }
    }
}

fn context(text: &str, shutdown: &CancellationToken) -> Context {
    let config = kit::config::from_str("hub.yaml", text).unwrap();
    Context::new(config, shutdown.clone()).unwrap()
}

/// Keeps one cookie, says what it is told to and follows nothing by itself.
#[derive(Clone)]
pub(crate) struct Browser {
    address: SocketAddr,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) cookie: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

impl Browser {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// Posts a form as it is, without the token.
    pub(crate) async fn post(&self, path: &str, headers: Headers<'_>, form: &str) -> Answer {
        self.ask("POST", path, headers, form).await
    }

    /// Posts a form of our pages.
    pub(crate) async fn submit(&self, path: &str, form: &str) -> Answer {
        let token = self.token().await;
        self.post(path, &[], &format!("{form}&csrf={token}")).await
    }

    pub(crate) async fn token(&self) -> String {
        let page = self.get("/audit").await.text;
        let (_, rest) = page.split_once("name=\"csrf\" content=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }

    pub(crate) async fn sign_in(&mut self, name: &str, password: &str) -> Answer {
        let form = format!("name={name}&password={}", password.replace(' ', "+"));
        let answer = self.post("/sign-in", &[], &form).await;
        if let Some((cookie, _)) = answer.header("set-cookie").split_once(';') {
            self.cookie = Some(cookie.to_owned());
        }
        answer
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: Headers<'_>,
        body: &str,
    ) -> Answer {
        let response = self.send(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = timeout(GRACE, body.collect())
            .await
            .expect("no end of the answer");
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&body.unwrap().to_bytes()).into_owned(),
        }
    }

    /// Asks again and again until `found` is content with the answer.
    pub(crate) async fn until(&self, path: &str, found: impl Fn(&str) -> bool) -> String {
        let asking = async {
            loop {
                let answer = self.get(path).await;
                if answer.status == StatusCode::OK && found(&answer.text) {
                    return answer.text;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let answer = timeout(GRACE, asking).await;
        answer.unwrap_or_else(|_| panic!("{path} never was as expected"))
    }

    /// Follows a live stream until `found` says that what came since the beginning is enough.
    pub(crate) async fn follow(&self, path: &str, what: &str, found: impl Fn(&str) -> bool) {
        let response = self.send("GET", path, &[], "").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let mut body = response.into_body();
        let mut text = String::new();
        let following = async {
            while !found(&text) {
                let frame = body.frame().await.expect("the stream has ended").unwrap();
                text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
            }
        };
        let found = timeout(GRACE, following).await;
        found.unwrap_or_else(|_| panic!("never: {what}"));
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: Headers<'_>,
        body: &str,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path);
        let host = self.address.to_string();
        let named = |name: &str| headers.iter().any(|(given, _)| *given == name);
        let defaults = [
            ("host", host.as_str()),
            ("accept", "text/html"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let defaults = defaults.iter().filter(|(name, _)| !named(name));
        for (name, value) in defaults.chain(headers) {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let request = request.body(body).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let sent = match &self.tls {
            None => exchange(stream, request).await,
            Some(tls) => {
                let name = ServerName::try_from("localhost").unwrap();
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
                exchange(connector.connect(name, stream).await.unwrap(), request).await
            }
        };
        sent.unwrap()
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}
