//! What the guard and the extractors refuse, and what every answer says to the browser.

use hyper::StatusCode;

use crate::rig::{Headers, Hub};

#[tokio::test(flavor = "multi_thread")]
async fn a_post_needs_the_token_of_its_session() {
    let hub = Hub::start().await;
    let (browser, other) = (
        hub.signed_in("operator").await,
        hub.signed_in("operator").await,
    );
    let (token, others) = (browser.token().await, other.token().await);
    assert_ne!(token, others);
    for form in [
        "order=stop".to_owned(),
        "order=stop&csrf=".to_owned(),
        format!("order=stop&csrf={others}"),
        format!("order=stop&csrf={token}0"),
    ] {
        let answer = browser.post("/audit/orders", &[], &form).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{form}");
    }
    let header = [("x-csrf-token", others.as_str())];
    let form = format!("order=stop&csrf={token}");
    let answer = browser.post("/audit/orders", &header, &form).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);

    let answer = browser.post("/audit/orders", &[], &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let header = [("x-csrf-token", token.as_str())];
    let answer = browser.post("/audit/orders", &header, "order=stop").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_from_another_site_is_refused() {
    let hub = Hub::start().await;
    let browser = hub.signed_in("operator").await;
    let own = format!("http://{}", hub.console);
    let form = format!("order=stop&csrf={}", browser.token().await);
    let table: [(Headers<'_>, bool); 7] = [
        (&[("origin", "https://evil.example")], false),
        (&[("origin", "null")], false),
        (&[("origin", "http://127.0.0.1:1")], false),
        (&[("sec-fetch-site", "cross-site")], false),
        (&[("sec-fetch-site", "same-site"), ("origin", &own)], false),
        (&[("origin", &own)], true),
        (&[("sec-fetch-site", "same-origin")], true),
    ];
    for (headers, taken) in table {
        let answer = browser.post("/audit/orders", headers, &form).await;
        let expected = match taken {
            true => StatusCode::SEE_OTHER,
            false => StatusCode::FORBIDDEN,
        };
        assert_eq!(answer.status, expected, "{headers:?}");
        // Nor may another site sign anybody in.
        let sign_in = "name=viewer&password=correct+horse";
        let answer = hub.browser().post("/sign-in", headers, sign_in).await;
        assert_eq!(answer.status, expected, "{headers:?}");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_enforces_roles() {
    let hub = Hub::start().await;
    let nobody = hub.browser();
    let (viewer, operator, admin) = (
        hub.signed_in("viewer").await,
        hub.signed_in("operator").await,
        hub.signed_in("admin").await,
    );
    assert!(!viewer.get("/audit").await.text.contains("/audit/orders"));
    assert!(operator.get("/audit").await.text.contains("/audit/orders"));
    let answer = viewer.submit("/audit/orders", "order=stop").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let needs = "This needs the role operator; viewer is viewer.";
    assert!(answer.text.contains(needs), "{}", answer.text);
    for browser in [&operator, &admin] {
        let answer = browser.submit("/audit/orders", "order=stop").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    }
    for browser in [&viewer, &operator] {
        let answer = browser.get("/settings").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.text.contains("This needs the role admin"));
        let answer = browser.submit("/settings/sessions/end", "number=1").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(admin.get("/settings").await.status, StatusCode::OK);
    for path in ["/live/overview", "/live/audit"] {
        let answer = nobody
            .ask("GET", path, &[("accept", "text/event-stream")], "")
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let answer = nobody.post("/audit/orders", &[], "order=stop").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_the_browser_what_to_refuse() {
    let hub = Hub::start().await;
    let (nobody, viewer) = (hub.browser(), hub.signed_in("viewer").await);
    let page = viewer.get("/").await.text;
    let style = page.split('"').find(|part| part.ends_with("/style.css"));
    let answers = [
        (viewer.get("/").await, StatusCode::OK),
        (nobody.get("/").await, StatusCode::SEE_OTHER),
        (nobody.get("/sign-in").await, StatusCode::OK),
        (nobody.get("/healthz").await, StatusCode::OK),
        (nobody.get(style.unwrap()).await, StatusCode::OK),
        (nobody.get("/nowhere").await, StatusCode::NOT_FOUND),
        (viewer.get("/settings").await, StatusCode::FORBIDDEN),
        (viewer.submit("/", "").await, StatusCode::METHOD_NOT_ALLOWED),
        (viewer.post("/", &[], "").await, StatusCode::FORBIDDEN),
    ];
    for (answer, status) in answers {
        assert_eq!(answer.status, status, "{}", answer.text);
        let policy = answer.header("content-security-policy");
        for rule in [
            "default-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "same-origin");
        assert_ne!(answer.header("cache-control"), "");
        assert!(!answer.text.contains("style=\""), "{}", answer.text);
        assert!(!answer.text.contains("<script>"), "{}", answer.text);
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_clear_answers() {
    let hub = Hub::start().await;
    let mut browser = hub.signed_in("operator").await;
    let token = browser.token().await;
    let huge = format!("csrf={token}&order={}", "x".repeat(100 << 10));
    let header = [("x-csrf-token", token.as_str())];
    for (path, form, status) in [
        (
            "/audit/orders",
            huge.as_str(),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        ("/sign-in", huge.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
        ("/sign-in", "name=anna", StatusCode::BAD_REQUEST),
        ("/audit/orders", "order=explode", StatusCode::BAD_REQUEST),
        ("/audit/orders", "%ff%fe", StatusCode::BAD_REQUEST),
        ("/nowhere", "", StatusCode::NOT_FOUND),
        // There is no lab here.
        ("/lab/orders", "order=audit", StatusCode::NOT_FOUND),
    ] {
        let answer = browser.post(path, &header, form).await;
        assert_eq!(answer.status, status, "{path} {}", answer.text);
        assert!(answer.text.contains("<h1>"), "{path} {}", answer.text);
    }
    for path in [
        "/nowhere",
        "/assets/x/../../Cargo.toml",
        "/assets/0/nothing",
        "/%00",
    ] {
        assert_eq!(
            browser.get(path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    for cookie in [
        "updraft=",
        "updraft=zz",
        "updraft=00; updraft",
        "=;;=",
        "\u{7f}updraft=é",
    ] {
        browser.cookie = Some(cookie.escape_default().to_string());
        let answer = browser.get("/").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{cookie}");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_users_everybody_on_this_machine_may_look() {
    let hub = Hub::with("console: { listen: \"127.0.0.1:0\" }\n", None).await;
    let browser = hub.browser();
    let page = browser.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("updraft passwd"), "{}", page.text);
    let answer = browser.post("/audit/orders", &[], "order=stop").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/settings").await.status, StatusCode::FORBIDDEN);
    // A name of somebody else's that leads here would let their pages read ours.
    for (host, status) in [
        ("evil.example", StatusCode::FORBIDDEN),
        ("localhost.evil.example:8080", StatusCode::FORBIDDEN),
        ("localhost:8080", StatusCode::OK),
        ("[::1]:8080", StatusCode::OK),
    ] {
        let answer = browser.ask("GET", "/", &[("host", host)], "").await;
        assert_eq!(answer.status, status, "{host}");
    }
    hub.stop().await;
}
