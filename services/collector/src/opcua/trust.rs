//! Certificates: ours, and which of the server's is the right one.
//!
//! ```text
//! <data_dir>/collectors/<name>/pki/
//!   own/cert.der        to be trusted on the server; made here, once
//!   own/key.pem
//!   trusted/            certificates of servers, as DER or PEM files of any name
//!   rejected/           what a server showed and nobody trusts, <SHA-1>.der
//! ```
//!
//! A certificate is trusted because somebody put it there or gave its fingerprint, not because an
//! authority has signed it: machines seldom have one. So neither its names nor its dates decide.

use std::fs;
use std::path::{Path, PathBuf};

use opcua::crypto::{CertificateStore, X509, X509Data};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::Settings;
use crate::error::{Fault, Shown};

/// Ten years: nothing renews it.
const VALID_DAYS: u32 = 3650;

/// Files of our own certificate.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Own {
    pub(crate) fn of(pki: &Path) -> Own {
        Own {
            certificate: pki.join("own/cert.der"),
            key: pki.join("own/key.pem"),
        }
    }

    /// Makes it if there is none. Takes seconds of a processor.
    pub(crate) fn ensure(settings: &Settings) -> Result<Own, Fault> {
        let own = Own::of(&settings.pki);
        let fault = |reason: String| Fault::Pki {
            directory: settings.pki.clone(),
            reason,
        };
        if !fs::metadata(&own.key).is_ok_and(|key| key.len() > 0) {
            // One without the other is left from a start that was interrupted.
            make(settings, &own).map_err(fault)?;
        }
        let certificate = read(&own.certificate)
            .ok_or_else(|| fault("own/cert.der can't be read as a certificate".into()))?;
        CertificateStore::read_pkey(&own.key)
            .map_err(|_| fault("own/key.pem can't be read as a private key".into()))?;
        certificate.is_application_uri_valid(&settings.application_uri).map_err(|_| {
            fault(format!(
                "own/cert.der is of another application than {}; remove the directory own to have \
                 a new one made, and trust that on the server",
                settings.application_uri
            ))
        })?;
        Ok(own)
    }
}

fn make(settings: &Settings, own: &Own) -> Result<(), String> {
    let directory = settings.pki.join("own");
    create_private(&directory).map_err(|error| format!("own can't be made: {error}"))?;
    // Before the key is in it.
    let key = fs::File::create(&own.key).and_then(|_| make_private(&own.key, 0o600));
    key.map_err(|error| format!("own/key.pem can't be made: {error}"))?;
    let data = X509Data {
        key_size: 2048,
        common_name: "Updraft collector".into(),
        organization: "Updraft".into(),
        organizational_unit: String::new(),
        country: String::new(),
        state: String::new(),
        alt_host_names: X509Data::alt_host_names(
            &settings.application_uri,
            None,
            false,
            true,
            false,
        ),
        certificate_duration_days: VALID_DAYS,
    };
    CertificateStore::create_certificate_and_key(&data, true, &own.certificate, &own.key)?;
    info!(certificate = %own.certificate.display(), "made a certificate; the server must trust it");
    Ok(())
}

/// For nobody else's eyes: the key lies in it.
fn create_private(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    make_private(directory, 0o700)
}

