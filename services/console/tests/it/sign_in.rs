//! Signing in and out.

use hyper::StatusCode;

use crate::rig::{Hub, PASSWORD};

#[tokio::test(flavor = "multi_thread")]
async fn in_and_out() {
    let hub = Hub::start().await;
    let mut browser = hub.browser();
    let answer = browser.get("/audit?a=b").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/sign-in?back=%2Faudit%3Fa%3Db");
    let form = browser.get("/sign-in?back=%2Faudit%3Fa%3Db").await.text;
    assert!(
        form.contains("name=\"back\" value=\"/audit?a=b\""),
        "{form}"
    );

    let form = "name=operator&password=correct+horse&back=/audit";
    let answer = browser.post("/sign-in", &[], form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert_eq!(answer.header("location"), "/audit");
    let cookie = answer.header("set-cookie").to_owned();
    for attribute in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    browser.cookie = cookie.split(';').next().map(str::to_owned);
    let page = browser.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("operator"), "{}", page.text);

    let answer = browser.submit("/sign-out", "").await;
    assert_eq!(answer.header("location"), "/sign-in");
    // Not only forgotten by the browser.
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_away_after_signing_in() {
    let hub = Hub::start().await;
    for back in [
        "//evil.example",
        "https://evil.example/",
        "/%5Cevil.example",
    ] {
        let form = format!("name=viewer&password=correct+horse&back={back}");
        let answer = hub.browser().post("/sign-in", &[], &form).await;
        assert_eq!(answer.header("location"), "/", "{back}");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down() {
    let hub = Hub::start().await;
    let mut browser = hub.browser();
    for name in ["operator", "nobody", "operator"] {
        let answer = browser.sign_in(name, "wrong").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.text.contains("Name or password is wrong."));
        assert_eq!(browser.cookie, None);
    }
    let answer = browser.sign_in("operator", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "1");
    assert!(answer.text.contains("Too many failed sign-ins"));
    assert_eq!(browser.cookie, None);
    // After the wait it works, and all is forgiven.
    while browser.cookie.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        browser.sign_in("operator", PASSWORD).await;
    }
    hub.stop().await;
}
