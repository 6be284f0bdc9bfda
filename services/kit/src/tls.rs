//! Mutual TLS for gRPC, from the section `tls`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

use crate::config::{ConfigError, HostPort, HttpUrl, HubConfig, Placed};

/// The certificates of this node: everybody it talks to shows one of the same authority.
#[derive(Debug, Clone)]
pub struct Tls {
    pub server: ServerTlsConfig,
    pub client: ClientTlsConfig,
}

impl Tls {
    /// Reads the files that `config` names; `None` without the section.
    ///
    /// Files that don't go together are found here and not at the first connection.
    pub fn load(config: &HubConfig) -> Result<Option<Self>, ConfigError> {
        let Some(section) = &config.tls else {
            return Ok(None);
        };
        let ca = read(config, "tls.ca", &section.ca)?;
        let cert = read(config, "tls.cert", &section.cert)?;
        let key = read(config, "tls.key", &section.key)?;
        check_authority(&ca).map_err(|why| wrong(config, "tls.ca", &section.ca, &why))?;
        let chain =
            certificates(&cert).map_err(|why| wrong(config, "tls.cert", &section.cert, &why))?;
        check_key(chain, &key).map_err(|why| wrong(config, "tls.key", &section.key, &why))?;
        let (ca, identity) = (Certificate::from_pem(ca), Identity::from_pem(cert, key));
        Ok(Some(Self {
            server: ServerTlsConfig::new()
                .identity(identity.clone())
                .client_ca_root(ca.clone()),
            client: ClientTlsConfig::new().identity(identity).ca_certificate(ca),
        }))
    }
}

/// What a server for browsers shows: the certificate of the section `tls`, and no wish to see
/// theirs. `None` without the section.
pub fn for_browsers(config: &HubConfig) -> Result<Option<rustls::ServerConfig>, ConfigError> {
    let Some(section) = &config.tls else {
        return Ok(None);
    };
    let cert = read(config, "tls.cert", &section.cert)?;
    let key = read(config, "tls.key", &section.key)?;
    let chain =
        certificates(&cert).map_err(|why| wrong(config, "tls.cert", &section.cert, &why))?;
    let unfit = |error: &dyn std::fmt::Display| {
        let why = format!("does not fit the certificate in tls.cert: {error}");
        wrong(config, "tls.key", &section.key, &why)
    };
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| unfit(&error))?;
    rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map(Some)
        .map_err(|error| unfit(&error))
}

/// A gRPC server, with TLS if there is any.
pub fn server(tls: Option<&Tls>) -> Result<Server, tonic::transport::Error> {
    match tls {
        Some(tls) => Server::builder().tls_config(tls.server.clone()),
        None => Ok(Server::builder()),
    }
}

/// A gRPC client's way to a node of this hub: with TLS if there is any, else in clear text.
pub fn endpoint(tls: Option<&Tls>, node: &HostPort) -> Result<Endpoint, tonic::transport::Error> {
    match tls {
        Some(tls) => {
            Endpoint::from_shared(format!("https://{node}"))?.tls_config(tls.client.clone())
        }
        None => Endpoint::from_shared(format!("http://{node}")),
    }
}

/// A gRPC client's way to `url`, whose scheme decides about TLS.
pub fn endpoint_of(tls: Option<&Tls>, url: &HttpUrl) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from(url.uri().clone());
    match tls.filter(|_| url.is_https()) {
        Some(tls) => endpoint.tls_config(tls.client.clone()),
        None => Ok(endpoint),
    }
}

/// Whether only this machine can reach `address`.
#[must_use]
pub fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether `host` names this machine. No name is looked up: only `localhost` is known for sure.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let ip = host.parse::<IpAddr>();
    ip.map_or_else(
        |_| host.eq_ignore_ascii_case("localhost"),
        |ip| ip.to_canonical().is_loopback(),
    )
}

type File = Placed<std::path::PathBuf>;

fn read(config: &HubConfig, key: &str, file: &File) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(&file.value).map_err(|error| {
        let message = format!("{key}: {} can't be read: {error}", file.display());
        config.error(file.place, message)
    })
}

fn wrong(config: &HubConfig, key: &str, file: &File, why: &str) -> ConfigError {
    config.error(file.place, format!("{key}: {} {why}", file.display()))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("holds no PEM certificate".to_owned()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("is no PEM file: {error}")),
    }
}

fn check_authority(pem: &[u8]) -> Result<(), String> {
    let unusable = |error: &dyn std::fmt::Display| format!("is no usable authority: {error}");
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    let provider = Arc::new(ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map(|_| ())
        .map_err(|error| unusable(&error))
}

fn check_key(chain: Vec<CertificateDer<'static>>, pem: &[u8]) -> Result<(), String> {
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| format!("holds no PEM private key: {error}"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map(|_| ())
        .map_err(|error| format!("does not fit the certificate in tls.cert: {error}"))
}

#[cfg(test)]
mod tests;
