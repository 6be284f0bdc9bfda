//! Every way in which a service can end.

use anyhow::bail;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config;

const GRACE: Duration = Duration::from_secs(5);

fn context() -> Context {
    let text = "hub: { path: acme }\ndata_dir: data\n";
    let config = config::from_str("hub.yaml", text).unwrap();
    Context::new(config, CancellationToken::new()).unwrap()
}

/// Runs until it is told to end.
fn patient(name: &'static str) -> Service {
    Service::new(name, |context: Context| async move {
        Ok::<_, anyhow::Error>(async move {
            context.shutdown.cancelled().await;
            Ok::<_, anyhow::Error>(())
        })
    })
}

/// Runs and ends as `end` says.
fn ending(
    name: &'static str,
    end: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> Service {
    Service::new(name, |_| async move {
        Ok::<_, anyhow::Error>(async move { end() })
    })
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_all_in_order() {
    let context = context();
    let running = tokio::spawn(run(
        vec![patient("a"), patient("b")],
        context.clone(),
        GRACE,
    ));
    context.readiness.wait().await;
    context.shutdown.cancel();
    running.await.unwrap().unwrap();
    assert!(!context.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_takes_the_others_along() {
    let context_of_failing = context();
    let services = vec![patient("a"), ending("b", || bail!("the disk is full"))];
    let error = run(services, context_of_failing.clone(), GRACE)
        .await
        .unwrap_err();
    assert_eq!(
        format!("{:#}", anyhow::Error::from(error)),
        "service \"b\" failed: the disk is full"
    );
    assert!(context_of_failing.shutdown.is_cancelled());

    let services = vec![patient("a"), ending("b", || Ok(()))];
    let error = run(services, context(), GRACE).await.unwrap_err();
    assert_eq!(error.to_string(), "service \"b\" ended by itself");

    let services = vec![ending("b", || panic!("a bug")), patient("a")];
    let error = run(services, context(), GRACE).await.unwrap_err();
    assert!(
        matches!(error, RunError::Panicked { service: "b", .. }),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_unless_all_are_built() {
    let failing = Service::new("b", |_| async {
        Err::<std::future::Ready<anyhow::Result<()>>, _>(anyhow::anyhow!("no port"))
    });
    let must_not_run = ending("a", || panic!("it ran"));
    let error = run(vec![must_not_run, failing], context(), GRACE)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RunError::Build { service: "b", .. }),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_grace_time_ends_one_that_does_not_drain() {
    let deaf = Service::new("deaf", |_| async {
        Ok::<_, anyhow::Error>(std::future::pending::<anyhow::Result<()>>())
    });
    let context = context();
    context.shutdown.cancel();
    let error = run(vec![patient("a"), deaf], context, GRACE)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "still running 5s after shutdown began: deaf"
    );
}