#[cfg(unix)]
fn make_private(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn make_private(_: &Path, _: u32) -> std::io::Result<()> {
    Ok(())
}

/// Whether the server may show `der`; if not, it is put to the rejected ones.
pub(crate) fn check(settings: &Settings, der: &[u8]) -> Result<(), Fault> {
    let address = settings.endpoint.to_string();
    let leaf = leaf(der);
    let certificate = X509::from_der(leaf).map_err(|_| Fault::Connection {
        address: address.clone(),
        reason: "the server shows no certificate that can be read".into(),
    })?;
    let shown = Box::new(Shown {
        subject: certificate.subject_name(),
        sha1: certificate.thumbprint().as_hex_string(),
        sha256: hex::encode(Sha256::digest(leaf)),
    });
    if let Some(fingerprint) = &settings.fingerprint {
        let given = hex::encode(fingerprint.as_bytes());
        if given != shown.sha1 && given != shown.sha256 {
            return Err(Fault::OtherCertificate { address, shown });
        }
    } else if !is_trusted(&settings.pki, leaf) {
        let rejected = reject(&settings.pki, &shown.sha1, leaf)?;
        return Err(Fault::Untrusted {
            address,
            shown,
            rejected,
            trusted: settings.pki.join("trusted"),
        });
    }
    warn_if_expired(&certificate, &shown.subject);
    Ok(())
}

/// Machines go on with what they have; a person should know.
fn warn_if_expired(certificate: &X509, subject: &str) {
    if certificate
        .is_time_valid(&std::time::SystemTime::now().into())
        .is_err()
    {
        warn!(
            subject,
            "the server's certificate is trusted, but by its dates not valid now"
        );
    }
}

fn is_trusted(pki: &Path, leaf: &[u8]) -> bool {
    let Ok(files) = fs::read_dir(pki.join("trusted")) else {
        return false;
    };
    files.flatten().any(|file| {
        let certificate = read(&file.path());
        certificate.is_some_and(|certificate| certificate.to_der().is_ok_and(|der| der == leaf))
    })
}

/// DER or PEM, whatever the file is called.
fn read(file: &Path) -> Option<X509> {
    let bytes = fs::read(file).ok()?;
    X509::from_der(&bytes)
        .or_else(|_| X509::from_pem(&bytes))
        .ok()
}

fn reject(pki: &Path, sha1: &str, leaf: &[u8]) -> Result<PathBuf, Fault> {
    let file = pki.join("rejected").join(format!("{sha1}.der"));
    let write = || {
        fs::create_dir_all(pki.join("trusted"))?;
        fs::create_dir_all(pki.join("rejected"))?;
        fs::write(&file, leaf)
    };
    write().map_err(|error| Fault::Pki {
        directory: pki.to_owned(),
        reason: format!("the rejected certificate can't be written: {error}"),
    })?;
    Ok(file)
}

/// The first of a chain of certificates: the server's own (Part 6 §6.2.6).
fn leaf(chain: &[u8]) -> &[u8] {
    // A SEQUENCE whose length stands in the two bytes after 0x82 (X.690 §8.1.3.5); no certificate
    // is short enough for another form.
    match chain {
        [0x30, 0x82, high, low, ..] => {
            let end = 4 + usize::from(u16::from_be_bytes([*high, *low]));
            chain.get(..end).unwrap_or(chain)
        }
        _ => chain,
    }
}

#[cfg(test)]
mod tests {
    use kit::config::{Fingerprint, Scalar};

    use super::*;

    fn settings(pki: &Path, fingerprint: Option<&str>) -> Settings {
        Settings {
            endpoint: Scalar::parse("opc.tcp://press:4840").unwrap(),
            security: kit::config::Security::SignAndEncrypt,
            fingerprint: fingerprint.map(|text| Fingerprint::parse(text).unwrap()),
            user: None,
            publish_interval: std::time::Duration::ZERO,
            sampling_interval: std::time::Duration::ZERO,
            queue: 1,
            pki: pki.to_owned(),
            application_uri: "urn:updraft:acme:1:press".into(),
            tags: Vec::new(),
        }
    }

    #[test]
    fn an_unknown_certificate_is_named_and_trusted_in_two_ways() {
        let directory = tempfile::tempdir().unwrap();
        let server = settings(&directory.path().join("server"), None);
        let der = fs::read(Own::ensure(&server).unwrap().certificate).unwrap();

        let pki = directory.path().join("pki");
        let unknown = settings(&pki, None);
        let Err(Fault::Untrusted {
            shown,
            rejected,
            trusted,
            ..
        }) = check(&unknown, &der)
        else {
            panic!("it is trusted");
        };
        let chain = [der.clone(), der.clone()].concat();
        for fingerprint in [&shown.sha1, &shown.sha256, &shown.sha1.to_uppercase()] {
            assert!(
                check(&settings(&pki, Some(fingerprint)), &chain).is_ok(),
                "{fingerprint}"
            );
        }
        let other = settings(&pki, Some(&"00".repeat(20)));
        assert!(matches!(
            check(&other, &der),
            Err(Fault::OtherCertificate { .. })
        ));

        fs::copy(rejected, trusted.join("of any name.der")).unwrap();
        assert!(check(&unknown, &der).is_ok());
        assert!(check(&unknown, b"no certificate").is_err());
    }

    #[test]
    fn the_own_certificate_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(directory.path(), None);
        let own = Own::ensure(&settings).unwrap();
        let made = fs::read(&own.certificate).unwrap();
        Own::ensure(&settings).unwrap();
        assert_eq!(fs::read(&own.certificate).unwrap(), made);
        assert!(CertificateStore::read_pkey(&own.key).is_ok());
        settings.application_uri = "urn:updraft:other:1:press".into();
        assert!(matches!(Own::ensure(&settings), Err(Fault::Pki { .. })));
        fs::write(&own.certificate, "x").unwrap();
        assert!(matches!(Own::ensure(&settings), Err(Fault::Pki { .. })));
    }
}
