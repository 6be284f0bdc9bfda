//! Opening the ports that the file names.

use std::net::SocketAddr;

use tokio::net::TcpListener;

/// A port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{key}: can't listen on {address}")]
pub struct BindError {
    /// The key of the file that names the address.
    pub key: &'static str,
    pub address: SocketAddr,
    pub source: std::io::Error,
}

/// Listens on `address`; `key` is where the file names it, such as `broker.listen`.
pub async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| BindError {
        key,
        address,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_names_the_key_and_the_address() {
        let taken = bind("broker.listen", "127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = taken.local_addr().unwrap();
        let error = anyhow::Error::from(bind("log.listen", address).await.unwrap_err());
        let message = format!("{error:#}");
        let expected = format!("log.listen: can't listen on {address}: Address already in use");
        assert!(message.starts_with(&expected), "{message}");
    }
}
