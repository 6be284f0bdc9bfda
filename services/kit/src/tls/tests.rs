//! Certificates made on the spot, good and bad.

use std::path::Path;

use proto::rpc::log_client::LogClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use super::*;
use crate::config;

/// Writes `ca.pem`, `node.pem` and `node.key` of a new authority to `folder`.
fn certify(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let node = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(folder.join("node.pem"), node.pem()).unwrap();
    std::fs::write(folder.join("node.key"), key.serialize_pem()).unwrap();
}

fn load(folder: &Path) -> Result<Tls, ConfigError> {
    let text = format!(
        "hub: {{ path: acme }}\ndata_dir: data\ntls:\n  ca: {0}/ca.pem\n  cert: {0}/node.pem\n  key: {0}/node.key\n",
        folder.display()
    );
    Tls::load(&config::from_str("hub.yaml", &text).unwrap()).map(Option::unwrap)
}

fn mistake(folder: &Path) -> String {
    load(folder)
        .unwrap_err()
        .to_string()
        .replace(&folder.display().to_string(), "DIR")
}

#[test]
fn files_that_do_not_go_together_are_named() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    assert_eq!(
        mistake(folder),
        "hub.yaml:4:7: tls.ca: DIR/ca.pem can't be read: No such file or directory (os error 2)"
    );
    certify(folder);
    certify(other.path());
    load(folder).unwrap();

    std::fs::copy(other.path().join("node.key"), folder.join("node.key")).unwrap();
    let error = mistake(folder);
    let expected = "hub.yaml:6:8: tls.key: DIR/node.key does not fit the certificate in tls.cert: ";
    assert!(error.starts_with(expected), "{error}");

    std::fs::write(folder.join("node.key"), "secret").unwrap();
    let error = mistake(folder);
    let expected = "hub.yaml:6:8: tls.key: DIR/node.key holds no PEM private key: ";
    assert!(
        error.starts_with(expected) && !error.contains("secret"),
        "{error}"
    );

    std::fs::write(folder.join("node.pem"), "").unwrap();
    let expected = "hub.yaml:5:9: tls.cert: DIR/node.pem holds no PEM certificate";
    assert_eq!(mistake(folder), expected);

    std::fs::write(
        folder.join("ca.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let error = mistake(folder);
    assert!(
        error.starts_with("hub.yaml:4:7: tls.ca: DIR/ca.pem is no usable authority: "),
        "{error}"
    );
}

#[tokio::test]
async fn both_sides_check_each_other() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certify(folder.path());
    certify(other.path());
    let (ours, theirs) = (load(folder.path()).unwrap(), load(other.path()).unwrap());

    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let node = HostPort::to_reach(incoming.local_addr().unwrap());
    let serve = server(Some(&ours)).unwrap().add_routes(Routes::default());
    let serving = tokio::spawn(serve.serve_with_incoming(incoming));

    let mut nameless = ours.clone();
    let ca = std::fs::read(folder.path().join("ca.pem")).unwrap();
    nameless.client = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    // The server has no services: whoever gets as far as to be told so has come through.
    assert_eq!(call(Some(&ours), &node).await, Code::Unimplemented);
    for stranger in [None, Some(&theirs), Some(&nameless)] {
        assert_ne!(
            call(stranger, &node).await,
            Code::Unimplemented,
            "{stranger:?}"
        );
    }
    serving.abort();
}

async fn call(tls: Option<&Tls>, node: &HostPort) -> Code {
    let channel = endpoint(tls, node).unwrap().connect_lazy();
    let request = proto::rpc::StatusRequest::default();
    LogClient::new(channel)
        .status(request)
        .await
        .unwrap_err()
        .code()
}

#[test]
fn loopback() {
    for (host, expected) in [
        ("localhost", true),
        ("127.8.9.1", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("0.0.0.0", false),
        ("::", false),
        ("localhost.acme", false),
        ("node-1", false),
    ] {
        assert_eq!(is_loopback_host(host), expected, "{host}");
    }
}
