//! The link to a machine: it can be cut, and it can die without a word.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Until it is dropped.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Default, PartialEq)]
struct State {
    /// Connections end, and new ones are dropped at once.
    cut: bool,
    /// Of connections made before, nothing passes any more, and neither side is told.
    swallows_before: u64,
}

impl Wire {
    pub(crate) async fn to(target: SocketAddr) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, watched) = watch::channel(State::default());
        tokio::spawn(accept(listener, target, watched));
        Wire { address, state }
    }

    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cut = true);
    }

    pub(crate) fn mend(&self) {
        self.state.send_modify(|state| state.cut = false);
    }

    pub(crate) fn swallow(&self) {
        self.state.send_modify(|state| state.swallows_before += 1);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<State>) {
    // The wire is dropped when its state can't change any more.
    while state.has_changed().is_ok()
        && let Ok((lower, _)) = listener.accept().await
    {
        if !state.borrow().cut {
            tokio::spawn(connection(lower, target, state.clone()));
        }
    }
}

async fn connection(lower: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    let Ok(upper) = TcpStream::connect(target).await else {
        return;
    };
    let made = state.borrow().swallows_before;
    let (lower_read, lower_write) = lower.into_split();
    let (upper_read, upper_write) = upper.into_split();
    let up = pump(lower_read, upper_write, made, state.clone());
    let down = pump(upper_read, lower_write, made, state.clone());
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = state.wait_for(|state| state.cut) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    made: u64,
    state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let passes = state.borrow().swallows_before == made;
        if passes && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    if state.borrow().swallows_before != made {
        // That the other side has hung up is swallowed too.
        std::future::pending().await
    }
}
