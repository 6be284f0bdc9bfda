//! Accepts connections, and gives each a task of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::hub::Hub;

/// Pause after the system had no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Until `shutdown`. A panic of a connection's task ends that connection alone.
pub(crate) async fn run(hub: Arc<Hub>, listener: TcpListener, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                hub.tasks.spawn(connection::serve(
                    hub.clone(),
                    stream,
                    peer,
                    shutdown.clone(),
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
