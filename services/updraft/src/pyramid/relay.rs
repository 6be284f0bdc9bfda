//! A network link that can be cut: connections from one port to another go through here.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ports::free_ports;

const BUFFER_BYTES: usize = 64 << 10;

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Up,
    /// Connections are dropped at once, and so is each new one.
    Refused,
    /// Connections stay, but nothing passes any more: a pulled cable.
    Silent,
}

/// Forwards TCP to a set of addresses, one port for each, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    addresses: Vec<SocketAddr>,
    link: watch::Sender<Link>,
    _listeners: JoinSet<()>,
}

impl Relay {
    pub async fn start(targets: &[SocketAddr]) -> anyhow::Result<Relay> {
        let (link, watching) = watch::channel(Link::Up);
        let mut addresses = Vec::new();
        let mut listeners = JoinSet::new();
        for (target, port) in targets.iter().zip(free_ports(targets.len())?) {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let listener = TcpListener::bind(address)
                .await
                .context("open a relay's port")?;
            addresses.push(address);
            listeners.spawn(accept(listener, *target, watching.clone()));
        }
        Ok(Relay {
            addresses,
            link,
            _listeners: listeners,
        })
    }

    /// Where to connect to instead of the targets, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, link: watch::Receiver<Link>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted && *link.borrow() != Link::Refused {
                    connections.spawn(connection(stream, target, link.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Ends when either side does or the link is refused, and ends both sides with it.
async fn connection(lower: TcpStream, target: SocketAddr, link: watch::Receiver<Link>) {
    if until(&mut link.clone(), |link| link != Link::Silent).await != Some(Link::Up) {
        return;
    }
    let Ok(upper) = TcpStream::connect(target).await else {
        return;
    };
    let _ = (lower.set_nodelay(true), upper.set_nodelay(true));
    let (lower_read, lower_write) = lower.into_split();
    let (upper_read, upper_write) = upper.into_split();
    tokio::select! {
        () = pump(lower_read, upper_write, link.clone()) => {}
        () = pump(upper_read, lower_write, link.clone()) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut link: watch::Receiver<Link>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while until(&mut link, |link| link != Link::Silent).await == Some(Link::Up) {
        tokio::select! {
            changed = link.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            read = from.read(&mut buffer) => {
                let Ok(read @ 1..) = read else { return };
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// `None` when the relay is gone.
async fn until(link: &mut watch::Receiver<Link>, wanted: fn(Link) -> bool) -> Option<Link> {
    link.wait_for(|link| wanted(*link))
        .await
        .ok()
        .map(|link| *link)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
        stream.write_all(text).await?;
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await?;
        assert_eq!(back, text);
        Ok(())
    }

    #[tokio::test]
    async fn a_refused_link_drops_connections_and_a_healed_one_takes_new_ones() {
        let relay = Relay::start(&[echo().await]).await.unwrap();
        let mut stream = TcpStream::connect(relay.addresses()[0]).await.unwrap();
        says(&mut stream, b"up").await.unwrap();
        relay.set(Link::Refused);
        assert!(says(&mut stream, b"cut").await.is_err());
        let mut refused = TcpStream::connect(relay.addresses()[0]).await.unwrap();
        assert!(says(&mut refused, b"cut").await.is_err());
        relay.set(Link::Up);
        let mut healed = TcpStream::connect(relay.addresses()[0]).await.unwrap();
        says(&mut healed, b"healed").await.unwrap();
    }

    #[tokio::test]
    async fn a_silent_link_passes_nothing_until_it_is_healed() {
        let relay = Relay::start(&[echo().await]).await.unwrap();
        let mut stream = TcpStream::connect(relay.addresses()[0]).await.unwrap();
        says(&mut stream, b"up").await.unwrap();
        relay.set(Link::Silent);
        let cut = timeout(Duration::from_millis(100), says(&mut stream, b"late")).await;
        assert!(cut.is_err(), "{cut:?}");
        relay.set(Link::Up);
        let mut late = [0; 4];
        stream.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"late");
    }
}
