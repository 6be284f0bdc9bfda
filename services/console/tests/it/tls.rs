//! The console over TLS, with the certificate of the node.

use std::sync::Arc;

use hyper::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;

use crate::rig::{Hub, PASSWORD, users};

/// An authority that makes a certificate for this machine: paths of `ca`, `cert` and `key`.
fn certificates(directory: &std::path::Path) -> (RootCertStore, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let cert = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    let mut section = String::from("tls:\n");
    for (name, pem) in [
        ("ca", ca.pem()),
        ("cert", cert.pem()),
        ("key", key.serialize_pem()),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, pem).unwrap();
        section.push_str(&format!("  {name}: {}\n", path.display()));
    }
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    (roots, section)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_for_tls_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (roots, section) = certificates(directory.path());
    let console = users().replace("users:", "tls: true, users:");
    let hub = Hub::with(&format!("{section}{console}"), None).await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut browser = hub.browser();
    browser.tls = Some(Arc::new(config));
    let answer = browser.sign_in("viewer", PASSWORD).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-updraft="), "{cookie}");
    assert!(cookie.contains("; Secure"), "{cookie}");
    let running = |text: &str| text.contains("leader");
    browser.follow("/live/overview", "the node", running).await;
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    hub.stop().await;
}
