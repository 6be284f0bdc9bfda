//! The pages show what is, and go on showing it.

use hyper::StatusCode;

use crate::rig::Hub;

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_shows_the_node_and_that_it_is_gone() {
    let mut hub = Hub::start().await;
    let viewer = hub.signed_in("viewer").await;
    let running = |text: &str| text.contains("acme.press") && text.contains("leader");
    viewer.follow("/live/overview", "the node", running).await;
    hub.append(3).await;
    let records = |text: &str| text.contains("3\u{a0}records");
    viewer
        .follow("/live/overview", "its records", records)
        .await;
    // Whole without scripts too.
    let page = viewer.get("/").await.text;
    assert!(records(&page) && page.contains("All well"), "{page}");
    hub.stop_log().await;
    let gone =
        |text: &str| text.contains("no node of this hub answers") && text.contains("unreachable");
    viewer
        .follow("/live/overview", "that it is gone", gone)
        .await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_verifies_what_comes_and_on_order_what_was() {
    let hub = Hub::start().await;
    hub.append(5).await;
    let operator = hub.signed_in("operator").await;
    let known = |text: &str| text.contains("No difference") && text.contains("1\u{a0}origin");
    operator.follow("/live/audit", "the origin", known).await;
    hub.append(4).await;
    let follows = |text: &str| text.contains(" to 9</dd>") && text.contains("agree</span>");
    operator.follow("/live/audit", "what comes", follows).await;

    let answer = operator.submit("/audit/orders", "order=walk").await;
    assert_eq!(answer.header("location"), "/audit");
    let page = operator.get("/audit").await.text;
    assert!(
        page.contains("The log is read again from its beginning."),
        "{page}"
    );
    assert!(!operator.get("/audit").await.text.contains("is read again"));
    let walked = |text: &str| text.contains(">0 to 9</dd>") && text.contains("Read 9\u{a0}records");
    operator
        .follow("/live/audit", "the walk's end", walked)
        .await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_hide_secrets_and_end_sessions() {
    let hub = Hub::start().await;
    let (viewer, admin) = (hub.signed_in("viewer").await, hub.signed_in("admin").await);
    let page = admin.get("/settings").await.text;
    for shown in [
        "acme.press",
        "heartbeat",
        "50ms",
        "users: operator",
        "(not shown)",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("argon2"), "{page}");
    // The viewer was the first to sign in.
    let ended = async {
        viewer
            .follow("/live/overview", "the end", |text| {
                text.contains("event: ended")
            })
            .await;
    };
    let end = async {
        let answer = admin.submit("/settings/sessions/end", "number=1").await;
        assert_eq!(answer.header("location"), "/settings");
    };
    tokio::join!(ended, end);
    assert!(
        admin
            .get("/settings")
            .await
            .text
            .contains("Viewer was signed out.")
    );
    assert_eq!(viewer.get("/").await.status, StatusCode::SEE_OTHER);
    admin.submit("/settings/sessions/end", "number=1").await;
    let page = admin.get("/settings").await.text;
    assert!(page.contains("That session had ended already."), "{page}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_by_the_browser_until_they_change() {
    let hub = Hub::start().await;
    let browser = hub.browser();
    let page = browser.get("/sign-in").await.text;
    let files: Vec<&str> = page
        .split('"')
        .filter(|part| part.starts_with("/assets/"))
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let answer = browser.get(file).await;
        assert_eq!(answer.status, StatusCode::OK, "{file}");
        assert!(
            answer.header("cache-control").contains("immutable"),
            "{file}"
        );
        let kind = match file.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(answer.header("content-type"), kind, "{file}");
        let known = [("if-none-match", answer.header("etag"))];
        let again = browser.ask("GET", file, &known, "").await;
        assert_eq!(
            (again.status, again.text.len()),
            (StatusCode::NOT_MODIFIED, 0)
        );
    }
    let old = browser.get("/assets/0123456789abcdef/style.css").await;
    assert_eq!(old.header("cache-control"), "no-cache");
    hub.stop().await;
}
